package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/otp"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// ACRs of sign-ins, the claim acr.
const (
	oneFactor         = "urn:durward:acr:1fa" // a password alone
	twoFactor         = "urn:durward:acr:2fa" // a password and a code
	phishingResistant = "phr"                 // a passkey (OpenID Connect EAP ACR Values s2)
)

// Levels returns the values of acr, weakest first.
func Levels() []string { return []string{oneFactor, twoFactor, phishingResistant} }

// Authentication methods, the claim amr (RFC 8176 s2). A recovery code has no value of its own.
const (
	amrPassword = "pwd"
	amrOTP      = "otp"
	amrMultiple = "mfa"
)

// EnrolTime is the time in which a new seed has to be confirmed.
const EnrolTime = 10 * time.Minute

const (
	recoveryCodes = 10          // of a user
	sealTOTP      = "totp seed" // label of sealed seeds
)

// NeedsSecondFactor returns p for users who signed in with a second factor.
func NeedsSecondFactor(p durward.Policy) durward.Policy {
	p.ACR = []string{twoFactor, phishingResistant}
	return p
}

// Reaches reports whether a factor of a user, or the password if it is no factor, reaches one of acrs in a
// session. No acrs accept all.
func Reaches(factor string, acrs []string) bool {
	if len(acrs) == 0 {
		return true
	}
	reached := []string{oneFactor}
	switch factor {
	case store.FactorPasskey:
		reached = append(reached, twoFactor, phishingResistant)
	case store.FactorTOTP, store.FactorRecoveryCode:
		reached = append(reached, twoFactor)
	}
	return slices.ContainsFunc(acrs, func(acr string) bool { return slices.Contains(reached, acr) })
}

// ReachedBy reports whether a sign-in with an ACR is at least as strong as one of acrs.
func ReachedBy(acr string, acrs []string) bool {
	strong := map[string]string{phishingResistant: store.FactorPasskey, twoFactor: store.FactorTOTP, oneFactor: "password"}
	factor, known := strong[acr]
	return slices.Contains(acrs, acr) || known && Reaches(factor, acrs)
}

// CheckFactor refuses a user who owes a second factor with EnrolmentRequired, unless ctx is that of a request
// that sets one up.
func CheckFactor(ctx context.Context, u store.User) error {
	if !u.OwesFactor() || request.IsForEnrolment(ctx) {
		return nil
	}
	return RefuseOwing(u)
}

// RefuseOwing returns the refusal of a user who owes a second factor.
func RefuseOwing(u store.User) *durward.Refusal {
	return &durward.Refusal{
		Code:   durward.EnrolmentRequired,
		Detail: "A second factor is required of this account, and it has none.",
		Hint:   "Set one up at POST /api/auth/mfa/totp, or on the page for it in a browser.",
		Err:    fmt.Errorf("account: user %s: %w", u.ID, ErrOwesFactor),
	}
}

// ErrOwesFactor is the cause of refusals of a user of whom a second factor is required and who has none.
var ErrOwesFactor = errors.New("a second factor is required of the user, who has none")

// StrongestACR returns the strongest ACR that the user of a principal can reach.
func (m *Manager) StrongestACR(ctx context.Context, p *durward.Principal) (string, error) {
	f, err := m.DB.Factors(ctx, p.Subject)
	switch {
	case err != nil:
		return "", err
	case f.Passkeys > 0:
		return phishingResistant, nil
	case f.TOTP.ID != "":
		return twoFactor, nil
	}
	return oneFactor, nil
}

// HasSecondFactor reports whether a user signs in with a second factor.
func (m *Manager) HasSecondFactor(ctx context.Context, userID string) (bool, error) {
	u, err := m.DB.UserByID(ctx, userID)
	return !u.SecondFactorAt.IsZero(), err
}

// Factors returns the second factors of a user.
func (m *Manager) Factors(ctx context.Context, userID string) (api.Factors, error) {
	f, err := m.DB.Factors(ctx, userID)
	if err != nil {
		return api.Factors{}, err
	}
	return api.Factors{
		Methods:       f.Usable(),
		Passkeys:      f.Passkeys,
		TOTPSince:     f.TOTP.ConfirmedAt,
		RecoveryCodes: f.RecoveryCodes,
		Locked:        f.Locked,
	}, nil
}

// FactorRequired is the refusal of a correct password of a user with a second factor. It wraps MFARequired.
type FactorRequired struct {
	Proof Proof // of the password
}

func (e *FactorRequired) Error() string {
	return fmt.Sprintf("account: the password of %s is correct, and the account has a second factor", e.Proof.User.ID)
}

// Unwrap returns MFARequired.
func (e *FactorRequired) Unwrap() error { return durward.MFARequired }

// A Code is a code of a second factor that a client presents.
type Code struct {
	Factor string // store.FactorTOTP or store.FactorRecoveryCode; the client chooses it
	Text   string
}

