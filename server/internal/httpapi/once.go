package httpapi

import (
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"
	"time"

	"github.com/durward-auth/durward"
)

// sealOnce is the label of sealed values of the cookie Once.
const sealOnce = "shown once"

// KeepOnce gives the browser a secret of the session of p for TakeOnce, for at most life: the form that makes
// the secret ends with a redirect, so that a reload does not make another one. The cookie holds it sealed: a
// copy of the browser's files does not show it, and the database never has it.
func (s *Server) KeepOnce(w http.ResponseWriter, p *durward.Principal, kind, secret string, life time.Duration) error {
	plain := binary.BigEndian.AppendUint64(nil, uint64(s.c.Now().Add(life).Unix()))
	plain = append(plain, kind+"\x00"+secret...)
	sealed, err := s.c.Accounts.Master.Seal(sealOnce, onceOwner(p), plain)
	if err != nil {
		return err
	}
	setHostCookie(w, s.cookies.Once, base64.RawURLEncoding.EncodeToString(sealed), int(life/time.Second))
	return nil
}

// PeekOnce returns the secret that KeepOnce kept for the session of p with the same kind, or "".
func (s *Server) PeekOnce(r *http.Request, p *durward.Principal, kind string) (secret string) {
	sent := r.CookiesNamed(s.cookies.Once)
	if len(sent) != 1 {
		return ""
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(sent[0].Value)
	if err != nil {
		return ""
	}
	plain, err := s.c.Accounts.Master.Unseal(sealOnce, onceOwner(p), sealed)
	if err != nil || len(plain) < 8 || !s.c.Now().Before(time.Unix(int64(binary.BigEndian.Uint64(plain)), 0)) {
		return ""
	}
	secret, ok := strings.CutPrefix(string(plain[8:]), kind+"\x00")
	if !ok {
		return ""
	}
	return secret
}

// TakeOnce returns the secret as PeekOnce does and removes it from the browser.
func (s *Server) TakeOnce(w http.ResponseWriter, r *http.Request, p *durward.Principal, kind string) (secret string) {
	if secret = s.PeekOnce(r, p, kind); secret != "" {
		s.DropOnce(w)
	}
	return secret
}

// DropOnce removes the secret from the browser.
func (s *Server) DropOnce(w http.ResponseWriter) { setHostCookie(w, s.cookies.Once, "", -1) }

// DropCookies removes the session cookie and the secrets of the account from the browser of a deleted user.
func (s *Server) DropCookies(w http.ResponseWriter) {
	for _, name := range []string{s.cookies.Session, s.cookies.Once, s.cookies.Device} {
		setHostCookie(w, name, "", -1)
	}
}

// onceOwner binds a sealed secret to a session.
func onceOwner(p *durward.Principal) string { return p.Subject + " " + p.SessionID }
