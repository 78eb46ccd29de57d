package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/oauth"
)

// oauthRefusal is the response of refuseOAuth. It is in the context of the request while the guard records the
// refusal.
type oauthRefusal struct {
	status int
	error  string
	*durward.Refusal
}

type oauthKey struct{}

// refuseOAuth answers a request to an endpoint of OAuth 2.0 with an error (RFC 6749 s5.2). The guard completes the
// refusal, records it and sets the fields that all refusals have; status, challenge and body are those of the RFC.
// An error that is no refusal becomes temporarily_unavailable, never server_error: some clients start a new
// sign-in after that.
func (s *Server) refuseOAuth(w http.ResponseWriter, r *http.Request, err error) {
	o := oauthRefusalOf(err)
	if o.error == oauth.InvalidClient && (!fromScript(r) || len(r.Header["Authorization"]) > 0) {
		o.status = http.StatusUnauthorized
	}
	h := w.Header()
	s.guard.Refuse(fieldsOnly{h}, r.WithContext(context.WithValue(r.Context(), oauthKey{}, o)), o.Refusal)
	h.Del("WWW-Authenticate")
	h.Del("Content-Length")
	if o.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", durward.Challenge{
			Scheme: "Basic",
			Params: []durward.Param{{Name: "realm", Value: s.realm}, {Name: "charset", Value: "UTF-8"}},
		}.String())
	}
	body, _ := json.Marshal(struct { // strings always marshal
		Error       string       `json:"error"`
		Description string       `json:"error_description"`
		URI         string       `json:"error_uri"`
		Code        durward.Code `json:"code"`
	}{o.error, descriptive(o.Detail), s.c.PublicURL + "/errors/" + string(o.Code), o.Code})
	h.Set("Content-Type", "application/json")
	w.WriteHeader(o.status)
	_, _ = w.Write(append(body, '\n'))
}

// fromScript reports whether a browser's script may have sent a request. To a challenge with Basic the browser
// would open its own password dialog.
func fromScript(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	return r.Header.Get("Origin") != "" || r.Header.Get("X-Requested-With") != "" || mode != "" && mode != "navigate"
}

// descriptive returns text with the characters that error_description may have (RFC 6749 s5.2).
func descriptive(text string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"':
			return '\''
		case c < ' ' || c > '~' || c == '\\':
			return '?'
		}
		return c
	}, text)
}

// oauthCauses are the codes of this server that stand for an error, if the rule gave none.
var oauthCauses = map[string]durward.Code{
	oauth.InvalidClient:      durward.InvalidCredentials,
	oauth.UnauthorizedClient: durward.Forbidden,
	oauth.InvalidScope:       durward.InsufficientScope,
}

// oauthErrors are the errors that stand for codes of this server.
var oauthErrors = map[durward.Code]string{
	durward.InvalidProof:         "invalid_dpop_proof", // RFC 9449 s5
	durward.NonceRequired:        "use_dpop_nonce",     // RFC 9449 s8
	durward.RefreshInvalid:       oauth.InvalidGrant,
	durward.RefreshExpired:       oauth.InvalidGrant,
	durward.SessionRevoked:       oauth.InvalidGrant,
	durward.SessionExpired:       oauth.InvalidGrant,
	durward.InvalidRequest:       oauth.InvalidRequest,
	durward.UnsupportedMediaType: oauth.InvalidRequest,
	durward.BodyTooLarge:         oauth.InvalidRequest,
	durward.AmbiguousCredentials: oauth.InvalidRequest,
}

// oauthRefusalOf returns the response to an error.
func oauthRefusalOf(err error) *oauthRefusal {
	o := &oauthRefusal{status: http.StatusBadRequest}
	_, limited := err.(*durward.Refusal)
	if e, ok := errors.AsType[*oauth.Error](err); ok && !limited && e.Code != oauth.TemporarilyUnavailable {
		o.error = e.Code
		o.Refusal = &durward.Refusal{Code: cmp.Or(e.Cause, oauthCauses[e.Code], durward.InvalidRequest), Detail: e.Description, Err: err}
		return o
	}
	err = asRefusal(err)
	code, _ := errors.AsType[durward.Code](err)
	given, ok := errors.AsType[*durward.Refusal](err)
	if ok {
		code = given.Code
	}
	if o.error = oauthErrors[code]; o.error == "" {
		o.error, o.status = oauth.TemporarilyUnavailable, http.StatusServiceUnavailable
		if code == durward.TooManyAttempts {
			o.status = http.StatusTooManyRequests
		} else {
			code = durward.AuthUnavailable
		}
	}
	o.Refusal = &durward.Refusal{Code: code, Err: err}
	if ok && given.Code == code {
		o.Detail, o.RetryAfter = given.Detail, given.RetryAfter
	}
	return o
}

// recordOAuth gives a refusal that the guard completed the status of an OAuth error, for the security log, and
// keeps it for the response.
func recordOAuth(r *http.Request, f *durward.Refusal) {
	if o, ok := r.Context().Value(oauthKey{}).(*oauthRefusal); ok {
		f.Status, o.Refusal = o.status, f
	}
}

// fieldsOnly is a ResponseWriter that keeps the fields alone.
type fieldsOnly struct{ h http.Header }

func (f fieldsOnly) Header() http.Header            { return f.h }
func (fieldsOnly) Write(octets []byte) (int, error) { return len(octets), nil }
func (fieldsOnly) WriteHeader(int)                  {}
