package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// tokenAnswer is what a sign-in and a refresh give (RFC 6749 s5.1, with the life
// of the refresh token beside).
type tokenAnswer struct {
	AccessToken      string `json:"access_token"`
	TokenType        string `json:"token_type"`
	ExpiresIn        int64  `json:"expires_in"`
	RefreshToken     string `json:"refresh_token,omitzero"`
	RefreshExpiresIn int64  `json:"refresh_expires_in,omitzero"`
	Scope            string `json:"scope"`
}

func answerTokens(w http.ResponseWriter, t oauth.Tokens) error {
	kind := "Bearer"
	if t.Bound {
		kind = "DPoP" // RFC 9449 s5
	}
	return answer(w, http.StatusOK, tokenAnswer{
		AccessToken: t.Access, TokenType: kind, ExpiresIn: seconds(t.AccessLife),
		RefreshToken: t.Refresh, RefreshExpiresIn: seconds(t.RefreshLife), Scope: t.Scope,
	})
}

// seconds rounds to whole seconds: a life of 15 minutes is 900, though the token
// was dated to the second it was made in.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// from says where a request came from.
func from(r *http.Request) request.Info {
	return request.Info{Addr: durward.ClientAddr(r.Context()), UserAgent: r.UserAgent()}
}

// login is POST /api/auth/login.
func (s *Server) login(w http.ResponseWriter, r *http.Request, key *durward.HeldKey) error {
	in, err := decode[struct {
		Email      string `json:"email"`
		Password   string `json:"password"`
		UseCookies bool   `json:"use_cookies"`
	}](w, r)
	if err != nil {
		return err
	}
	if err := present(field{"email", in.Email}, field{"password", in.Password}); err != nil {
		return err
	}
	if in.UseCookies {
		if key != nil {
			// Dropping the binding in silence would be worse.
			return &durward.Refusal{Code: durward.InvalidRequest, Detail: "A cookie is bound to no key.",
				Hint: "Leave out use_cookies or the DPoP field.", Members: map[string]any{"member": "use_cookies"}, Err: errors.New("use_cookies with a DPoP proof")}
		}
		// A foreign page must not sign anybody in, as whomever it likes (RFC 9700 s4.7).
		if err := s.signIn.SameOrigin(r); err != nil {
			return err
		}
	}
	proof, err := s.c.People.Authenticate(r.Context(), in.Email, in.Password, from(r))
	if err != nil {
		return err
	}
	if in.UseCookies {
		return s.loginWithCookie(w, r, proof)
	}
	t, err := s.c.Issuer.SignIn(r.Context(), proof, key, from(r))
	if err != nil {
		return err
	}
	return answerTokens(w, t)
}

// register is POST /api/auth/register.
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	if !s.c.Registration {
		return &durward.Refusal{Code: durward.Forbidden, Detail: "Registration is off on this server.", Hint: "Ask its operator for an account.", Err: errors.New("registration is off")}
	}
	in, err := decode[struct {
		Email    string `json:"email"`
		Password string `json:"password"`
		Name     string `json:"name"`
	}](w, r)
	if err != nil {
		return err
	}
	if err := present(field{"email", in.Email}, field{"password", in.Password}); err != nil {
		return err
	}
	u, err := s.c.People.Add(r.Context(), account.NewPerson{Email: in.Email, Name: in.Name, Password: in.Password}, store.EventRegistered, from(r))
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, profileOf(u, []string{"profile"}))
}

type field struct{ name, value string }

// present refuses a request that lacks one of the members it must have.
func present(fields ...field) error {
	for _, f := range fields {
		if f.value == "" {
			return &durward.Refusal{Code: durward.InvalidRequest, Detail: "The member " + f.name + " is missing or empty.",
				Hint: "See /openapi.json for the shape of the body.", Members: map[string]any{"member": f.name}, Err: fmt.Errorf("member %s is missing or empty", f.name)}
		}
	}
	return nil
}
