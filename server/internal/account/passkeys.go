package account

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/passkey"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// maxPasskeys is the number of passkeys of a user.
const maxPasskeys = 20

// Authentication methods of a passkey, the claim amr (RFC 8176 s2): possession of a key, presence of the
// user, and both together with the PIN or biometric that the authenticator verified. Whether hardware
// protects the key is not known, so "hwk" is not claimed.
var passkeyMethods = []string{"mfa", "pop", "user"}

// Passkeys are the passkeys of one origin.
type Passkeys struct {
	m  *Manager
	rp *passkey.RP // nil if there are none
}

// Passkeys returns the passkeys for the server at origin. At an origin with an IP address, all methods refuse
// with NotFound.
func (m *Manager) Passkeys(origin string) (*Passkeys, error) {
	key, err := m.Master.Derive("challenges of passkeys")
	if err != nil {
		return nil, err
	}
	rp, err := passkey.New(origin, key)
	if err != nil && !errors.Is(err, passkey.ErrIP) {
		return nil, err
	}
	return &Passkeys{m, rp}, nil
}

// on refuses if there are no passkeys.
func (k *Passkeys) on() error {
	if k.rp != nil {
		return nil
	}
	return &durward.Refusal{
		Code:   durward.NotFound,
		Detail: "This server has no passkeys, because its public URL has an IP address.",
		Hint:   "Set public_url to an origin with a domain name, such as https://auth.example.com or http://localhost:8401.",
		Err:    errors.New("account: passkeys need a domain name in public_url"),
	}
}

// PasskeyView is the JSON form of a passkey.
type PasskeyView struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	Provider   string    `json:"provider,omitzero"` // software or device that holds it, if known
	Synced     bool      `json:"synced"`            // copied to other devices of the user
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
}

// PasskeyViewOf returns the JSON form of p.
func PasskeyViewOf(p store.Passkey) PasskeyView {
	c := credentialOf(p)
	return PasskeyView{
		ID:         p.ID,
		Name:       p.Name,
		Provider:   c.Provider(),
		Synced:     c.Synced(),
		CreatedAt:  p.CreatedAt.UTC(),
		LastUsedAt: p.UsedAt,
	}
}

func credentialOf(p store.Passkey) passkey.Credential {
	return passkey.Credential{
		ID:         p.Credential,
		PublicKey:  p.PublicKey,
		Flags:      byte(p.Flags),
		Count:      p.Count,
		AAGUID:     p.AAGUID,
		Transports: p.Transports,
	}
}

// credentials returns the passkeys of a user as package passkey takes them.
func (k *Passkeys) credentials(ctx context.Context, userID string) ([]passkey.Credential, error) {
	rows, err := k.m.DB.Passkeys(ctx, userID)
	list := make([]passkey.Credential, 0, len(rows))
	for _, p := range rows {
		list = append(list, credentialOf(p))
	}
	return list, err
}

// bound adds the epoch to the record that a challenge is for: a restored database does not know which
// challenges were spent in the time that it lost.
func (k *Passkeys) bound(record string) string { return k.m.DB.SessionEpoch() + " " + record }

func passkeyUser(u store.User) passkey.User {
	return passkey.User{ID: u.ID, Name: u.Email, DisplayName: cmp.Or(u.Name, u.Email)}
}

// PasskeySignal tells a browser which passkeys of a user the server accepts, and how the user is called
// (WebAuthn level 3 s5.1.10). Passkey providers then hide removed ones. It holds no secret.
type PasskeySignal struct {
	RPID        string   `json:"rpId"`
	UserID      string   `json:"userId"` // base64url, as the two below
	Credentials []string `json:"allAcceptedCredentialIds"`
	Name        string   `json:"name"`
	DisplayName string   `json:"displayName"`
}

// Signal returns the PasskeySignal of a user. ok is false if the server has no passkeys.
func (k *Passkeys) Signal(ctx context.Context, userID string) (signal PasskeySignal, ok bool, err error) {
	if k.rp == nil {
		return signal, false, nil
	}
	u, err := k.m.DB.UserByID(ctx, userID)
	if err != nil {
		return signal, false, err
	}
	have, err := k.credentials(ctx, userID)
	if err != nil {
		return signal, false, err
	}
	named := passkeyUser(u)
	signal = PasskeySignal{
		RPID:        k.rp.ID(),
		UserID:      base64.RawURLEncoding.EncodeToString([]byte(named.ID)),
		Credentials: make([]string, 0, len(have)),
		Name:        named.Name,
		DisplayName: named.DisplayName,
	}
	for _, c := range have {
		signal.Credentials = append(signal.Credentials, base64.RawURLEncoding.EncodeToString(c.ID))
	}
	return signal, true, nil
}