// beginFactor begins a try of a second factor of u: the client holds a session or a half-finished sign-in, and
// each factor has limits of its own. It refuses with TooManyAttempts.
func (m *Manager) beginFactor(ctx context.Context, u store.User, from request.Info) (*limits.Attempt, error) {
	device, err := m.knownDevice(ctx, u.ID, from)
	if err != nil {
		return nil, err
	}
	return m.beginAttempt(ctx, u.EmailKey, u, limits.Try{Device: device, SignedIn: true}, from)
}

// UseCode verifies a code of u, who proved the methods before, and returns the proof by both. It
// shares the failure counters of Authenticate and has limits of its own. It refuses with InvalidCredentials
// or TooManyAttempts, and with InvalidRequest if it does not know the factor.
//
// The function try verifies the code, counts and spends it in one transaction. A try that the counters
// refuse does not call it.
func (m *Manager) UseCode(
	ctx context.Context, u store.User, c Code, before []string, from request.Info,
	try func(context.Context, store.FactorTry, Proof) (store.FactorVerdict, error),
) (Proof, error) {
	proof, err := m.codeProof(u, c.Factor, before)
	if err != nil {
		return Proof{}, err
	}
	attempt, err := m.beginFactor(ctx, u, from)
	if err != nil {
		return Proof{}, err
	}
	defer attempt.Cancel() // no effect after Fail or Succeed
	t := store.FactorTry{
		UserID: u.ID,
		Factor: c.Factor,
		At:     proof.At,
		Locked: from.Event(store.EventFactorLocked, c.Factor, u.ID, "", proof.At),
		Used:   from.Event(store.EventRecoveryCodeUsed, "ok", u.ID, "", proof.At),
		Verify: m.verifier(c.Text, proof.At),
	}
	if c.Factor == store.FactorRecoveryCode {
		t.Hash, _ = otp.RecoveryHash(u.ID, c.Text)
	}
	verdict, err := try(ctx, t, proof)
	switch {
	case err != nil:
		return Proof{}, err
	case verdict.Right:
		attempt.Succeed()
		return proof, nil
	case !verdict.Tried:
		m.recordRefusedFactor(u, c.Factor, "too many wrong codes", from)
		return Proof{}, refuseUntried(c.Factor, verdict)
	}
	attempt.Fail(c.Factor + " " + c.Text)
	m.recordRefusedFactor(u, c.Factor, "wrong code", from)
	refusal := &durward.Refusal{
		Code:   durward.InvalidCredentials,
		Detail: "The code is wrong, or it was used already.",
		Hint:   "Wait for the next code of the authenticator app, and check the clock of its device.",
		Err:    fmt.Errorf("account: wrong code of the factor %s", c.Factor),
	}
	if verdict.Void {
		refusal.Detail += " There were too many wrong codes, so this sign-in has ended."
		refusal.Hint = "Start again at POST /api/auth/login."
	}
	return Proof{}, refusal
}

// refuseUntried refuses a code that was not verified because of a limit of its factor.
func refuseUntried(factor string, v store.FactorVerdict) error {
	if v.Wait > 0 {
		return &durward.Refusal{
			Code:       durward.TooManyAttempts,
			RetryAfter: v.Wait,
			Err:        fmt.Errorf("account: too many wrong codes of the factor %s in an hour", factor),
		}
	}
	return &durward.Refusal{
		Code:   durward.InvalidCredentials,
		Detail: "This second factor is locked after too many wrong codes.",
		Hint:   "Use another second factor, or ask an administrator to reset them.",
		Err:    fmt.Errorf("account: the factor %s is locked", factor),
	}
}

// codeProof returns the proof by a code of a factor and the methods before.
func (m *Manager) codeProof(u store.User, factor string, before []string) (Proof, error) {
	if !u.LockedAt.IsZero() {
		return Proof{}, refuseLocked(u)
	}
	methods := slices.Clone(before)
	switch factor {
	case store.FactorTOTP:
		methods = append(methods, amrOTP)
	case store.FactorRecoveryCode:
	default:
		return Proof{}, mistake("method", "This second factor is unknown.", "Send one of those in the member methods of the sign-in.")
	}
	p := Proof{User: u, ACR: oneFactor, At: m.Now()}
	if slices.Contains(methods, amrPassword) || slices.Contains(methods, amrMultiple) {
		p.ACR = twoFactor
		methods = append(methods, amrMultiple)
	}
	slices.Sort(methods)
	p.Methods = slices.Compact(methods)
	return p, nil
}

// verifier returns the function that verifies a code against a seed.
func (m *Manager) verifier(code string, now time.Time) func(store.TOTP) (int64, bool, error) {
	return func(s store.TOTP) (int64, bool, error) {
		seed, err := m.Master.Unseal(sealTOTP, s.ID, s.Sealed)
		if err != nil {
			return 0, false, fmt.Errorf("account: seed of the authenticator app of %s: %w", s.UserID, err)
		}
		step, ok := otp.Verify(seed, code, now, s.LastStep)
		return step, ok, nil
	}
}

