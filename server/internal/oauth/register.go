package oauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// Limits of a client.
const (
	maxRedirectURIs = 20
	maxURI          = 2048 // octets of a redirect URI, resource or audience
	maxNames        = 50   // scopes, resources or audiences
	maxClientName   = 100  // characters
	minSecret       = 32   // characters of an imported secret
	maxSecret       = 256
)

// clientID is the form of ids of clients. They are neither URLs of metadata documents nor UUIDs
// of users: the claim sub of a client's own tokens is its id.
var clientID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._~-]{0,63}$`)

// grants are the values of grant_type that a client may have.
var grants = []string{GrantCode, GrantRefresh, GrantCredentials}

// ownClients are ids of this server's own sign-in.
var ownClients = []string{"durward", "durward-cli"}

// Mistake is a property of a client that is wrong. Its Text follows the name of the property in a sentence.
type Mistake struct{ Property, Text string }

func (m Mistake) Error() string { return m.Property + " " + m.Text }

// CheckClient returns every mistake in the properties of a client. resources are those of the server,
// audience the claim aud of tokens for none of them.
func CheckClient(c store.Client, resources []Resource, audience []string) (mistakes []Mistake) {
	wrong := func(property, format string, args ...any) {
		mistakes = append(mistakes, Mistake{property, fmt.Sprintf(format, args...)})
	}
	public, hasGrant := c.Auth == store.ClientPublic, func(grant string) bool { return slices.Contains(c.Grants, grant) }
	_, isUUID := uuid.Parse(c.ID)
	switch {
	case isUUID == nil:
		wrong("id", "is a UUID; those are users")
	case !clientID.MatchString(c.ID):
		wrong("id", "is %q; want 1 to 64 letters, digits, dots, hyphens, underscores or tildes, the first a letter or digit", c.ID)
	case slices.Contains(ownClients, c.ID):
		wrong("id", "is %s, the id of this server's own sign-in", c.ID)
	}
	if n := utf8.RuneCountInString(c.Name); strings.TrimSpace(c.Name) == "" || n > maxClientName || strings.ContainsFunc(c.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		wrong("name", "is %q; want 1 to %d printable characters", c.Name, maxClientName)
	}
	if c.Auth != store.ClientPublic && c.Auth != store.ClientSecret {
		wrong("auth", "is %q; want %s or %s", c.Auth, store.ClientSecret, store.ClientPublic)
	}
	for _, list := range []struct {
		name   string
		values []string
		most   int
	}{{"redirect_uris", c.RedirectURIs, maxRedirectURIs}, {"grants", c.Grants, maxNames}, {"scopes", c.Scopes, maxNames}, {"resources", c.Resources, maxNames}, {"introspects", c.Introspects, maxNames}} {
		if len(list.values) > list.most {
			wrong(list.name, "has %d values; want at most %d", len(list.values), list.most)
		}
		for i, v := range list.values {
			if len(v) > maxURI {
				wrong(list.name, "has a value longer than %d octets", maxURI)
			} else if slices.Contains(list.values[:i], v) {
				wrong(list.name, "has %q twice", v)
			}
		}
	}
	for _, uri := range c.RedirectURIs {
		if err := CheckRedirectURI(uri); err != nil {
			wrong("redirect_uris", "has %q, which %s", uri, err)
		}
	}
	for _, g := range c.Grants {
		if !slices.Contains(grants, g) {
			wrong("grants", "has %q; want some of %s", g, strings.Join(grants, ", "))
		}
	}
	switch {
	case len(c.Grants) == 0:
		wrong("grants", "is empty; want some of %s", strings.Join(grants, ", "))
	case hasGrant(GrantRefresh) && !hasGrant(GrantCode):
		wrong("grants", "has %s without %s", GrantRefresh, GrantCode)
	}
	switch {
	case hasGrant(GrantCode) && len(c.RedirectURIs) == 0:
		wrong("redirect_uris", "is empty; the grant %s requires one", GrantCode)
	case !hasGrant(GrantCode) && len(c.RedirectURIs) > 0:
		wrong("redirect_uris", "requires the grant %s", GrantCode)
	}
	if public {
		if hasGrant(GrantCredentials) { // RFC 6749 s4.4
			wrong("grants", "has %s, which requires a client with a secret", GrantCredentials)
		}
		if c.PKCEOptional {
			wrong("pkce", "is optional, which requires a client with a secret")
		}
		if len(c.Introspects) > 0 {
			wrong("introspects", "requires a client with a secret")
		}
	}
	if c.IDTokenAlg != "" && c.IDTokenAlg != "RS256" {
		wrong("id_token_alg", "is %q; want RS256, or nothing for the algorithm of the server", c.IDTokenAlg)
	}
	for _, text := range c.Resources {
		if _, ok := resourceOf(resources, text); !ok {
			wrong("resources", "has %q, which the configuration does not have as a [[resource]]", text)
		}
	}
	for _, text := range c.Introspects {
		if _, ok := resourceOf(resources, text); !ok && !slices.Contains(audience, text) {
			wrong("introspects", "has %q, which is neither a resource nor the audience of this server's tokens", text)
		}
	}
	for _, s := range c.Scopes {
		if text := scopeMistake(c, s, resources); text != "" {
			wrong("scopes", "has %q, %s", s, text)
		}
	}
	return mistakes
}

// scopeMistake returns why a client may not have a scope, or "".
func scopeMistake(c store.Client, scope string, resources []Resource) string {
	named := slices.DeleteFunc(slices.Clone(resources), func(r Resource) bool { return !mayCall(c, r) })
	switch {
	case !scopeToken(scope):
		return "which is not a word of printable ASCII without quotes"
	case slices.Contains(reservedScopes, scope):
		return "which is for this server's own pages"
	case scope == ScopeOffline && !slices.Contains(c.Grants, GrantRefresh):
		return "which requires the grant " + GrantRefresh
	case slices.Contains(ownScopes, scope) || hasScope(named, scope):
		return ""
	case hasScope(resources, scope):
		return "which is a scope of a resource that the client does not name"
	case len(named) > 0:
		return "which is no scope of the resources that the client names"
	}
	return "" // of an API that the configuration does not have as a resource
}

// check refuses a client with InvalidRequest and names all mistakes in its properties.
func (m *Manager) check(c store.Client) error {
	return refuseMistakes(CheckClient(c, m.Resources(), m.c.Audience))
}

func refuseMistakes(mistakes []Mistake) error {
	if len(mistakes) == 0 {
		return nil
	}
	var texts, properties []string
	for _, one := range mistakes {
		texts = append(texts, one.Error())
		if !slices.Contains(properties, one.Property) {
			properties = append(properties, one.Property)
		}
	}
	return &durward.Refusal{
		Code:    durward.InvalidRequest,
		Detail:  "The client is not valid: " + strings.Join(texts, "; ") + ".",
		Members: map[string]any{"member": properties[0], "mistakes": texts},
		Err:     errors.New("oauth: invalid " + strings.Join(properties, ", ") + " of a client"),
	}
}

// CheckSecret returns an error if an imported secret is too easy to guess or cannot be sent in a request.
func CheckSecret(secret string) error {
	if len(secret) < minSecret || len(secret) > maxSecret || strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("has %d characters, or others than printable ASCII; want %d to %d", utf8.RuneCountInString(secret), minSecret, maxSecret)
	}
	return nil
}

// idOf returns an id for a client with a name, such as "my-app" for "My App".
func idOf(name string) string {
	id := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(name), "-"), "-")
	if id = id[:min(len(id), 40)]; id == "" {
		return "client-" + strings.ToLower(store.NewID())
	}
	return strings.Trim(id, "-")
}

func (m *Manager) clientEvent(kind, id, detail string, from request.Info) store.Event {
	e := from.Event(kind, "ok", "", "", m.c.Now())
	e.Detail = "client " + id
	if detail != "" {
		e.Detail += ", " + detail
	}
	return e
}

// AddClient adds a client: without an id, with one made of its name. A confidential client gets the imported
// secret, or a new one, which AddClient returns. AddClient refuses with InvalidRequest and names every mistake.
func (m *Manager) AddClient(ctx context.Context, c store.Client, imported seal.Secret, from request.Info) (store.Client, seal.Secret, error) {
	c.Name = strings.TrimSpace(c.Name)
	if c.ID == "" {
		c.ID = idOf(c.Name)
	}
	mistakes := CheckClient(c, m.Resources(), m.c.Audience)
	if imported != "" && c.Auth == store.ClientPublic {
		mistakes = append(mistakes, Mistake{"secret", "is set, and a client with auth none has none"})
	} else if imported != "" {
		if err := CheckSecret(imported.Reveal()); err != nil {
			mistakes = append(mistakes, Mistake{"secret", err.Error()})
		}
	}
	if err := refuseMistakes(mistakes); err != nil {
		return store.Client{}, "", err
	}
	c.SessionID, c.CreatedAt, c.FromConfig = store.NewID(), m.c.Now(), false
	var made seal.Secret
	var secrets []store.HashedSecret
	if c.Auth == store.ClientSecret {
		secret, hashed := m.secretFor(c.ID, imported)
		made, secrets = secret, []store.HashedSecret{hashed}
	}
	if err := m.c.Issuer.MakeKeyFor(ctx, c.IDTokenAlg); err != nil {
		return store.Client{}, "", err
	}
	event := m.clientEvent(store.EventClientAdded, c.ID, "grants "+strings.Join(c.Grants, " ")+", scope "+strings.Join(c.Scopes, " "), from)
	if err := m.c.DB.CreateClient(ctx, c, secrets, event); errors.Is(err, store.ErrTaken) {
		return store.Client{}, "", &durward.Refusal{
			Code:    durward.InvalidRequest,
			Detail:  "There is a client with the id " + c.ID + " already.",
			Hint:    "Choose another id.",
			Members: map[string]any{"member": "id"},
			Err:     err,
		}
	} else if err != nil {
		return store.Client{}, "", err
	}
	return c, made, nil
}

// secretFor returns a new secret of a client, or the imported one without its text.
func (m *Manager) secretFor(id string, imported seal.Secret) (seal.Secret, store.HashedSecret) {
	secret, hashed := NewSecret(id, m)
	if imported != "" {
		hashed.Hash = sha256.Sum256([]byte(imported.Reveal()))
		return "", hashed
	}
	return seal.Secret(secret), hashed
}

// ChangeClient changes the properties of a client: all but id and auth. It returns the client, or
// store.ErrNotFound. It refuses with InvalidRequest and names every mistake, and with Forbidden a client of the
// configuration.
func (m *Manager) ChangeClient(ctx context.Context, id string, change func(*store.Client), from request.Info) (store.Client, error) {
	was, err := m.c.DB.ClientByID(ctx, id)
	if err != nil {
		return store.Client{}, err
	}
	c := was
	change(&c)
	c.Name = strings.TrimSpace(c.Name)
	if c.ID != was.ID || c.Auth != was.Auth {
		return store.Client{}, refuseMistakes([]Mistake{{"auth", "cannot be changed; delete the client and add another one"}})
	}
	if was.FromConfig {
		return store.Client{}, refuseConfigured(store.ErrConfigured)
	}
	if err := m.check(c); err != nil {
		return store.Client{}, err
	}
	if err := m.c.Issuer.MakeKeyFor(ctx, c.IDTokenAlg); err != nil {
		return store.Client{}, err
	}
	now := m.c.Now()
	err = m.c.Sessions.Publish(m.c.DB.SetClient(ctx, was, c, store.NewID(), m.c.Issuer.TokensEnd(now), m.clientEvent(store.EventClientChanged, id, changesOf(was, c), from)))
	if errors.Is(err, store.ErrChanged) {
		return store.Client{}, &durward.Refusal{
			Code:   durward.InvalidRequest,
			Detail: "Another administrator changed this client at the same time.",
			Hint:   "Read it again, then repeat the change.",
			Err:    err,
		}
	} else if err != nil {
		return store.Client{}, refuseConfigured(err)
	}
	return m.c.DB.ClientByID(ctx, id)
}

// changesOf names the properties in which two versions of a client differ, with the new rights.
func changesOf(was, c store.Client) string {
	var changes []string
	add := func(name string, different bool) {
		if different {
			changes = append(changes, name)
		}
	}
	add("name", was.Name != c.Name)
	add("redirect URIs", !slices.Equal(was.RedirectURIs, c.RedirectURIs))
	add("grants "+strings.Join(c.Grants, " "), !slices.Equal(was.Grants, c.Grants))
	add("scope "+strings.Join(c.Scopes, " "), !slices.Equal(was.Scopes, c.Scopes))
	add("resources "+strings.Join(c.Resources, " "), !slices.Equal(was.Resources, c.Resources))
	add("introspects", !slices.Equal(was.Introspects, c.Introspects))
	add("algorithm of ID tokens", was.IDTokenAlg != c.IDTokenAlg)
	add(fmt.Sprintf("PKCE optional: %t", c.PKCEOptional), was.PKCEOptional != c.PKCEOptional)
	add(fmt.Sprintf("trusted: %t", c.Trusted), was.Trusted != c.Trusted)
	return strings.Join(changes, ", ")
}

// refuseConfigured maps the error of a change of a client of the configuration.
func refuseConfigured(err error) error {
	if !errors.Is(err, store.ErrConfigured) {
		return err
	}
	return &durward.Refusal{
		Code:   durward.Forbidden,
		Detail: "The configuration file defines this client, so it can be changed there only.",
		Hint:   "Change its [[client]] in the file, then reload the configuration.",
		Err:    err,
	}
}

// DisableClient makes a client one that gets no tokens, and ends its sessions and tokens. It returns
// store.ErrNotFound if there is no such client, and refuses with Forbidden one of the configuration.
func (m *Manager) DisableClient(ctx context.Context, id string, from request.Info) error {
	now := m.c.Now()
	return refuseConfigured(m.c.Sessions.Publish(m.c.DB.DisableClient(ctx, id, store.NewID(), m.c.Issuer.TokensEnd(now), m.clientEvent(store.EventClientDisabled, id, "", from))))
}

// EnableClient is the reverse of DisableClient: new sign-ins work, ended sessions stay ended.
func (m *Manager) EnableClient(ctx context.Context, id string, from request.Info) error {
	return refuseConfigured(m.c.DB.EnableClient(ctx, id, m.clientEvent(store.EventClientEnabled, id, "", from)))
}

// DeleteClient deletes a client with its secrets and consents, and ends its sessions and tokens. Its errors are
// those of DisableClient.
func (m *Manager) DeleteClient(ctx context.Context, id string, from request.Info) error {
	now := m.c.Now()
	return refuseConfigured(m.c.Sessions.Publish(m.c.DB.DeleteClient(ctx, id, m.c.Issuer.TokensEnd(now), m.clientEvent(store.EventClientDeleted, id, "", from))))
}

// AddSecret adds a new secret, or an imported one, to a client. It returns a new one; its text is not stored.
// It refuses with InvalidRequest a client that has two already or needs none. Its other errors are those of
// DisableClient.
func (m *Manager) AddSecret(ctx context.Context, id string, imported seal.Secret, from request.Info) (store.HashedSecret, seal.Secret, error) {
	if imported != "" {
		if err := CheckSecret(imported.Reveal()); err != nil {
			return store.HashedSecret{}, "", refuseMistakes([]Mistake{{"secret", err.Error()}})
		}
	}
	c, err := m.c.DB.ClientByID(ctx, id)
	if err != nil {
		return store.HashedSecret{}, "", err
	}
	if c.Auth == store.ClientPublic {
		return store.HashedSecret{}, "", refuseMistakes([]Mistake{{"secret", "is of no use: the client has auth none"}})
	}
	secret, hashed := m.secretFor(id, imported)
	err = m.c.DB.AddClientSecret(ctx, hashed, m.clientEvent(store.EventClientSecretAdded, id, "secret "+hashed.ID, from))
	if errors.Is(err, store.ErrTooMany) {
		return store.HashedSecret{}, "", &durward.Refusal{
			Code:    durward.InvalidRequest,
			Detail:  fmt.Sprintf("The client has %d secrets already.", store.MaxClientSecrets),
			Hint:    "Remove the old one first.",
			Members: map[string]any{"member": "secret"},
			Err:     err,
		}
	} else if err != nil {
		return store.HashedSecret{}, "", refuseConfigured(err)
	}
	return hashed, secret, nil
}

// RemoveSecret removes a secret of a client, and revokes the tokens that the client has for itself. It returns
// store.ErrNotFound if there is no such secret, and refuses with Forbidden a client of the configuration.
func (m *Manager) RemoveSecret(ctx context.Context, id, secretID string, from request.Info) error {
	now := m.c.Now()
	event := m.clientEvent(store.EventClientSecretRemoved, id, "secret "+secretID, from)
	return refuseConfigured(m.c.Sessions.Publish(m.c.DB.RemoveClientSecret(ctx, id, secretID, store.NewID(), m.c.Issuer.TokensEnd(now), event)))
}

// Configure makes resources and clients those of the configuration. It returns an error that names every
// mistake, and then changes nothing.
func (m *Manager) Configure(ctx context.Context, resources []Resource, clients []store.ConfiguredClient) error {
	errs := []error{CheckResources(resources)}
	now := m.c.Now()
	clients = slices.Clone(clients)
	for i := range clients {
		c := &clients[i].Client
		c.SessionID, c.CreatedAt = store.NewID(), now
		for _, one := range CheckClient(*c, resources, m.c.Audience) {
			errs = append(errs, fmt.Errorf("the client %q: %w", c.ID, one))
		}
		if n := len(clients[i].Hashes); n > store.MaxClientSecrets || (c.Auth == store.ClientPublic) != (n == 0) {
			errs = append(errs, fmt.Errorf("the client %q has %d secrets; want 1 or %d, and none with auth none", c.ID, n, store.MaxClientSecrets))
		}
		if slices.ContainsFunc(clients[:i], func(o store.ConfiguredClient) bool { return o.Client.ID == c.ID }) {
			errs = append(errs, fmt.Errorf("the client %q is there twice", c.ID))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, c := range clients {
		if err := m.c.Issuer.MakeKeyFor(ctx, c.Client.IDTokenAlg); err != nil {
			return err
		}
	}
	event := func(kind, id string) store.Event {
		return m.clientEvent(kind, id, "by the configuration", request.Info{Actor: store.Operator})
	}
	err := m.c.Sessions.Publish(m.c.DB.SyncClients(ctx, clients, now, m.c.Issuer.TokensEnd(now), event))
	if taken, ok := errors.AsType[*store.TakenClientError](err); ok {
		return fmt.Errorf("the client %q of the configuration has the id of a client that was added otherwise; delete that one with: durward client delete %s", taken.ID, taken.ID)
	} else if err != nil {
		return err
	}
	m.resources.Store(&resources)
	return nil
}

// Values of ClientView.PKCE.
const (
	PKCERequired = "required"
	PKCEOptional = "optional"
)

// ClientView is the JSON form of a client.
type ClientView struct {
	ID           string       `json:"id"`
	Name         string       `json:"name"`
	Auth         string       `json:"auth"`
	Grants       []string     `json:"grants"`
	RedirectURIs []string     `json:"redirect_uris"`
	Scopes       []string     `json:"scopes"`
	Resources    []string     `json:"resources"`
	Introspects  []string     `json:"introspects"`
	IDTokenAlg   string       `json:"id_token_alg,omitzero"`
	PKCE         string       `json:"pkce"`
	Trusted      bool         `json:"trusted"`
	Configured   bool         `json:"configured"` // by the configuration file: read-only
	CreatedAt    time.Time    `json:"created_at"`
	DisabledAt   time.Time    `json:"disabled_at,omitzero"`
	Secrets      []SecretView `json:"secrets,omitzero"` // of one client, not in lists
	Secret       string       `json:"secret,omitzero"`  // the text of a new one, only when it is made
}

// SecretView is the JSON form of a secret, without its text.
type SecretView struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	Secret    string    `json:"secret,omitzero"` // the text, only when it is made
}

// ClientViewOf returns the JSON form of a client, without its secrets.
func ClientViewOf(c store.Client) ClientView {
	pkce, words := PKCERequired, func(list []string) []string { return append([]string{}, list...) } // [], not null
	if c.PKCEOptional {
		pkce = PKCEOptional
	}
	return ClientView{
		ID: c.ID, Name: c.Name, Auth: c.Auth, Grants: words(c.Grants), RedirectURIs: words(c.RedirectURIs), Scopes: words(c.Scopes),
		Resources: words(c.Resources), Introspects: words(c.Introspects), IDTokenAlg: c.IDTokenAlg, PKCE: pkce, Trusted: c.Trusted,
		Configured: c.FromConfig, CreatedAt: c.CreatedAt.UTC(), DisabledAt: c.DisabledAt,
	}
}

// SecretViewOf returns the JSON form of a secret.
func SecretViewOf(s store.HashedSecret) SecretView {
	return SecretView{ID: s.ID, CreatedAt: s.CreatedAt.UTC()}
}

// ViewClient returns a client with its secrets, or store.ErrNotFound.
func (m *Manager) ViewClient(ctx context.Context, id string) (ClientView, error) {
	c, err := m.c.DB.ClientByID(ctx, id)
	if err != nil {
		return ClientView{}, err
	}
	secrets, err := m.c.DB.ClientSecrets(ctx, id)
	if err != nil {
		return ClientView{}, err
	}
	v := ClientViewOf(c)
	for _, s := range secrets {
		v.Secrets = append(v.Secrets, SecretViewOf(s))
	}
	return v, nil
}
