package durward

import "net/http"

// Session returns the private scheme of routes without a registered one, such as sign-in and
// refresh. It accepts no credentials; its challenge names the sign-in page, if Config.LoginURL is
// set:
//
//	WWW-Authenticate: Session realm="…", login="https://…/login"
//
// Browsers and command-line clients ignore it.
func Session() Scheme { return session{} }

type session struct{}

func (session) Presented(*http.Request) (found, ambient bool) { return false, false }

func (session) Authenticate(*http.Request) (*Principal, error) { return nil, AuthenticationRequired }

func (session) Challenges(*http.Request, Code) []Challenge { return []Challenge{{Scheme: "Session"}} }
