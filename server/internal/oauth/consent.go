package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

const (
	requestStep  = 10 * time.Minute // from one step of a user to the next
	mostRequests = 100_000          // stored at one time, at all nodes

	// RequestTime is the time for all steps of a request.
	RequestTime = time.Hour
)

// Step is the next thing to do for an authorization request.
type Step int

// Steps.
const (
	StepCode     Step = iota // nothing is missing
	StepSignIn               // no user is signed in
	StepRegister             // the client wants a new account
	StepStepUp               // the sign-in is too old or too weak
	StepEnrol                // the user has to set up a second factor
	StepSelect               // the user chooses the account
	StepConsent              // the user allows the client
)

// stepNames are the names of steps in metrics.
var stepNames = [...]string{"code", "sign_in", "register", "step_up", "enrol", "select", "consent"}

func (s Step) String() string { return stepNames[s] }

// progress is the state of a stored request. The ids of sessions bind a choice to its sign-in.
type progress struct {
	Registered bool   `json:"registered,omitempty"` // the user was led to the registration
	Selected   string `json:"selected,omitempty"`   // session with the choice of the account
	Allowed    string `json:"allowed,omitempty"`    // session with the consent
	Shown      string `json:"shown,omitempty"`      // the permission, as Decision.Shown
	Denied     bool   `json:"denied,omitempty"`
}

// Decision holds the next step of an authorization request and the rights that its client would get.
type Decision struct {
	Step   Step
	Scopes []string // that the user may give and the client asks for, also by the names of claims
	Shown  string   // fingerprint of the session and of everything that the consent page shows

	// Weak says, with StepStepUp, that the sign-in is too weak.
	Weak bool

	// OtherUser says, with StepSelect, that the client expects another user.
	OtherUser bool

	resources []Resource // that the consent page shows
	acr       string     // for the tokens
}

// Resources returns the APIs that the client may call with its tokens.
func (d Decision) Resources() []Resource { return d.resources }

// Pending is an authorization request that waits for its user: its row, and the request in it.
type Pending struct {
	Request *Request
	ID      string // secret of the row; it stands in URLs
	row     store.AuthorizationRequest
	done    progress
}

// Decide returns the next step of a request that arrived just now. p is the sign-in of the browser, or nil.
func (m *Manager) Decide(ctx context.Context, r *Request, p *durward.Principal) (Decision, error) {
	return m.decide(ctx, r, m.c.Now(), progress{}, p)
}

// DecidePending is Decide for a stored request.
func (m *Manager) DecidePending(ctx context.Context, q *Pending, p *durward.Principal) (Decision, error) {
	return m.decide(ctx, q.Request, q.row.CreatedAt, q.done, p)
}

// decide refuses with a *Refused if the client gets an error, such as for prompt=none.
func (m *Manager) decide(ctx context.Context, r *Request, begun time.Time, done progress, p *durward.Principal) (d Decision, err error) {
	silent := r.wants(promptNone)
	step := func(step Step, code, description string) (Decision, error) {
		if silent {
			return Decision{}, r.refuse(refuse(code, "%s", description))
		}
		d.Step = step
		return d, nil
	}
	switch {
	case done.Denied:
		return d, r.refuse(refuse(AccessDenied, "The user refused."))
	case silent && (p == nil || r.badHint):
		return step(StepSignIn, LoginRequired, "The user is not signed in.")
	case r.wants(promptCreate) && !done.Registered:
		d.Step = StepRegister
		return d, nil
	case p == nil:
		d.Step = StepSignIn
		return d, nil
	}
	// A sign-in for this request is a choice of the account, too.
	old := p.AuthTime.Before(begun)
	switch {
	case r.subject != "" && r.subject != p.Subject:
		d.OtherUser = true
		return step(StepSelect, AccountSelection, "Another user is signed in.")
	case r.wants(promptSelect) && old && done.Selected != p.SessionID:
		return step(StepSelect, AccountSelection, "The user has to choose the account.")
	case r.wants(promptLogin) && old,
		// In the whole seconds of the claim auth_time, by which an API decides, or it would refuse the new token too.
		r.maxAge >= 0 && old && m.c.Now().Sub(p.AuthTime.Truncate(time.Second)) > r.maxAge:
		return step(StepStepUp, LoginRequired, "The sign-in is too old.")
	}
	if u, err := m.c.DB.UserByID(ctx, p.Subject); err != nil {
		return d, err
	} else if u.OwesFactor() {
		return step(StepEnrol, InteractionRequired, "The user has to set up a second factor.")
	}
	d.acr = p.ACR
	if len(r.acr) > 0 && !account.ReachedBy(p.ACR, r.acr) {
		reachable, err := m.reachable(ctx, p.Subject, r.acr)
		switch {
		case err != nil:
			return d, err
		case reachable && (!silent || r.essential):
			d.Weak = true
			return step(StepStepUp, InteractionRequired, "The sign-in is too weak.")
		case r.essential:
			return d, r.refuse(refuse(UnmetAuthentication, "The user cannot sign in as strongly as the request wants."))
		}
	} else if r.essential { // OpenID Connect Core s5.5.1.1: the claim is one of the wanted values
		d.acr = r.acr[slices.IndexFunc(r.acr, func(wanted string) bool { return account.ReachedBy(p.ACR, []string{wanted}) })]
	}
	if err := m.decideScopes(ctx, r, p, &d); err != nil {
		return d, err
	}
	if done.Allowed == p.SessionID && done.Shown == d.Shown {
		return d, nil
	}
	if needed, err := m.needsConsent(ctx, r, p.Subject, d); err != nil {
		return d, err
	} else if needed {
		return step(StepConsent, ConsentRequired, "The user has not allowed this.")
	}
	return d, nil
}

