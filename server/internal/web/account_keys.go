package web

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/store"
)

// onceLife is how long a secret waits for the page that shows it.
const onceLife = time.Minute

// keyRow is an API key in the list.
type keyRow struct {
	store.APIKey
	Shown string // the part that may be displayed
	Ended bool
}

// keyRowOf returns the row of a key.
func (s *Server) keyRowOf(k store.APIKey) keyRow {
	return keyRow{k, account.KeyShown(k), !k.ExpiresAt.IsZero() && !s.now().Before(k.ExpiresAt)}
}

// keys is GET /account/keys. It shows a new key once.
func (s *Server) keys(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	list, err := s.c.Parts.DB.APIKeys(r.Context(), p.Subject, "", 1000)
	if err != nil {
		return err
	}
	d := struct {
		Rows []keyRow
		New  string
	}{New: s.api.TakeOnce(w, r, p, "key")}
	for _, k := range list {
		d.Rows = append(d.Rows, s.keyRowOf(k))
	}
	return s.render(w, r, "keys.html", d)
}

// newKeyData is the data of the page for a new key.
type newKeyData struct {
	Scopes []string
}

// newKey is GET /account/keys/new.
func (s *Server) newKey(w http.ResponseWriter, r *http.Request) error {
	return s.render(w, r, "key-new.html", &newKeyData{Scopes: keyScopes(r)})
}

// createKey is POST /account/keys/new.
func (s *Server) createKey(w http.ResponseWriter, r *http.Request) error {
	d := &newKeyData{Scopes: keyScopes(r)}
	fields := []string{"name", "life"}
	for _, scope := range d.Scopes {
		fields = append(fields, "scope-"+scope)
	}
	f, err := readForm(w, r, fields...)
	if err != nil {
		return err
	}
	n := account.NewKey{Name: f.Value("name"), Scopes: []string{}}
	for _, scope := range d.Scopes {
		if f.Has("scope-" + scope) {
			n.Scopes = append(n.Scopes, scope)
		}
	}
	life, known := lives[f.Value("life")]
	if !known {
		return badForm("life", "is none of the choices")
	}
	n.Life = life
	_, key, err := s.api.CreateKey(r, n)
	if err != nil {
		return s.refused(w, r, "key-new.html", d, f, err, map[string]string{
			"name": "name", "scopes": "scope-" + d.Scopes[0], "expires_in": "life",
		})
	}
	if err := s.api.KeepOnce(w, durward.From(r.Context()), "key", key.Reveal(), onceLife); err != nil {
		return err
	}
	return s.back(w, r, "/account/keys", "key_made")
}

// ownKey returns the live key with the id in the path, if the user owns it.
func (s *Server) ownKey(r *http.Request) (store.APIKey, error) {
	k, err := s.c.Parts.DB.APIKeyByID(r.Context(), r.PathValue("id"))
	if err == nil && (k.UserID != durward.From(r.Context()).Subject || !k.RevokedAt.IsZero()) {
		err = store.ErrNotFound
	}
	return k, err
}

// key is GET /account/keys/{id}.
func (s *Server) key(w http.ResponseWriter, r *http.Request) error {
	k, err := s.ownKey(r)
	if err != nil {
		return err
	}
	return s.render(w, r, "key.html", s.keyRowOf(k))
}