// BeginEnrol returns the options for a new passkey of the user of p.
func (k *Passkeys) BeginEnrol(ctx context.Context, p *durward.Principal) (json.RawMessage, error) {
	if err := k.on(); err != nil {
		return nil, err
	}
	u, err := k.m.DB.UserByID(ctx, p.Subject)
	if err != nil {
		return nil, err
	}
	have, err := k.credentials(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	return k.rp.EnrolOptions(passkeyUser(u), have, k.bound(p.SessionID), k.m.Now())
}

// Enrol verifies the response to BeginEnrol and adds the passkey with a name, which may be empty. It refuses
// with InvalidRequest if the response is not accepted, with Forbidden if the user has too many passkeys, and
// with TokenRevoked if the session of p has ended.
func (k *Passkeys) Enrol(
	ctx context.Context, p *durward.Principal, response []byte, name string, from request.Info,
) (store.Passkey, error) {
	if err := k.on(); err != nil {
		return store.Passkey{}, err
	}
	u, err := k.m.DB.UserByID(ctx, p.Subject)
	if err != nil {
		return store.Passkey{}, err
	}
	now := k.m.Now().Truncate(time.Microsecond)
	c, challenge, err := k.rp.Enrolled(passkeyUser(u), response, k.bound(p.SessionID), now)
	if err != nil {
		return store.Passkey{}, refuseEnrolment(err)
	}
	if name, err = cleanName(name); err != nil {
		return store.Passkey{}, err
	}
	made := store.Passkey{
		ID:         store.NewID(),
		UserID:     u.ID,
		Credential: c.ID,
		PublicKey:  c.PublicKey,
		Flags:      int(c.Flags),
		Count:      c.Count,
		AAGUID:     c.AAGUID,
		Transports: c.Transports,
		Name:       cmp.Or(name, c.Provider(), "Passkey"),
		CreatedAt:  now,
	}
	event := from.Event(store.EventPasskeyAdded, "ok", u.ID, p.SessionID, now)
	event.Detail = "passkey " + made.ID
	err = k.m.DB.AddPasskey(ctx, made, store.SpentChallenge(challenge), maxPasskeys, event)
	switch {
	case errors.Is(err, store.ErrTaken), errors.Is(err, store.ErrSpent):
		return store.Passkey{}, refuseEnrolment(fmt.Errorf("account: the credential or the challenge: %w", err))
	case errors.Is(err, store.ErrTooMany):
		return store.Passkey{}, &durward.Refusal{
			Code:   durward.Forbidden,
			Detail: fmt.Sprintf("There are %d passkeys already.", maxPasskeys),
			Hint:   "Remove one that is not used any more.",
			Err:    fmt.Errorf("account: %w", err),
		}
	case err != nil:
		return store.Passkey{}, RefuseChanged(err, durward.TokenRevoked)
	}
	return made, nil
}

// refuseEnrolment refuses the response to BeginEnrol.
func refuseEnrolment(err error) error {
	refused := mistake("credential", "The passkey was not accepted.",
		"Begin again at POST /api/auth/passkeys/begin, and send the response of the browser unchanged within 5 minutes.")
	refused.(*durward.Refusal).Err = err
	return refused
}

// RenamePasskey renames a passkey of the user of p. It returns store.ErrNotFound if there is no such one.
func (m *Manager) RenamePasskey(ctx context.Context, p *durward.Principal, id, name string, from request.Info) (store.Passkey, error) {
	name, err := cleanName(name)
	if err == nil && name == "" {
		err = mistake("name", "The passkey has no name.", "Name the device, so that you can tell your passkeys apart.")
	}
	if err != nil {
		return store.Passkey{}, err
	}
	event := from.Event(store.EventPasskeyRenamed, "ok", p.Subject, p.SessionID, m.Now())
	event.Detail = "passkey " + id
	renamed, err := m.DB.RenamePasskey(ctx, id, name, event)
	return renamed, RefuseChanged(err, durward.TokenRevoked)
}

// A Question is what the response of a passkey is for.
type Question struct {
	Purpose passkey.Purpose
	UserID  string   // the passkey has to be one of this user; empty for passkey.SignIn
	Bound   string   // the record that the challenge is for
	Before  []string // authentication methods that the user has proved already
}

// Ask returns the options for a response of a passkey: of any user for passkey.SignIn, else of the user
// of q. It refuses with NotFound if that user has none.
func (k *Passkeys) Ask(ctx context.Context, q Question) (json.RawMessage, error) {
	if err := k.on(); err != nil {
		return nil, err
	}
	if q.Purpose == passkey.SignIn {
		return k.rp.AskOptions(nil, q.Purpose, k.bound(q.Bound), k.m.Now())
	}
	list, err := k.credentials(ctx, q.UserID)
	if err == nil && len(list) == 0 {
		err = &durward.Refusal{
			Code:   durward.NotFound,
			Detail: "This account has no passkey.",
			Hint:   "Use another way to sign in.",
			Err:    fmt.Errorf("account: user %s has no passkey", q.UserID),
		}
	}
	if err != nil {
		return nil, err
	}
	return k.rp.AskOptions(list, q.Purpose, k.bound(q.Bound), k.m.Now())
}

// Use verifies a response to Ask and returns its Proof, after it called act, which spends the PasskeyUse in
// the transaction that acts on the Proof. Use refuses with InvalidRequest if the response is malformed, with
// AccountDisabled or EmailUnverified if it is right and the user may not sign in, and otherwise with
// InvalidCredentials, or with TooManyAttempts if one network sends too many. It returns other errors of act as
// they are.
//
// A response proves itself, so it is verified during each block of the account, and only refused ones are
// counted. As a second factor it ends the attempt that the password began, so the blocks apply to it.
func (k *Passkeys) Use(
	ctx context.Context, response []byte, q Question, from request.Info,
	act func(context.Context, store.PasskeyUse, Proof) error,
) (Proof, error) {
	if err := k.on(); err != nil {
		return Proof{}, err
	}
	r, err := passkey.Parse(response)
	if err != nil {
		refused := mistake("assertion", "This is not the response of a passkey.", "Send the response of the browser unchanged, in its JSON form.")
		refused.(*durward.Refusal).Err = err
		return Proof{}, refused
	}
	row, u, err := k.m.DB.PasskeyByCredential(ctx, r.CredentialID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Proof{}, k.refuse(ctx, store.User{}, errors.New("account: no user has this passkey"), from)
	case err != nil:
		return Proof{}, err
	case q.UserID != "" && u.ID != q.UserID:
		return Proof{}, k.refuse(ctx, u, fmt.Errorf("account: the passkey belongs to another user than %s", q.UserID), from)
	}
	var attempt *limits.Attempt
	if q.Purpose == passkey.Factor {
		if attempt, err = k.m.beginFactor(ctx, u, from); err != nil {
			return Proof{}, err
		}
		defer attempt.Cancel() // no effect after Succeed
	}
	now := k.m.Now()
	c, challenge, err := k.rp.Verify(r, credentialOf(row), u.ID, q.Purpose, k.bound(q.Bound), now)
	if err != nil {
		return Proof{}, k.refuse(ctx, u, err, from)
	}
	if err := k.m.mayNotSignIn(u); err != nil {
		return Proof{}, err
	}
	use := store.PasskeyUse{Passkey: row, Was: row.Count, Challenge: store.SpentChallenge(challenge)}
	use.Passkey.Flags, use.Passkey.Count, use.Passkey.UsedAt = int(c.Flags), c.Count, now
	methods := append(slices.Clone(q.Before), passkeyMethods...)
	slices.Sort(methods)
	proof := Proof{User: u, Methods: slices.Compact(methods), ACR: phishingResistant, At: now}
	err = act(ctx, use, proof)
	switch {
	case errors.Is(err, store.ErrSpent), errors.Is(err, store.ErrChanged): // another request was first
		return Proof{}, k.refuse(ctx, u, err, from)
	case err != nil:
		return Proof{}, err
	case attempt != nil:
		attempt.Succeed()
	}
	return proof, nil
}

// refuse refuses a response of a passkey with InvalidCredentials: the same text for each cause. The log
// has the cause. If one network sends too many, it refuses with TooManyAttempts.
func (k *Passkeys) refuse(ctx context.Context, u store.User, cause error, from request.Info) error {
	k.m.recordRefusedFactor(u, store.FactorPasskey, "passkey not accepted", from)
	if wait, ok := k.m.BadPasskeys.Network(ctx, from.Addr); !ok {
		return &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: wait, Err: cause}
	}
	return &durward.Refusal{
		Code:   durward.InvalidCredentials,
		Detail: "The passkey was not accepted.",
		Hint:   "Begin again, and send the response of the browser unchanged within 5 minutes. Each challenge works once.",
		Err:    cause,
	}
}