// reachable reports whether a user has a factor for one of the levels.
func (m *Manager) reachable(ctx context.Context, userID string, acrs []string) (bool, error) {
	u, err := m.c.DB.UserByID(ctx, userID)
	if err != nil {
		return false, err
	}
	f, err := m.c.DB.Factors(ctx, userID)
	methods := f.Usable()
	if u.SecondFactorAt.IsZero() {
		methods = []string{"password"}
	}
	return slices.ContainsFunc(methods, func(method string) bool { return account.Reaches(method, acrs) }), err
}

func (m *Manager) decideScopes(ctx context.Context, r *Request, p *durward.Principal, d *Decision) error {
	groups, err := m.c.DB.Groups(ctx, p.Subject)
	if err != nil {
		return err
	}
	requested := r.scopes
	if len(requested) > 0 { // without any, all scopes of the client are requested
		requested = append(slices.Clone(requested), r.claims.scopes()...)
	}
	d.Scopes = m.GrantScopes(r.Client, groups, r.targets, requested)
	if len(r.scopes) > 0 && len(d.Scopes) == 0 {
		return r.refuse(refuse(InvalidScope, "The client or the user may have none of the scopes."))
	}
	// Without a request these are the default resources: a token is for them, whatever its scopes. A token for this
	// server alone opens nothing here.
	d.resources = slices.DeleteFunc(slices.Clone(r.targets), func(t Resource) bool { return t.URL == m.c.Issuer.URL() })
	urls := make([]string, 0, len(d.resources))
	for _, t := range d.resources {
		urls = append(urls, t.URL)
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{p.SessionID, r.Client.ID, r.response.RedirectURI, strings.Join(d.Scopes, " "), strings.Join(urls, " ")}, "\n")))
	d.Shown = base64.RawURLEncoding.EncodeToString(sum[:])
	return nil
}

// consentsOf returns the permissions that a consent page asks for: by resource, and for the account itself.
func (m *Manager) consentsOf(r *Request, userID string, d Decision) []store.Consent {
	own := store.Consent{UserID: userID, ClientID: r.Client.ID, CreatedAt: m.c.Now()}
	var all []store.Consent
	left := slices.Clone(d.Scopes)
	for _, t := range d.resources {
		c := own
		c.Resource = t.URL
		var scopes []string
		for _, s := range d.Scopes {
			if hasScope([]Resource{t}, s) {
				scopes = append(scopes, s)
				left = slices.DeleteFunc(left, func(l string) bool { return l == s })
			}
		}
		c.Scope = strings.Join(scopes, " ")
		all = append(all, c)
	}
	own.Scope = strings.Join(left, " ")
	return append(all, own)
}