// Enrolment is a new seed for an authenticator app.
type Enrolment struct {
	Seed seal.Secret // in base32, for apps without a camera
	URI  seal.Secret // of the seed; the codes below contain it
	SVG  string      // QR code as an SVG document
	PNG  []byte      // QR code as an image
}

// StartTOTP makes a seed for the authenticator app of the user of p. It counts once ConfirmTOTP got a code
// of it; until then an earlier app stays. It refuses with TokenRevoked if the session of p has ended.
func (m *Manager) StartTOTP(ctx context.Context, p *durward.Principal) (Enrolment, error) {
	u, err := m.DB.UserByID(ctx, p.Subject)
	if err != nil {
		return Enrolment{}, err
	}
	seed := otp.NewSeed()
	s := store.TOTP{ID: store.NewID(), UserID: u.ID, CreatedAt: m.Now()}
	if s.Sealed, err = m.Master.Seal(sealTOTP, s.ID, seed); err != nil {
		return Enrolment{}, err
	}
	uri := otp.URI(seed, m.Name, u.Email)
	e := Enrolment{Seed: seal.Secret(otp.SeedText(seed)), URI: seal.Secret(uri)}
	if e.SVG, e.PNG, err = otp.QR(uri); err != nil {
		return Enrolment{}, err
	}
	if err := m.DB.StartTOTP(ctx, s, p.SessionID); err != nil {
		return Enrolment{}, RefuseChanged(err, durward.TokenRevoked)
	}
	return e, nil
}

// ConfirmTOTP makes the seed of StartTOTP the second factor of the user of p, if code is one of its codes,
// and returns the proof by password and code. From then on each sign-in of the user needs the factor. It
// returns store.ErrNotFound if there is no seed of the last 10 minutes. It refuses with InvalidRequest if
// the code is wrong, and with TokenRevoked as StartTOTP does.
func (m *Manager) ConfirmTOTP(ctx context.Context, p *durward.Principal, code string, from request.Info) (Proof, error) {
	now := m.Now()
	event := from.Event(store.EventFactorAdded, "ok", p.Subject, p.SessionID, now)
	event.Detail = store.FactorTOTP
	right, u, err := m.DB.ConfirmTOTP(ctx, p.Subject, now.Add(-EnrolTime), m.verifier(code, now), event)
	switch {
	case err != nil:
		return Proof{}, RefuseChanged(err, durward.TokenRevoked)
	case !right:
		return Proof{}, mistake("code", "The code does not belong to the new seed.",
			"Check the clock of the device, and send the code that the app shows now.")
	}
	return m.codeProof(u, store.FactorTOTP, p.AMR)
}

// ReplaceRecoveryCodes gives the user of p other recovery codes and returns them. The database holds their
// hashes only. It returns store.ErrNotFound if the user has no second factor.
func (m *Manager) ReplaceRecoveryCodes(ctx context.Context, p *durward.Principal, from request.Info) ([]seal.Secret, error) {
	codes, hashes := make([]seal.Secret, recoveryCodes), make([][]byte, recoveryCodes)
	for i := range codes {
		code := otp.NewRecoveryCode()
		hash, ok := otp.RecoveryHash(p.Subject, code)
		if !ok {
			return nil, errors.New("account: a new recovery code is malformed")
		}
		codes[i], hashes[i] = seal.Secret(code), hash
	}
	event := from.Event(store.EventRecoveryCodesMade, "ok", p.Subject, p.SessionID, m.Now())
	if err := m.DB.ReplaceRecoveryCodes(ctx, p.Subject, hashes, event); err != nil {
		return nil, RefuseChanged(err, durward.TokenRevoked)
	}
	return codes, nil
}

// maxShownSeeds is the number of problems that CheckSeeds describes.
const maxShownSeeds = 20

// CheckSeeds returns the problems with the seeds of authenticator apps: those that master does not open.
func CheckSeeds(ctx context.Context, db *store.DB, master *seal.Master) (problems []string, err error) {
	const page = 1000
	bad, after := 0, ""
	for {
		seeds, err := db.Seeds(ctx, after, page)
		if err != nil {
			return nil, err
		}
		for _, s := range seeds {
			after = s.ID
			if _, err := master.Unseal(sealTOTP, s.ID, s.Sealed); err == nil {
				continue
			}
			if bad++; bad <= maxShownSeeds {
				problems = append(problems, fmt.Sprintf("the master key does not open the seed of the authenticator app of user %s", s.UserID))
			}
		}
		if len(seeds) < page {
			break
		}
	}
	if bad > maxShownSeeds {
		problems = append(problems, fmt.Sprintf("the master key does not open %d seeds of authenticator apps in all", bad))
	}
	return problems, nil
}

// Administrative reports whether scopes contain one that only administrators can give.
func Administrative(scopes []string) bool {
	ordinary := ScopesOf(store.User{})
	return slices.ContainsFunc(scopes, func(scope string) bool { return !slices.Contains(ordinary, strings.TrimSpace(scope)) })
}
