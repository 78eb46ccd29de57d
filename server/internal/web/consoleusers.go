package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// usersData is the data of /console/users.
type usersData struct {
	Filter store.UserFilter
	Users  []store.User
	Next   string
	Invite bool // the configuration allows invitations
	Groups []store.GroupSize
}

// showUsers is GET /console/users.
func (s *Server) showUsers(w http.ResponseWriter, r *http.Request) error {
	return s.usersPage(w, r, nil)
}

func (s *Server) usersPage(w http.ResponseWriter, r *http.Request, f *form) (err error) {
	query := r.URL.Query()
	d := usersData{Invite: s.c.Settings.Registration == "open" || s.c.Settings.Registration == "invite"}
	d.Filter = store.UserFilter{
		Search: strings.TrimSpace(query.Get("search")),
		Admin:  query.Get("admin") != "",
		Locked: query.Get("locked") != "",
		After:  query.Get("after"),
		Limit:  listLength + 1,
	}
	if d.Users, err = s.api.FindUsers(r.Context(), d.Filter); err != nil {
		return err
	}
	if len(d.Users) > listLength {
		d.Users = d.Users[:listLength]
		d.Next = s.nextPage(r, d.Users[listLength-1].ID)
	}
	if d.Groups, err = s.c.Parts.DB.GroupSizes(r.Context()); err != nil {
		return err
	}
	return s.showConsole(w, r, "console-users.html", "users", d, f)
}

// nextPage returns the URL of the page of a list after an id.
func (s *Server) nextPage(r *http.Request, after string) string {
	query := r.URL.Query()
	query.Set("after", after)
	query.Del("done")
	return s.path(r.URL.Path + "?" + query.Encode())
}

// inviteUser is POST /console/users.
func (s *Server) inviteUser(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "email", "name", "admin")
	if err != nil {
		return err
	}
	u, err := s.api.Invite(r.Context(), account.NewUser{Email: f.Value("email"), Name: f.Value("name"), Admin: f.Has("admin")}, s.api.By(r))
	if err != nil {
		if err := s.consoleFault(r, f, err); err != nil {
			return err
		}
		return s.usersPage(w, r, f)
	}
	return s.see(w, r, s.path("/console/users/"+u.ID+"?done=invite"))
}

// userData is the data of /console/users/{id}.
type userData struct {
	store.User
	Self     bool // the administrator who looks at the page
	Sessions []store.SessionRow
	Current  string // session of the request
	Keys     []account.KeyView
	Factors  []factorRow
	Required string // which groups require a second factor; empty for none
	Groups   []string
	Events   []store.Event
}

// showUser is GET /console/users/{id}.
func (s *Server) showUser(w http.ResponseWriter, r *http.Request) error {
	return s.userPage(w, r, nil)
}

func (s *Server) userPage(w http.ResponseWriter, r *http.Request, f *form) (err error) {
	ctx, me := r.Context(), durward.From(r.Context())
	d := userData{Current: me.SessionID}
	if d.User, err = s.c.Parts.DB.UserByID(ctx, r.PathValue("id")); err != nil {
		return err
	}
	d.Self = d.ID == me.Subject
	if d.Sessions, err = s.c.Parts.Sessions.List(ctx, d.ID); err != nil {
		return err
	}
	if d.Keys, err = s.keysOf(r, d.ID); err != nil {
		return err
	}
	if d.Factors, err = s.factorsOf(ctx, d.ID); err != nil {
		return err
	}
	if d.Groups, err = s.c.Parts.DB.Groups(ctx, d.ID); err != nil {
		return err
	}
	requiring, err := s.c.Parts.DB.FactorGroups(ctx, d.ID)
	if err != nil {
		return err
	}
	d.Required = strings.Join(requiring, ", ")
	// The events of a user are part of the security log, so reading them is an event, too.
	if err = s.api.RecordReading(r, "events"); err != nil {
		return err
	}
	if d.Events, err = s.c.Parts.DB.Events(ctx, store.EventFilter{UserID: d.ID, Limit: 20}); err != nil {
		return err
	}
	return s.showConsole(w, r, "console-user.html", "users", d, f)
}

// factorRow is a second factor in the list of a user.
type factorRow struct {
	Factor      string              // store.FactorPasskey, FactorTOTP or FactorRecoveryCode
	Passkey     account.PasskeyView // of a passkey
	Since, Used time.Time           // zero if unknown
	Left        int                 // of recovery codes
	Locked      bool                // after too many wrong codes
}

