package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// userItem is a user as administrators see them.
type userItem struct {
	ID          string    `json:"id"`
	Email       string    `json:"email"`
	Name        string    `json:"name"`
	Admin       bool      `json:"admin"`
	HasPassword bool      `json:"has_password"`
	HasFactor   bool      `json:"has_second_factor"`
	NeedsFactor bool      `json:"factor_required,omitzero"` // of the user or by a group
	Unverified  bool      `json:"unverified,omitzero"`      // the user registered and has not confirmed the address
	CreatedAt   time.Time `json:"created_at"`
	LockedAt    time.Time `json:"locked_at,omitzero"`
}

func userItemOf(u store.User) userItem {
	return userItem{
		ID:          u.ID,
		Email:       u.Email,
		Name:        u.Name,
		Admin:       u.Admin,
		HasPassword: u.Password != "",
		HasFactor:   !u.SecondFactorAt.IsZero(),
		NeedsFactor: u.FactorRequired,
		Unverified:  u.Unverified,
		CreatedAt:   u.CreatedAt.UTC(),
		LockedAt:    u.LockedAt,
	}
}

// maxSearch is the longest part of an address or a name to search for, in bytes.
const maxSearch = 254

// users is GET /api/admin/users.
func (s *Server) users(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	f := store.UserFilter{Search: query.Get("search")}
	var err error
	if f.Admin, err = yes(query, "admin"); err != nil {
		return err
	}
	if f.Locked, err = yes(query, "locked"); err != nil {
		return err
	}
	find := func(ctx context.Context, _, after string, limit int) ([]store.User, error) {
		f.After, f.Limit = after, limit
		return s.FindUsers(ctx, f)
	}
	return answerPage(w, r, find, userItemOf, func(u userItem) string { return u.ID })
}

// FindUsers returns a page of users, newest first. It refuses with InvalidRequest if the search is too long.
func (s *Server) FindUsers(ctx context.Context, f store.UserFilter) ([]store.User, error) {
	if len(f.Search) > maxSearch {
		return nil, invalid("search", fmt.Sprintf("The parameter search is longer than %d bytes.", maxSearch), "")
	}
	return s.c.DB.FindUsers(ctx, f)
}

// yes returns whether a parameter of a query is true. It refuses values other than true.
func yes(query url.Values, name string) (bool, error) {
	if v := query.Get(name); v != "" && v != "true" {
		return false, invalid(name, "The parameter "+name+" must be true.", "Leave it out to list all.")
	}
	return query.Has(name), nil
}

// inviteUser is POST /api/admin/users. The user sets the password by a link in a mail, so the
// administrator never learns one.
func (s *Server) inviteUser(w http.ResponseWriter, r *http.Request, by request.Info) error {
	in, err := decode[struct {
		Email string `json:"email"`
		Name  string `json:"name,omitzero"`
		Admin bool   `json:"admin,omitzero"`
	}](w, r)
	if err != nil {
		return err
	}
	u, err := s.Invite(r.Context(), account.NewUser{Email: in.Email, Name: in.Name, Admin: in.Admin}, by)
	return answer(w, http.StatusCreated, userItemOf(u), err)
}

// Invite adds a user as account.Manager.Invite does. It refuses with Forbidden if registration is off.
func (s *Server) Invite(ctx context.Context, n account.NewUser, by request.Info) (store.User, error) {
	if s.c.Registration != "open" && s.c.Registration != "invite" {
		return store.User{}, refusal(durward.Forbidden, "Registration is off on this server, so it accepts no invitations.",
			"Set registration to invite or open in the configuration.", "registration is off")
	}
	return s.c.Accounts.Invite(ctx, n, by)
}

// user is GET /api/admin/users/{id}.
func (s *Server) user(w http.ResponseWriter, r *http.Request) error {
	u, err := s.c.DB.UserByID(r.Context(), r.PathValue("id"))
	return answer(w, http.StatusOK, userItemOf(u), err)
}

