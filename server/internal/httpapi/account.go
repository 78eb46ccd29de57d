package httpapi

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// list is a page of items. Next is the value of the parameter after for the next page; it is absent
// on the last page.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

const (
	pageSize    = 50
	maxPageSize = 200
)

// answerPage answers with the page of the user's rows that the query parameters limit and after name.
func answerPage[R, T any](
	w http.ResponseWriter, r *http.Request,
	rows func(ctx context.Context, userID, after string, limit int) ([]R, error), item func(R) T, id func(T) string,
) error {
	query := r.URL.Query()
	most, err := integer(query, "limit", pageSize, 1, maxPageSize)
	if err != nil {
		return err
	}
	limit := int(most)
	// One more row shows that there is a next page.
	read, err := rows(r.Context(), durward.From(r.Context()).Subject, query.Get("after"), limit+1)
	n := min(len(read), limit)
	page := list[T]{Items: make([]T, 0, n)}
	for _, row := range read[:n] {
		page.Items = append(page.Items, item(row))
	}
	if len(read) > limit {
		page.Next = id(page.Items[n-1])
	}
	return answer(w, http.StatusOK, page, err)
}

type notification struct {
	ID      string    `json:"id"`
	UserID  string    `json:"-"`
	Kind    string    `json:"kind"`
	At      time.Time `json:"at"`
	Device  string    `json:"device"`
	Network string    `json:"network"`
	Read    bool      `json:"read"`
}

// notifications is GET /api/notifications.
func (s *Server) notifications(w http.ResponseWriter, r *http.Request) error {
	return answerPage(w, r, s.c.DB.Notifications, func(n store.Notification) notification { return notification(n) },
		func(n notification) string { return n.ID })
}

type sessionItem struct {
	ID         string    `json:"id"`
	Current    bool      `json:"current"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at"`
	Device     string    `json:"device"`
	Network    string    `json:"network"`
}

// sessions is GET /api/auth/sessions.
func (s *Server) sessions(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	rows, err := s.c.Sessions.List(r.Context(), p.Subject)
	items := make([]sessionItem, 0, len(rows))
	for _, row := range rows {
		items = append(items, sessionItem{
			ID:         row.ID,
			Current:    row.ID == p.SessionID,
			CreatedAt:  row.CreatedAt.UTC(),
			LastUsedAt: row.LastUsedAt.UTC(),
			Device:     row.Device,
			Network:    row.Network,
		})
	}
	return answer(w, http.StatusOK, list[sessionItem]{Items: items}, err)
}

// endSession is DELETE /api/auth/sessions/{id}. The session of another user gets 404.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	err := s.c.Sessions.End(r.Context(), p.Subject, r.PathValue("id"), store.EventSessionEnded, from(r))
	return noContent(w, unknown("session", err))
}

type profile struct {
	ID        string    `json:"id"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	Scopes    []string  `json:"scopes"`
}

func profileOf(u store.User, scopes []string) profile {
	return profile{ID: u.ID, Email: u.Email, Name: u.Name, CreatedAt: u.CreatedAt.UTC(), Scopes: scopes}
}

// profile is GET /api/profile.
func (s *Server) profile(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	u, err := s.c.DB.UserByID(r.Context(), p.Subject)
	return answer(w, http.StatusOK, profileOf(u, p.Scopes), unknownOwner(err))
}

// patchProfile is PATCH /api/profile.
func (s *Server) patchProfile(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Name *string `json:"name"`
	}](w, r)
	if err != nil {
		return err
	}
	p := durward.From(r.Context())
	u, err := s.c.Accounts.SetName(r.Context(), p.Subject, *in.Name)
	return answer(w, http.StatusOK, profileOf(u, p.Scopes), unknownOwner(err))
}

// register is POST /api/auth/register.
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	if !s.c.Registration {
		return refusal(durward.Forbidden, "Registration is off on this server.",
			"Ask the operator for an account.", "registration is off")
	}
	in, err := decode[struct {
		Email    string `json:"email"`
		Password string `json:"password"`
		Name     string `json:"name,omitzero"`
	}](w, r)
	if err != nil {
		return err
	}
	u, err := s.c.Accounts.Add(r.Context(), account.NewUser{Email: in.Email, Name: in.Name, Password: in.Password}, store.EventRegistered, from(r))
	return answer(w, http.StatusCreated, profileOf(u, []string{"profile"}), err)
}

// changePassword is POST /api/auth/password/change. It requires no recent sign-in, because the
// request contains the current password.
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Current string `json:"current"`
		New     string `json:"new"`
	}](w, r)
	if err != nil {
		return err
	}
	p := durward.From(r.Context())
	cookie, _ := acceptedCookie(r)
	fresh, err := s.c.Sessions.ChangePassword(r.Context(), p, in.Current, in.New, cookie, from(r))
	if fresh != "" {
		setCookie(w, fresh, 0)
	}
	return noContent(w, unknownOwner(err))
}

// answerNewKey answers 201 with a new key, the only response that contains it, or returns err.
func answerNewKey(w http.ResponseWriter, k store.APIKey, key seal.Secret, err error) error {
	body := account.KeyViewOf(k)
	body.Key = key.Reveal()
	return answer(w, http.StatusCreated, body, err)
}

// keys is GET /api/keys.
func (s *Server) keys(w http.ResponseWriter, r *http.Request) error {
	return answerPage(w, r, s.c.DB.APIKeys, account.KeyViewOf, func(k account.KeyView) string { return k.ID })
}

// createKey is POST /api/keys.
func (s *Server) createKey(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Name      string   `json:"name"`
		Scopes    []string `json:"scopes,omitzero"`
		ExpiresIn *int64   `json:"expires_in,omitzero"`
	}](w, r)
	if err != nil {
		return err
	}
	n := account.NewKey{Name: in.Name, Scopes: in.Scopes}
	if in.ExpiresIn != nil {
		n.Life = life(*in.ExpiresIn)
	}
	k, key, err := s.c.Accounts.CreateKey(r.Context(), durward.From(r.Context()), n, from(r))
	return answerNewKey(w, k, key, unknownOwner(err))
}

// life converts seconds to a duration. Values that a duration cannot hold, and those below 1,
// become durations outside the limits of a key's life, so that CreateKey refuses them.
func life(seconds int64) time.Duration {
	switch {
	case seconds <= 0:
		return -1
	case seconds > int64(math.MaxInt64/time.Second):
		return math.MaxInt64
	}
	return time.Duration(seconds) * time.Second
}

// deleteKey is DELETE /api/keys/{id}. The key of another user gets 404.
func (s *Server) deleteKey(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	err := s.c.Accounts.RevokeKey(r.Context(), p.Subject, r.PathValue("id"), p.SessionID, from(r))
	return noContent(w, unknown("key", err))
}

// rotateKey is POST /api/keys/{id}/rotate.
func (s *Server) rotateKey(w http.ResponseWriter, r *http.Request) error {
	k, key, err := s.c.Accounts.RotateKey(r.Context(), durward.From(r.Context()), r.PathValue("id"), from(r))
	return answerNewKey(w, k, key, unknown("key", err))
}