// factorsOf returns the second factors of a user, the strongest first.
func (s *Server) factorsOf(ctx context.Context, id string) (rows []factorRow, err error) {
	f, err := s.c.Parts.Accounts.Factors(ctx, id)
	if err != nil {
		return nil, err
	}
	passkeys, err := s.c.Parts.DB.Passkeys(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, p := range passkeys {
		rows = append(rows, factorRow{
			Factor:  store.FactorPasskey,
			Passkey: account.PasskeyViewOf(p),
			Since:   p.CreatedAt,
			Used:    p.UsedAt,
		})
	}
	if !f.TOTPSince.IsZero() {
		rows = append(rows, factorRow{Factor: store.FactorTOTP, Since: f.TOTPSince, Locked: slices.Contains(f.Locked, store.FactorTOTP)})
	}
	if f.RecoveryCodes > 0 {
		rows = append(rows, factorRow{Factor: store.FactorRecoveryCode, Left: f.RecoveryCodes, Locked: slices.Contains(f.Locked, store.FactorRecoveryCode)})
	}
	return rows, nil
}

// userAct is a change of a user that a button of the page makes.
type userAct struct {
	field string // of the form; empty for none
	do    func(r *http.Request, id string, f *form, by request.Info) error
}

// userActs returns the changes by the last part of their URL. Each calls the function of an endpoint under
// /api/admin/users.
func (s *Server) userActs() map[string]userAct {
	accounts, sessions := s.c.Parts.Accounts, s.c.Parts.Sessions
	return map[string]userAct{
		"lock": {"", func(r *http.Request, id string, _ *form, by request.Info) error {
			return sessions.LockUser(r.Context(), id, by)
		}},
		"unlock": {"", func(r *http.Request, id string, _ *form, by request.Info) error {
			return accounts.Unlock(r.Context(), id, by)
		}},
		"sign-out": {"", func(r *http.Request, id string, _ *form, by request.Info) error {
			return sessions.SignOutUser(r.Context(), id, by)
		}},
		"password-reset": {"", func(r *http.Request, id string, _ *form, by request.Info) error {
			return accounts.SendReset(r.Context(), id, by)
		}},
		"reset-factors": {"", func(r *http.Request, id string, _ *form, by request.Info) error {
			return sessions.ResetFactors(r.Context(), id, by)
		}},
		"remove-totp": {"", func(r *http.Request, id string, _ *form, by request.Info) error {
			return sessions.RemoveTOTPOf(r.Context(), id, by)
		}},
		"remove-passkey": {"passkey", func(r *http.Request, id string, f *form, by request.Info) error {
			return sessions.RemovePasskeyOf(r.Context(), id, f.Value("passkey"), by)
		}},
		"admin": {"admin", func(r *http.Request, id string, f *form, by request.Info) error {
			admin := f.Has("admin")
			return sessions.SetUser(r.Context(), id, account.Change{Admin: &admin}, by)
		}},
		"end-session": {"session", func(r *http.Request, id string, f *form, by request.Info) error {
			return sessions.End(r.Context(), id, f.Value("session"), store.EventSessionEnded, by)
		}},
		"revoke-key": {"key", func(r *http.Request, id string, f *form, by request.Info) error {
			return accounts.RevokeKey(r.Context(), id, f.Value("key"), "", by)
		}},
		"require-factor": {"required", func(r *http.Request, id string, f *form, by request.Info) error {
			return accounts.RequireFactor(r.Context(), id, f.Has("required"), by)
		}},
		"add-group": {"name", func(r *http.Request, id string, f *form, by request.Info) error {
			return accounts.AddToGroup(r.Context(), id, strings.TrimSpace(f.Value("name")), by)
		}},
		"remove-group": {"group", func(r *http.Request, id string, f *form, by request.Info) error {
			return sessions.RemoveFromGroup(r.Context(), id, f.Value("group"), by)
		}},
		"delete": {"confirm", func(r *http.Request, id string, f *form, by request.Info) error {
			u, err := s.c.Parts.DB.UserByID(r.Context(), id)
			if err != nil {
				return err
			}
			if !strings.EqualFold(strings.TrimSpace(f.Value("confirm")), u.Email) {
				return &durward.Refusal{
					Code:    durward.InvalidRequest,
					Members: map[string]any{"member": "confirm"},
					Err:     fmt.Errorf("web: the deletion of a user was not confirmed by the address"),
				}
			}
			return sessions.DeleteUser(r.Context(), id, by)
		}},
	}
}

// requireFactorOfGroup is POST /console/groups/require-factor.
func (s *Server) requireFactorOfGroup(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "group", "required")
	if err != nil {
		return err
	}
	if err := s.c.Parts.Accounts.RequireFactorOfGroup(r.Context(), f.Value("group"), f.Has("required"), s.api.By(r)); err != nil {
		if err := s.consoleFault(r, f, httpapi.AsRefusal(err)); err != nil {
			return err
		}
		return s.usersPage(w, r, f)
	}
	return s.see(w, r, s.path("/console/users?done=require-factor#groups"))
}

// changeUser is POST /console/users/{id}/{act}.
func (s *Server) changeUser(w http.ResponseWriter, r *http.Request) error {
	name, id := r.PathValue("act"), r.PathValue("id")
	act, ok := s.userActs()[name]
	if !ok {
		return fmt.Errorf("web: no such change of a user: %w", durward.NotFound)
	}
	var fields []string
	if act.field != "" {
		fields = append(fields, act.field)
	}
	f, err := readForm(w, r, fields...)
	if err != nil {
		return err
	}
	if err := act.do(r, id, f, s.api.By(r)); err != nil {
		if err := s.consoleFault(r, f, httpapi.AsRefusal(err)); err != nil {
			return err
		}
		return s.userPage(w, r, f)
	}
	to := "/console/users/" + url.PathEscape(id) + "?done=" + name
	if name == "delete" {
		to = "/console/users?done=delete"
	}
	return s.see(w, r, s.path(to))
}