// patchUser is PATCH /api/admin/users/{id}.
func (s *Server) patchUser(w http.ResponseWriter, r *http.Request, by request.Info) error {
	in, err := decode[struct {
		Name  *string `json:"name,omitzero"`
		Admin *bool   `json:"admin,omitzero"`
	}](w, r)
	if err != nil {
		return err
	}
	if in.Name == nil && in.Admin == nil {
		return invalidBody("The body has neither name nor admin.", "Send the members to change.")
	}
	if err := s.c.Sessions.SetUser(r.Context(), r.PathValue("id"), account.Change{Name: in.Name, Admin: in.Admin}, by); err != nil {
		return err
	}
	return s.user(w, r)
}

// deleteUser is DELETE /api/admin/users/{id}.
func (s *Server) deleteUser(w http.ResponseWriter, r *http.Request, by request.Info) error {
	return noContent(w, s.c.Sessions.DeleteUser(r.Context(), r.PathValue("id"), by))
}

// lockUser is POST /api/admin/users/{id}/lock.
func (s *Server) lockUser(w http.ResponseWriter, r *http.Request, by request.Info) error {
	return noContent(w, s.c.Sessions.LockUser(r.Context(), r.PathValue("id"), by))
}

// unlockUser is POST /api/admin/users/{id}/unlock.
func (s *Server) unlockUser(w http.ResponseWriter, r *http.Request, by request.Info) error {
	return noContent(w, s.c.Accounts.Unlock(r.Context(), r.PathValue("id"), by))
}

// signOutUser is POST /api/admin/users/{id}/sign-out. It ends all sessions of the user.
func (s *Server) signOutUser(w http.ResponseWriter, r *http.Request, by request.Info) error {
	return noContent(w, s.c.Sessions.SignOutUser(r.Context(), r.PathValue("id"), by))
}

// sendReset is POST /api/admin/users/{id}/password-reset. The administrator learns neither the link nor
// the password.
func (s *Server) sendReset(w http.ResponseWriter, r *http.Request, by request.Info) error {
	return answer(w, http.StatusAccepted, struct{}{}, s.c.Accounts.SendReset(r.Context(), r.PathValue("id"), by))
}

// resetFactors is DELETE /api/admin/users/{id}/mfa, for a user who lost all second factors.
func (s *Server) resetFactors(w http.ResponseWriter, r *http.Request, by request.Info) error {
	return noContent(w, s.c.Sessions.ResetFactors(r.Context(), r.PathValue("id"), by))
}

