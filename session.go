package durward

import "net/http"

// Session returns the private scheme of routes that have no registered one:
// sign-in and refresh. It takes no credentials; its challenge tells a client
// where to sign in:
//
//	WWW-Authenticate: Session realm="…", login="https://…/login"
//
// Browsers and command-line clients pass over it without harm.
func Session() Scheme { return session{} }

type session struct{}

func (session) Presented(*http.Request) (found, ambient bool) { return false, false }

func (session) Authenticate(*http.Request) (*Principal, error) { return nil, AuthenticationRequired }

func (session) Challenges(*http.Request, Code) []Challenge { return []Challenge{{Scheme: "Session"}} }
