package web

import (
	"maps"
	"net/http"

	"github.com/durward-auth/durward/server/internal/httpapi"
)

// routes returns the handlers of every page, one line each.
func (s *Server) routes() map[string]map[string]http.Handler {
	type methods = map[string]http.Handler
	pages := map[string]methods{
		"/{$}":                  {"GET": s.open(s.front)},
		"/errors/":              {"GET": s.open(s.errorPage)},
		"/doctor":               {"GET": s.open(s.showDoctor), "POST": s.open(s.diagnose)},
		"/login":                {"GET": s.open(s.showLogin), "POST": s.open(s.login)},
		"/login/factor":         {"GET": s.open(s.showFactor), "POST": s.open(s.factor)},
		"/login/factor/passkey": {"POST": s.open(s.beginFactor)},
		"/login/enrol":          {"GET": httpapi.ForEnrolment(s.justSignedIn(s.showEnrol)), "POST": httpapi.ForEnrolment(s.justSignedIn(s.enrol))},
		"/step-up":              {"GET": httpapi.ForEnrolment(s.signedIn(s.showStepUp)), "POST": httpapi.ForEnrolment(s.signedIn(s.stepUp))},
		"/hop":                  {"GET": s.open(s.hop)},
		"/sign-out":             {"POST": s.open(s.signOut)},
		"/signed-out":           {"GET": s.open(s.signedOut)},
		"/language":             {"POST": s.open(s.setLanguage)},
	}
	maps.Copy(pages, s.publicPages())
	maps.Copy(pages, s.oauthRoutes())
	maps.Copy(pages, s.consoleRoutes())
	if s.c.Demo {
		maps.Copy(pages, s.sampleRoutes())
		maps.Copy(pages, s.devRoutes())
	}
	maps.Copy(pages, s.accountRoutes())
	for name, file := range s.staticFiles() {
		pages["/static/"+name] = methods{"GET": file}
	}
	return pages
}

// oauthRoutes returns the handlers of authorization requests, one line each.
func (s *Server) oauthRoutes() map[string]map[string]http.Handler {
	type methods = map[string]http.Handler
	return map[string]methods{
		"/oauth/authorize": {"GET": s.open(s.authorize), "POST": s.anywhere(s.postAuthorize)},
		"/oauth/continue":  {"GET": s.open(s.continueRequest)},
		"/oauth/account":   {"GET": s.open(s.showSelect), "POST": s.open(s.selectAccount)},
		"/oauth/consent":   {"GET": s.open(s.showConsent), "POST": s.open(s.consent)},
	}
}

// publicPages returns the handlers of the pages for users without a session, one line each.
func (s *Server) publicPages() map[string]map[string]http.Handler {
	type methods = map[string]http.Handler
	return map[string]methods{
		"/register":          {"GET": s.open(s.showIf(s.api.CheckRegistration, "register.html")), "POST": s.open(s.register)},
		"/register/sent":     {"GET": s.open(s.done("sent_register"))},
		"/register/done":     {"GET": s.open(s.done("done_register"))},
		"/verify-email":      {"GET": s.open(s.show("verify-email.html")), "POST": s.open(s.verifyEmail)},
		"/verify-email/send": {"GET": s.open(s.show("verify-again.html")), "POST": s.open(s.sendVerification)},
		"/verify-email/sent": {"GET": s.open(s.done("sent_verify"))},
		"/verify-email/done": {"GET": s.open(s.done("done_verify"))},
		"/undo-email":        {"GET": s.open(s.show("undo-email.html")), "POST": s.open(s.undoEmail)},
		"/undo-email/done":   {"GET": s.open(s.done("done_undo"))},
		"/forgot":            {"GET": s.open(s.show("forgot.html")), "POST": s.open(s.forgot)},
		"/forgot/sent":       {"GET": s.open(s.done("sent_forgot"))},
		"/reset":             {"GET": s.open(s.show("reset.html")), "POST": s.open(s.reset)},
		"/reset/done":        {"GET": s.open(s.done("done_reset"))},
		"/invite":            {"GET": s.open(s.showIf(s.api.CheckInvitations, "invite.html")), "POST": s.open(s.invite)},
		"/invite/done":       {"GET": s.open(s.done("done_invite"))},
		"/setup":             {"GET": s.open(s.show("setup.html")), "POST": s.open(s.setup)},
		"/setup/done":        {"GET": s.open(s.done("done_setup"))},

		"/.well-known/change-password":   {"GET": s.open(s.changePassword)},
		"/.well-known/passkey-endpoints": {"GET": s.open(s.passkeyEndpoints)},
	}
}

// consoleRoutes returns the handlers of the console, one line each.
func (s *Server) consoleRoutes() map[string]map[string]http.Handler {
	type methods = map[string]http.Handler
	return map[string]methods{
		"/console":                          {"GET": s.console(s.showOverview)},
		"/console/users":                    {"GET": s.console(s.showUsers), "POST": s.consoleChange(s.inviteUser)},
		"/console/users/import":             {"GET": s.consoleChange(s.showImport), "POST": s.consoleChange(s.importUsers)},
		"/console/users/{id}":               {"GET": s.console(s.showUser)},
		"/console/users/{id}/{act}":         {"POST": s.consoleChange(s.changeUser)},
		"/console/applications":             {"GET": s.console(s.showApplications)},
		"/console/applications/{id}":        {"GET": s.console(s.showApplication)},
		"/console/applications/{id}/{act}":  {"POST": s.consoleChange(s.changeApplication)},
		"/console/applications/{id}/change": {"GET": s.consoleChange(s.showChangeApplication), "POST": s.consoleChange(s.setApplication)},
		"/console/new-application":          {"GET": s.consoleChange(s.showNewApplication), "POST": s.consoleChange(s.addApplication)},
		"/console/groups/require-factor":    {"POST": s.consoleChange(s.requireFactorOfGroup)},
		"/console/refusals":                 {"GET": s.console(s.showRefusals), "POST": s.console(s.findRefusal)},
		"/console/refusals/{id}":            {"GET": s.console(s.showRefusal)},
		"/console/log":                      {"GET": s.console(s.showLog)},
		"/console/signing-keys":             {"GET": s.console(s.showSigningKeys)},
		"/console/signing-keys/rotate":      {"POST": s.consoleChange(s.rotateKey)},
		"/console/signing-keys/retire":      {"GET": s.consoleChange(s.showRetireKey), "POST": s.consoleChange(s.retireKey)},
		"/console/settings":                 {"GET": s.console(s.showSettings)},
	}
}
