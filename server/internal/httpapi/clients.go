package httpapi

import (
	"cmp"
	"context"
	"net/http"

	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// clients is GET /api/admin/clients.
func (s *Server) clients(w http.ResponseWriter, r *http.Request) error {
	page := func(ctx context.Context, _, after string, limit int) ([]store.Client, error) {
		return s.c.DB.Clients(ctx, after, limit)
	}
	return answerPage(w, r, page, oauth.ClientViewOf, func(c oauth.ClientView) string { return c.ID })
}

// clientMembers are the members of a client that an administrator may change. Absent ones stay as they are.
type clientMembers struct {
	Name         *string   `json:"name,omitzero"`
	Grants       *[]string `json:"grants,omitzero"`
	RedirectURIs *[]string `json:"redirect_uris,omitzero"`
	Scopes       *[]string `json:"scopes,omitzero"`
	Resources    *[]string `json:"resources,omitzero"`
	Introspects  *[]string `json:"introspects,omitzero"`
	IDTokenAlg   *string   `json:"id_token_alg,omitzero"`
	PKCE         *string   `json:"pkce,omitzero"`
	Trusted      *bool     `json:"trusted,omitzero"`
}

// check refuses another value of pkce than those of oauth.ClientView.
func (m clientMembers) check() error {
	if m.PKCE != nil && *m.PKCE != oauth.PKCERequired && *m.PKCE != oauth.PKCEOptional {
		return invalid("pkce", "The member pkce is neither required nor optional.", "Leave it out for required.")
	}
	return nil
}

// apply sets the properties of c that m has.
func (m clientMembers) apply(c *store.Client) {
	set(&c.Name, m.Name)
	set(&c.Grants, m.Grants)
	set(&c.RedirectURIs, m.RedirectURIs)
	set(&c.Scopes, m.Scopes)
	set(&c.Resources, m.Resources)
	set(&c.Introspects, m.Introspects)
	set(&c.IDTokenAlg, m.IDTokenAlg)
	set(&c.Trusted, m.Trusted)
	if m.PKCE != nil {
		c.PKCEOptional = *m.PKCE == oauth.PKCEOptional
	}
}

// set sets to to the value of from, if it has one.
func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// addClient is POST /api/admin/clients. The response is the only one that contains the secret.
func (s *Server) addClient(w http.ResponseWriter, r *http.Request, by request.Info) error {
	in, err := decode[struct {
		ID           string    `json:"id,omitzero"`
		Name         string    `json:"name"`
		Auth         string    `json:"auth,omitzero"`
		Grants       *[]string `json:"grants,omitzero"`
		RedirectURIs *[]string `json:"redirect_uris,omitzero"`
		Scopes       *[]string `json:"scopes,omitzero"`
		Resources    *[]string `json:"resources,omitzero"`
		Introspects  *[]string `json:"introspects,omitzero"`
		IDTokenAlg   *string   `json:"id_token_alg,omitzero"`
		PKCE         *string   `json:"pkce,omitzero"`
		Trusted      *bool     `json:"trusted,omitzero"`
		Secret       string    `json:"secret,omitzero"`
	}](w, r)
	if err != nil {
		return err
	}
	members := clientMembers{&in.Name, in.Grants, in.RedirectURIs, in.Scopes, in.Resources, in.Introspects, in.IDTokenAlg, in.PKCE, in.Trusted}
	if err := members.check(); err != nil {
		return err
	}
	c := store.Client{ID: in.ID, Auth: cmp.Or(in.Auth, store.ClientSecret), Grants: []string{oauth.GrantCode, oauth.GrantRefresh}}
	members.apply(&c)
	c, secret, err := s.c.OAuth.AddClient(r.Context(), c, seal.Secret(in.Secret), by)
	if err != nil {
		return err
	}
	view, err := s.c.OAuth.ViewClient(r.Context(), c.ID)
	view.Secret = secret.Reveal()
	return answer(w, http.StatusCreated, view, err)
}

// client is GET /api/admin/clients/{id}.
func (s *Server) client(w http.ResponseWriter, r *http.Request) error {
	view, err := s.c.OAuth.ViewClient(r.Context(), r.PathValue("id"))
	return answer(w, http.StatusOK, view, err)
}

// patchClient is PATCH /api/admin/clients/{id}.
func (s *Server) patchClient(w http.ResponseWriter, r *http.Request, by request.Info) error {
	in, err := decode[clientMembers](w, r)
	if err == nil {
		err = in.check()
	}
	if err != nil {
		return err
	}
	if in == (clientMembers{}) {
		return invalidBody("The body has no members.", "Send the members to change.")
	}
	if _, err := s.c.OAuth.ChangeClient(r.Context(), r.PathValue("id"), in.apply, by); err != nil {
		return err
	}
	return s.client(w, r)
}

// deleteClient is DELETE /api/admin/clients/{id}.
func (s *Server) deleteClient(w http.ResponseWriter, r *http.Request, by request.Info) error {
	return noContent(w, s.c.OAuth.DeleteClient(r.Context(), r.PathValue("id"), by))
}

// disableClient is POST /api/admin/clients/{id}/disable.
func (s *Server) disableClient(w http.ResponseWriter, r *http.Request, by request.Info) error {
	return noContent(w, s.c.OAuth.DisableClient(r.Context(), r.PathValue("id"), by))
}

// enableClient is POST /api/admin/clients/{id}/enable.
func (s *Server) enableClient(w http.ResponseWriter, r *http.Request, by request.Info) error {
	return noContent(w, s.c.OAuth.EnableClient(r.Context(), r.PathValue("id"), by))
}

// addClientSecret is POST /api/admin/clients/{id}/secrets. The response is the only one that contains the secret.
func (s *Server) addClientSecret(w http.ResponseWriter, r *http.Request, by request.Info) error {
	in, err := decodeOptional[struct {
		Secret string `json:"secret,omitzero"`
	}](w, r)
	if err != nil {
		return err
	}
	stored, secret, err := s.c.OAuth.AddSecret(r.Context(), r.PathValue("id"), seal.Secret(in.Secret), by)
	view := oauth.SecretViewOf(stored)
	view.Secret = secret.Reveal()
	return answer(w, http.StatusCreated, view, err)
}

// removeClientSecret is DELETE /api/admin/clients/{id}/secrets/{secret}.
func (s *Server) removeClientSecret(w http.ResponseWriter, r *http.Request, by request.Info) error {
	return noContent(w, s.c.OAuth.RemoveSecret(r.Context(), r.PathValue("id"), r.PathValue("secret"), by))
}
