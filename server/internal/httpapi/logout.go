package httpapi

import (
	"errors"
	"net/http"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/session"
)

// logout is POST /api/auth/logout. It answers 204 for expired, revoked and unknown credentials too,
// because no session is left then. If the store fails it answers 503: the client must not take a
// running session for ended.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) error {
	in, err := decodeOptional[api.LogoutRequest](w, r)
	if err != nil {
		return err
	}
	var user, sessionID string
	if in.RefreshToken != "" {
		user, sessionID, err = s.c.Sessions.SessionOfRefreshToken(r.Context(), in.RefreshToken)
		if err != nil && !errors.Is(err, durward.RefreshInvalid) {
			return err
		}
	}
	if sessionID == "" {
		if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && (strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP")) {
			// An expired token still names its session. A DPoP proof is not required: the holder of a
			// token may end its session, even after losing the key.
			p, err := s.c.Issuer.Verifier().VerifyEnded(r.Context(), strings.TrimSpace(token))
			if _, refused := errors.AsType[durward.Code](err); err != nil && !refused {
				return err
			} else if err == nil && p.ClientID == session.FirstParty { // an application ends its own at POST /oauth/revoke
				user, sessionID = p.Subject, p.SessionID
			}
		}
	}
	if in.RefreshToken == "" && r.Header["Authorization"] == nil {
		// Explicit credentials take precedence over the cookie, which browsers send automatically.
		if err := s.logoutCookie(w, r, in.Everywhere); err != nil {
			return err
		}
	}
	if sessionID != "" {
		if err := s.c.Sessions.SignOut(r.Context(), user, sessionID, in.Everywhere, from(r)); err != nil {
			return err
		}
	}
	ClearSiteData(w)
	return noContent(w, nil)
}

// ClearSiteData makes the browser delete what scripts of this origin stored, and cached pages, after a
// sign-out (W3C Clear Site Data). Cookies stay: the session cookie is deleted by name, and the cookie of
// a known device protects its owner at the next sign-in.
func ClearSiteData(w http.ResponseWriter) { w.Header().Set("Clear-Site-Data", `"cache", "storage"`) }

// SignOut ends the session of a browser and removes its cookie, as POST /api/auth/logout does.
func (s *Server) SignOut(w http.ResponseWriter, r *http.Request) error {
	err := s.logoutCookie(w, r, false)
	if err == nil {
		ClearSiteData(w)
	}
	return err
}

// logoutCookie ends the session of the cookie in the request. Requests from pages of other sites are
// refused.
func (s *Server) logoutCookie(w http.ResponseWriter, r *http.Request, everywhere bool) error {
	sent := sentCookies(r)
	if len(sent) == 0 {
		return nil
	}
	if err := s.guard.SameOrigin(r); err != nil {
		return err
	}
	for _, value := range sent {
		user, sessionID, err := s.c.Sessions.SessionOfCookie(r.Context(), value)
		if errors.Is(err, durward.SessionExpired) {
			continue
		}
		if err == nil {
			err = s.c.Sessions.SignOut(r.Context(), user, sessionID, everywhere, from(r))
		}
		if err != nil {
			return err // the session may still exist, so the cookie stays
		}
	}
	setHostCookie(w, s.cookies.Session, "", -1)
	return nil
}