// rotateOwnKey is POST /account/keys/{id}/rotate.
func (s *Server) rotateOwnKey(w http.ResponseWriter, r *http.Request) error {
	if err := empty(w, r); err != nil {
		return err
	}
	_, key, err := s.api.RotateKey(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	if err := s.api.KeepOnce(w, durward.From(r.Context()), "key", key.Reveal(), onceLife); err != nil {
		return err
	}
	return s.back(w, r, "/account/keys", "key_rotated")
}

// revokeKey is POST /account/keys/{id}/revoke.
func (s *Server) revokeKey(w http.ResponseWriter, r *http.Request) error {
	if err := empty(w, r); err != nil {
		return err
	}
	if err := s.api.RevokeKey(r, r.PathValue("id")); err != nil {
		return err
	}
	return s.back(w, r, "/account/keys", "key_revoked")
}

// recoveryCodes is GET /account/recovery-codes. It shows new codes once.
func (s *Server) recoveryCodes(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	f, err := s.c.Parts.Accounts.Factors(r.Context(), p.Subject)
	if err != nil {
		return err
	}
	d := struct {
		Left   int
		Factor bool
		Codes  []string
	}{f.RecoveryCodes, protection(f) != "password", strings.Fields(s.api.TakeOnce(w, r, p, "codes"))}
	return s.render(w, r, "recovery-codes.html", d)
}

// makeRecoveryCodes is POST /account/recovery-codes.
func (s *Server) makeRecoveryCodes(w http.ResponseWriter, r *http.Request) error {
	if err := empty(w, r); err != nil {
		return err
	}
	if err := s.keepCodes(w, r); err != nil {
		return err
	}
	return s.back(w, r, "/account/recovery-codes", "codes_made")
}

// keepCodes makes other recovery codes and lets the browser keep them for the next page.
func (s *Server) keepCodes(w http.ResponseWriter, r *http.Request) error {
	codes, err := s.api.MakeRecoveryCodes(r)
	if err != nil {
		return err
	}
	return s.api.KeepOnce(w, durward.From(r.Context()), "codes", strings.Join(codes, "\n"), onceLife)
}

// passkeyData is the data of the page of one passkey.
type passkeyData struct {
	Passkey account.PasskeyView
}

// passkeys is GET /account/passkeys.
func (s *Server) passkeys(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	rows, err := s.c.Parts.DB.Passkeys(r.Context(), p.Subject)
	if err != nil {
		return err
	}
	d := struct {
		Rows   []account.PasskeyView
		Signal string
	}{}
	for _, row := range rows {
		d.Rows = append(d.Rows, account.PasskeyViewOf(row))
	}
	if d.Signal, err = s.signal(r, p.Subject); err != nil {
		return err
	}
	return s.render(w, r, "passkeys.html", d)
}

// ownPasskey returns the passkey with the id in the path, if the user owns it.
func (s *Server) ownPasskey(r *http.Request) (*passkeyData, error) {
	rows, err := s.c.Parts.DB.Passkeys(r.Context(), durward.From(r.Context()).Subject)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(rows, func(p store.Passkey) bool { return p.ID == r.PathValue("id") })
	if at < 0 {
		return nil, store.ErrNotFound
	}
	return &passkeyData{Passkey: account.PasskeyViewOf(rows[at])}, nil
}

// passkey is GET /account/passkeys/{id}.
func (s *Server) passkey(w http.ResponseWriter, r *http.Request) error {
	d, err := s.ownPasskey(r)
	if err != nil {
		return err
	}
	return s.render(w, r, "passkey.html", d)
}

// renamePasskey is POST /account/passkeys/{id}.
func (s *Server) renamePasskey(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "name")
	if err != nil {
		return err
	}
	d, err := s.ownPasskey(r)
	if err != nil {
		return err
	}
	_, err = s.c.Parts.Accounts.RenamePasskey(r.Context(), durward.From(r.Context()), d.Passkey.ID, f.Value("name"), s.api.From(r))
	if err != nil {
		return s.refused(w, r, "passkey.html", d, f, err, map[string]string{"name": "name"})
	}
	return s.back(w, r, "/account/passkeys", "passkey_renamed")
}

// removePasskey is POST /account/passkeys/{id}/remove.
func (s *Server) removePasskey(w http.ResponseWriter, r *http.Request) error {
	if err := empty(w, r); err != nil {
		return err
	}
	d, err := s.ownPasskey(r)
	if err != nil {
		return err
	}
	err = s.c.Parts.Sessions.RemovePasskey(r.Context(), durward.From(r.Context()), d.Passkey.ID, s.api.From(r))
	for fault, key := range map[error]string{store.ErrLast: "mistake.last", store.ErrFactorOwed: "mistake.factor_owed"} {
		if errors.Is(err, fault) {
			f := &form{Denial: s.guard.Report(r, err).ID}
			f.Wrong("", text(languageOf(r), key))
			return s.again(w, r, "passkey.html", d, f)
		}
	}
	if err != nil {
		return err
	}
	return s.back(w, r, "/account/passkeys", "passkey_removed")
}