// needsConsent reports whether the user has to allow the request.
func (m *Manager) needsConsent(ctx context.Context, r *Request, userID string, d Decision) (bool, error) {
	if r.wants(promptConsent) {
		return true, nil
	}
	had, err := m.c.DB.Consents(ctx, userID, r.Client.ID)
	if err != nil {
		return false, err
	}
	for _, c := range m.consentsOf(r, userID, d) {
		i := slices.IndexFunc(had, func(h store.Consent) bool { return h.Resource == c.Resource })
		for _, s := range strings.Fields(c.Scope) {
			given := i >= 0 && slices.Contains(strings.Fields(had[i].Scope), s)
			if !given && (s == ScopeOffline || !r.Client.Trusted) {
				return true, nil
			}
		}
		if i < 0 && !r.Client.Trusted {
			return true, nil
		}
	}
	return false, nil
}

// Issue returns the response with a code for a request for which nothing is missing. q is its row, or nil if it
// was not stored. It refuses with a *Refused if the session of p ended meanwhile, and returns store.ErrNotFound
// if q was answered before.
func (m *Manager) Issue(ctx context.Context, r *Request, q *Pending, d Decision, p *durward.Principal) (Response, error) {
	c := store.Code{
		ClientID:    r.Client.ID,
		UserID:      p.Subject,
		ParentID:    p.SessionID,
		RedirectURI: r.response.RedirectURI,
		Challenge:   r.challenge,
		Nonce:       r.parameters.Get("nonce"),
		Scope:       strings.Join(d.Scopes, " "),
		Claims:      r.claims.text(),
		JKT:         r.parameters.Get("dpop_jkt"),
		AuthTime:    p.AuthTime,
		ACR:         d.acr,
		AMR:         p.AMR,
	}
	for _, t := range r.targets {
		c.Resources = append(c.Resources, t.URL)
	}
	if slices.Contains(d.Scopes, ScopeOffline) { // such a session outlives that of the browser
		c.ParentID = ""
	}
	if q != nil {
		c.Request = q.row.Hash
	}
	code, err := m.c.Sessions.NewCode(ctx, c, p.SessionID, m.c.CodeTTL)
	if errors.Is(err, store.ErrChanged) {
		return Response{}, r.refuse(refuse(LoginRequired, "The sign-in has ended."))
	} else if err != nil {
		return Response{}, err
	}
	return r.response.with("code", code), nil
}

// Store keeps a request for the steps of its user. browser is the cookie of the browser that may
// continue; empty: the first browser that continues. It refuses with TooManyAttempts.
func (m *Manager) Store(ctx context.Context, r *Request, browser string, from request.Info) (*Pending, error) {
	if wait, ok := m.c.Requests.Network(ctx, from.Addr); !ok {
		return nil, &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: wait, Err: errors.New("oauth: too many authorization requests of the network")}
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // crypto/rand.Read never returns an error
	now := m.c.Now()
	q := &Pending{Request: r, ID: base64.RawURLEncoding.EncodeToString(id[:])}
	q.row = store.AuthorizationRequest{
		Hash:       hashOf("request", q.ID),
		ClientID:   r.Client.ID,
		Parameters: r.parameters.Encode(),
		Progress:   "{}",
		CreatedAt:  now,
		StepEnds:   now.Add(requestStep),
		EndsAt:     now.Add(RequestTime),
	}
	if browser != "" {
		q.row.Browser = hashOf("browser", browser)
	}
	err := m.c.DB.CreateRequest(ctx, q.row, mostRequests)
	if errors.Is(err, store.ErrTooMany) {
		return nil, &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: time.Minute, Err: fmt.Errorf("oauth: %d authorization requests wait", mostRequests)}
	}
	return q, err
}

// NewBrowser returns the secret for the cookie that binds requests to a browser.
func NewBrowser() string {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // crypto/rand.Read never returns an error
	return base64.RawURLEncoding.EncodeToString(secret[:])
}

func hashOf(label, secret string) []byte {
	sum := sha256.Sum256([]byte("durward authorization " + label + "\x00" + secret))
	return sum[:]
}

// Pending returns a stored request for the browser with a cookie, and checks it anew. It returns
// store.ErrNotFound if there is none, its time is over, or it belongs to another browser.
func (m *Manager) Pending(ctx context.Context, id, browser string) (*Pending, error) {
	q := &Pending{ID: id}
	var err error
	if q.row, err = m.c.DB.RequestByHash(ctx, hashOf("request", id), m.c.Now()); err != nil {
		return nil, err
	}
	owner := hashOf("browser", browser)
	if len(q.row.Browser) == 0 {
		err = m.c.DB.BindRequest(ctx, q.row.Hash, owner)
	} else if subtle.ConstantTimeCompare(q.row.Browser, owner) == 0 {
		err = store.ErrChanged
	}
	if errors.Is(err, store.ErrChanged) {
		return nil, fmt.Errorf("oauth: the request belongs to another browser: %w", store.ErrNotFound)
	} else if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(q.row.Progress), &q.done); err != nil {
		return nil, fmt.Errorf("oauth: progress of a request: %w", err)
	}
	if q.Request, err = m.ParseRequest(ctx, q.row.Parameters); err != nil {
		return nil, err
	}
	return q, nil
}