// userFactors is GET /api/admin/users/{id}/mfa.
func (s *Server) userFactors(w http.ResponseWriter, r *http.Request) error {
	u, err := s.c.DB.UserByID(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	f, err := s.c.Accounts.Factors(r.Context(), u.ID)
	return answer(w, http.StatusOK, f, err)
}

// removeUserTOTP is DELETE /api/admin/users/{id}/mfa/totp.
func (s *Server) removeUserTOTP(w http.ResponseWriter, r *http.Request, by request.Info) error {
	return noContent(w, unknown("authenticator app", s.c.Sessions.RemoveTOTPOf(r.Context(), r.PathValue("id"), by)))
}

// userPasskeys is GET /api/admin/users/{id}/passkeys.
func (s *Server) userPasskeys(w http.ResponseWriter, r *http.Request) error {
	u, err := s.c.DB.UserByID(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.answerPasskeys(w, r, u.ID)
}

// removeUserPasskey is DELETE /api/admin/users/{id}/passkeys/{passkey}.
func (s *Server) removeUserPasskey(w http.ResponseWriter, r *http.Request, by request.Info) error {
	err := s.c.Sessions.RemovePasskeyOf(r.Context(), r.PathValue("id"), r.PathValue("passkey"), by)
	return noContent(w, unknown("passkey", err))
}

// userSessions is GET /api/admin/users/{id}/sessions.
func (s *Server) userSessions(w http.ResponseWriter, r *http.Request) error {
	u, err := s.c.DB.UserByID(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.answerSessions(w, r, u.ID)
}

// endUserSession is DELETE /api/admin/users/{id}/sessions/{session}.
func (s *Server) endUserSession(w http.ResponseWriter, r *http.Request, by request.Info) error {
	err := s.c.Sessions.End(r.Context(), r.PathValue("id"), r.PathValue("session"), store.EventSessionEnded, by)
	return noContent(w, unknown("session", err))
}

// userKeys is GET /api/admin/users/{id}/keys.
func (s *Server) userKeys(w http.ResponseWriter, r *http.Request) error {
	u, err := s.c.DB.UserByID(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	ofUser := func(ctx context.Context, _, after string, limit int) ([]store.APIKey, error) {
		return s.c.DB.APIKeys(ctx, u.ID, after, limit)
	}
	return answerPage(w, r, ofUser, account.KeyViewOf, func(k account.KeyView) string { return k.ID })
}

// revokeUserKey is DELETE /api/admin/users/{id}/keys/{key}.
func (s *Server) revokeUserKey(w http.ResponseWriter, r *http.Request, by request.Info) error {
	err := s.c.Accounts.RevokeKey(r.Context(), r.PathValue("id"), r.PathValue("key"), "", by)
	return noContent(w, unknown("key", err))
}

// groupItem is a group, in a list of all groups with the number of its users.
type groupItem struct {
	Name           string `json:"name"`
	Users          int    `json:"users,omitzero"`
	FactorRequired bool   `json:"factor_required,omitzero"`
}

// groups is GET /api/admin/groups.
func (s *Server) groups(w http.ResponseWriter, r *http.Request) error {
	sizes, err := s.c.DB.GroupSizes(r.Context())
	page := list[groupItem]{Items: make([]groupItem, 0, len(sizes))}
	for _, g := range sizes {
		page.Items = append(page.Items, groupItem(g))
	}
	return answer(w, http.StatusOK, page, err)
}

// userGroups is GET /api/admin/users/{id}/groups.
func (s *Server) userGroups(w http.ResponseWriter, r *http.Request) error {
	u, err := s.c.DB.UserByID(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	names, err := s.c.DB.Groups(r.Context(), u.ID)
	if err != nil {
		return err
	}
	requiring, err := s.c.DB.FactorGroups(r.Context(), u.ID)
	page := list[groupItem]{Items: make([]groupItem, 0, len(names))}
	for _, name := range names {
		page.Items = append(page.Items, groupItem{Name: name, FactorRequired: slices.Contains(requiring, name)})
	}
	return answer(w, http.StatusOK, page, err)
}

// addToGroup is POST /api/admin/users/{id}/groups. The user may be in the group already.
func (s *Server) addToGroup(w http.ResponseWriter, r *http.Request, by request.Info) error {
	in, err := decode[struct {
		Name string `json:"name"`
	}](w, r)
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, groupItem{Name: in.Name}, s.c.Accounts.AddToGroup(r.Context(), r.PathValue("id"), in.Name, by))
}

// requirement is the body of a request that requires a second factor, or no longer.
type requirement struct {
	Required *bool `json:"required"`
}

// requireFactorOf is POST /api/admin/users/{id}/require-factor.
func (s *Server) requireFactorOf(w http.ResponseWriter, r *http.Request, by request.Info) error {
	in, err := decode[requirement](w, r)
	if err != nil {
		return err
	}
	if err := s.c.Accounts.RequireFactor(r.Context(), r.PathValue("id"), *in.Required, by); err != nil {
		return err
	}
	u, err := s.c.DB.UserByID(r.Context(), r.PathValue("id"))
	return answer(w, http.StatusOK, userItemOf(u), err)
}

// requireFactorOfGroup is POST /api/admin/groups/{group}/require-factor.
func (s *Server) requireFactorOfGroup(w http.ResponseWriter, r *http.Request, by request.Info) error {
	in, err := decode[requirement](w, r)
	if err != nil {
		return err
	}
	group := r.PathValue("group")
	return answer(w, http.StatusOK, groupItem{Name: group, FactorRequired: *in.Required}, s.c.Accounts.RequireFactorOfGroup(r.Context(), group, *in.Required, by))
}

// removeFromGroup is DELETE /api/admin/users/{id}/groups/{group}.
func (s *Server) removeFromGroup(w http.ResponseWriter, r *http.Request, by request.Info) error {
	err := s.c.Sessions.RemoveFromGroup(r.Context(), r.PathValue("id"), r.PathValue("group"), by)
	return noContent(w, unknown("group", err))
}