// advance stores the progress of q and gives its user time for the next step.
func (m *Manager) advance(ctx context.Context, q *Pending, change func(*progress)) error {
	was := q.row.Progress
	change(&q.done)
	text, err := json.Marshal(q.done)
	if err != nil {
		return err
	}
	q.row.Progress = string(text)
	q.row.StepEnds = m.c.Now().Add(requestStep)
	if q.row.StepEnds.After(q.row.EndsAt) {
		q.row.StepEnds = q.row.EndsAt
	}
	return m.c.DB.AdvanceRequest(ctx, q.row, was)
}

// Touch gives the user of q time for the next step. registered says that the next step is the registration.
func (m *Manager) Touch(ctx context.Context, q *Pending, registered bool) error {
	return m.advance(ctx, q, func(p *progress) { p.Registered = p.Registered || registered })
}

// Select records that the user chose the account of p.
func (m *Manager) Select(ctx context.Context, q *Pending, p *durward.Principal) error {
	return m.advance(ctx, q, func(done *progress) { done.Selected = p.SessionID })
}

// Deny records that the user refused.
func (m *Manager) Deny(ctx context.Context, q *Pending) error {
	return m.advance(ctx, q, func(done *progress) { done.Denied = true })
}

// Allow records the consent of the user of p to a page. It reports false, and records nothing, if the
// page showed something else than d.
func (m *Manager) Allow(ctx context.Context, q *Pending, d Decision, shown string, p *durward.Principal, from request.Info) (bool, error) {
	if shown != d.Shown {
		return false, nil
	}
	event := from.Event(store.EventConsentGiven, "ok", p.Subject, p.SessionID, m.c.Now())
	event.Detail = "client " + q.Request.Client.ID + ", scope " + strings.Join(d.Scopes, " ")
	if err := m.c.DB.GiveConsents(ctx, m.consentsOf(q.Request, p.Subject, d), event); err != nil {
		return false, err
	}
	return true, m.advance(ctx, q, func(done *progress) { done.Allowed, done.Shown = p.SessionID, d.Shown })
}

// End forgets a stored request that was answered with an error.
func (m *Manager) End(ctx context.Context, q *Pending) error {
	err := m.c.DB.EndRequest(ctx, q.row.Hash)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// Application is a client in a user's list.
type Application struct {
	Client    store.Client
	Since     time.Time
	Scopes    []string
	Resources []Resource
}

// Applications returns the clients that a user allowed, and trusted ones with a live session of the user.
func (m *Manager) Applications(ctx context.Context, userID string) ([]Application, error) {
	rows, err := m.c.DB.ConsentsOf(ctx, userID, m.c.Now())
	var all []Application
	for _, row := range rows {
		if len(all) == 0 || all[len(all)-1].Client.ID != row.Client.ID {
			all = append(all, Application{Client: row.Client, Since: row.CreatedAt})
		}
		a := &all[len(all)-1]
		if row.CreatedAt.Before(a.Since) {
			a.Since = row.CreatedAt
		}
		for _, s := range strings.Fields(row.Scope) {
			if !slices.Contains(a.Scopes, s) {
				a.Scopes = append(a.Scopes, s)
			}
		}
		if row.Resource == "" {
			continue
		}
		r, ok := m.Resource(row.Resource)
		if !ok {
			r = Resource{URL: row.Resource}
		}
		a.Resources = append(a.Resources, r)
	}
	return all, err
}

// Withdraw takes back everything that a user allowed to a client, and ends the client's sessions of the user;
// their tokens are refused when it returns. It returns store.ErrNotFound if there is nothing to take back.
func (m *Manager) Withdraw(ctx context.Context, userID, clientID, sessionID string, from request.Info) error {
	event := from.Event(store.EventConsentWithdrawn, "ok", userID, sessionID, m.c.Now())
	event.Detail = "client " + clientID
	return m.c.Sessions.WithdrawConsent(ctx, userID, clientID, event)
}
