// Package passkey verifies the responses of authenticators (WebAuthn level 3) and makes the challenges
// for them. It keeps nothing: the caller stores the passkeys and the spent challenges.
//
// Every passkey is discoverable and verifies its user, by a PIN or a biometric, each time. So one passkey
// proves two factors, and it signs in without the name of a user.
//
// A challenge is
//
//	time 8 bytes (microseconds) | random 16 | MAC 16
//
// The MAC (HMAC-SHA-256, cut) also covers the purpose of the challenge. So a challenge needs no row
// before it is used, and a flood of them costs no memory. It is valid for [ChallengeLife], for one purpose
// and one record: the session, the half-finished sign-in or the user that it was made for. The caller
// accepts it once.
//
// The attacker controls each byte of a response. An error of this package is for the log; no response may
// contain it.
package passkey

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"
)

// ChallengeLife is how long a challenge is valid.
const ChallengeLife = 5 * time.Minute

// Purposes of challenges.
type Purpose string

const (
	Enrol  Purpose = "enrol"   // bound to the session
	SignIn Purpose = "sign in" // bound to nothing: no user is known yet
	StepUp Purpose = "step up" // bound to the session
	Factor Purpose = "factor"  // bound to the half-finished sign-in
)

const (
	challengeSize = 8 + 16 + 16
	maxPublicKey  = 2 << 10  // bytes; RSA with 8192 bits has half of it
	maxCredential = 1023     // bytes of an id (WebAuthn level 3 s4)
	maxResponse   = 64 << 10 // bytes
)

// ErrIP means that the origin has no domain name, so that there can be no passkeys (WebAuthn level 3 s4,
// "RP ID").
var ErrIP = errors.New("passkey: the public URL has an IP address; passkeys need a domain name")

// RP is a relying party: the server that passkeys sign in to.
type RP struct {
	web *webauthn.WebAuthn
	key []byte // of the MACs
}

// New returns the relying party at origin, such as "https://auth.example.com". Its ID is the host, so a
// passkey works at this host alone. key makes the MACs of challenges; nodes share it. New returns ErrIP if
// the host is an IP address.
func New(origin string, key []byte) (*RP, error) {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || len(key) < sha256.Size {
		return nil, errors.New("passkey: an origin and a key of 32 bytes are required")
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return nil, ErrIP
	}
	required := true
	web, err := webauthn.New(&webauthn.Config{
		RPID:          u.Hostname(),
		RPDisplayName: u.Hostname(),
		RPOrigins:     []string{u.Scheme + "://" + u.Host},
		// An attestation names the model of the device. Nothing here depends on it, and browsers warn of it.
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			RequireResidentKey: &required,
			ResidentKey:        protocol.ResidentKeyRequirementRequired,
			UserVerification:   protocol.VerificationRequired,
		},
		// WebAuthn level 3 s7.1, s7.2: unsolicited outputs are ignored.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
		Timeouts: webauthn.TimeoutsConfig{ // for the browser; here the challenge has its own time
			Login:        webauthn.TimeoutConfig{Timeout: ChallengeLife, TimeoutUVD: ChallengeLife},
			Registration: webauthn.TimeoutConfig{Timeout: ChallengeLife, TimeoutUVD: ChallengeLife},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("passkey: %w", err)
	}
	return &RP{web: web, key: key}, nil
}

// User is the user of passkeys. The authenticator shows both names and returns the ID with each response.
type User struct{ ID, Name, DisplayName string }

// Credential is a passkey as the server knows it.
type Credential struct {
	ID         []byte // made by the authenticator
	PublicKey  []byte // COSE key (RFC 9052 s7)
	Flags      byte   // of the last response (WebAuthn level 3 s6.1)
	Count      uint32 // signature counter of the last response; 0 if the authenticator has none
	AAGUID     string // of the model; all zeros if unknown
	Transports []string
}

// Synced reports whether the passkey is copied to other devices of its user.
func (c Credential) Synced() bool { return protocol.AuthenticatorFlags(c.Flags).HasBackupState() }

// holder is a user with passkeys, as the library takes them.
type holder struct {
	User
	credentials []Credential
}

func (h holder) WebAuthnID() []byte          { return []byte(h.ID) }
func (h holder) WebAuthnName() string        { return h.Name }
func (h holder) WebAuthnDisplayName() string { return h.DisplayName }

func (h holder) WebAuthnCredentials() []webauthn.Credential {
	list := make([]webauthn.Credential, 0, len(h.credentials))
	for _, c := range h.credentials {
		transports := make([]protocol.AuthenticatorTransport, 0, len(c.Transports))
		for _, t := range c.Transports {
			transports = append(transports, protocol.AuthenticatorTransport(t))
		}
		list = append(list, webauthn.Credential{
			ID:            c.ID,
			PublicKey:     c.PublicKey,
			Transport:     transports,
			Flags:         webauthn.NewCredentialFlags(protocol.AuthenticatorFlags(c.Flags)),
			Authenticator: webauthn.Authenticator{SignCount: c.Count},
		})
	}
	return list
}

// ID returns the ID of the relying party.
func (rp *RP) ID() string { return rp.web.Config.RPID }

// EnrolOptions returns the options for a new passkey of u, in the JSON form of WebAuthn level 3 s5.1.8. The
// browser refuses an authenticator that holds one of have.
func (rp *RP) EnrolOptions(u User, have []Credential, bound string, now time.Time) (json.RawMessage, error) {
	set := func(o *protocol.PublicKeyCredentialCreationOptions) error {
		o.Challenge = rp.challenge(Enrol, bound, now)
		return nil
	}
	exclude := webauthn.Credentials(holder{u, have}.WebAuthnCredentials()).CredentialDescriptors()
	options, _, err := rp.web.BeginRegistration(holder{u, nil}, set, webauthn.WithExclusions(exclude))
	if err != nil {
		return nil, fmt.Errorf("passkey: %w", err)
	}
	return json.Marshal(options.Response)
}

// AskOptions returns the options for a response of a passkey in the JSON form of WebAuthn level 3 s5.1.9. Any
// passkey may answer if allow is empty.
func (rp *RP) AskOptions(allow []Credential, purpose Purpose, bound string, now time.Time) (json.RawMessage, error) {
	options := []webauthn.LoginOption{webauthn.WithChallenge(rp.challenge(purpose, bound, now))}
	if len(allow) > 0 {
		list := webauthn.Credentials(holder{User{}, allow}.WebAuthnCredentials()).CredentialDescriptors()
		options = append(options, webauthn.WithAllowedCredentials(list))
	}
	asked, _, err := rp.web.BeginDiscoverableLogin(options...)
	if err != nil {
		return nil, fmt.Errorf("passkey: %w", err)
	}
	return json.Marshal(asked.Response)
}

// challenge returns a new challenge.
func (rp *RP) challenge(purpose Purpose, bound string, now time.Time) []byte {
	c := binary.BigEndian.AppendUint64(make([]byte, 0, challengeSize), uint64(now.UnixMicro()))
	c = c[:24]
	_, _ = rand.Read(c[8:]) // crypto/rand.Read never returns an error
	return append(c, rp.mac(c, purpose, bound)...)
}

func (rp *RP) mac(c []byte, purpose Purpose, bound string) []byte {
	h := hmac.New(sha256.New, rp.key)
	h.Write(c[:24])
	fmt.Fprintf(h, "%s\x00%s\x00%s", rp.web.Config.RPID, purpose, bound)
	return h.Sum(nil)[:16]
}

// Challenge is a challenge that a response answers. The caller refuses a Hash that was spent before.
type Challenge struct {
	Hash []byte    // SHA-256
	Ends time.Time // afterwards it is refused without the Hash
}

// check verifies that rp made the challenge in client data, for this purpose and record, at most
// ChallengeLife ago.
func (rp *RP) check(text string, purpose Purpose, bound string, now time.Time) (Challenge, error) {
	c, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(c) != challengeSize || !hmac.Equal(c[24:], rp.mac(c, purpose, bound)) {
		return Challenge{}, fmt.Errorf("passkey: the challenge was not made here for this use (%s)", purpose)
	}
	made := time.UnixMicro(int64(binary.BigEndian.Uint64(c)))
	if age := now.Sub(made); age > ChallengeLife || age < -ChallengeLife {
		return Challenge{}, fmt.Errorf("passkey: the challenge is %s old, the limit is %s", age, ChallengeLife)
	}
	hash := sha256.Sum256(c)
	return Challenge{Hash: hash[:], Ends: made.Add(ChallengeLife)}, nil
}

// ErrMalformed means that a response is not the JSON form of a WebAuthn response.
var ErrMalformed = errors.New("passkey: not a WebAuthn response")

// Enrolled verifies the response to EnrolOptions (WebAuthn level 3 s7.1) and returns the new passkey. It
// does not know whether another user has a passkey with the same ID.
func (rp *RP) Enrolled(u User, response []byte, bound string, now time.Time) (Credential, Challenge, error) {
	if len(response) > maxResponse {
		return Credential{}, Challenge{}, ErrMalformed
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(response)
	if err != nil {
		return Credential{}, Challenge{}, fmt.Errorf("%w: %w", ErrMalformed, detailed(err))
	}
	challenge, err := rp.check(parsed.Response.CollectedClientData.Challenge, Enrol, bound, now)
	if err != nil {
		return Credential{}, Challenge{}, err
	}
	c, err := rp.created(u, parsed)
	return c, challenge, err
}

// created verifies all of a response to EnrolOptions but its challenge.
func (rp *RP) created(u User, parsed *protocol.ParsedCredentialCreationData) (Credential, error) {
	state := rp.state(parsed.Response.CollectedClientData.Challenge, u.ID)
	c, err := rp.web.CreateCredential(holder{u, nil}, state, parsed)
	if err != nil {
		return Credential{}, fmt.Errorf("passkey: %w", detailed(err))
	}
	if len(c.PublicKey) > maxPublicKey || len(c.ID) > maxCredential {
		return Credential{}, fmt.Errorf("passkey: key of %d bytes, id of %d", len(c.PublicKey), len(c.ID))
	}
	aaguid, err := uuid.FromBytes(c.Authenticator.AAGUID)
	if err != nil {
		return Credential{}, fmt.Errorf("passkey: aaguid: %w", err)
	}
	made := Credential{
		ID:        c.ID,
		PublicKey: c.PublicKey,
		Flags:     byte(c.Flags.ProtocolValue()),
		Count:     c.Authenticator.SignCount,
		AAGUID:    aaguid.String(),
	}
	for _, t := range c.Transport {
		if known[t] { // others are of no use to a browser
			made.Transports = append(made.Transports, string(t))
		}
	}
	return made, nil
}

var known = map[protocol.AuthenticatorTransport]bool{
	protocol.USB: true, protocol.NFC: true, protocol.BLE: true, protocol.SmartCard: true, protocol.Hybrid: true, protocol.Internal: true,
}

// state returns the state of a ceremony as the library takes it.
func (rp *RP) state(challenge, userID string) webauthn.SessionData {
	return webauthn.SessionData{
		Challenge:        challenge,
		RelyingPartyID:   rp.web.Config.RPID,
		UserID:           []byte(userID),
		UserVerification: rp.web.Config.AuthenticatorSelection.UserVerification,
		CredParams:       webauthn.CredentialParametersDefault(),
	}
}

// Response is a response to AskOptions that was parsed and not yet verified.
type Response struct {
	CredentialID []byte
	parsed       *protocol.ParsedCredentialAssertionData
}

// Parse parses a response to AskOptions. Its error wraps ErrMalformed.
func Parse(response []byte) (Response, error) {
	if len(response) > maxResponse {
		return Response{}, ErrMalformed
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil {
		return Response{}, fmt.Errorf("%w: %w", ErrMalformed, detailed(err))
	}
	return Response{CredentialID: parsed.RawID, parsed: parsed}, nil
}

// ErrCopied means that the signature counter of a passkey did not grow: two devices use the same key, and
// one of them may belong to a thief (WebAuthn level 3 s6.1.1).
var ErrCopied = errors.New("passkey: the signature counter did not grow: the key may have been copied")

// Verify verifies a response of the passkey c of the user with userID (WebAuthn level 3 s7.2) and returns
// the passkey after it. It returns ErrCopied if the signature is right and its counter is not.
func (rp *RP) Verify(r Response, c Credential, userID string, purpose Purpose, bound string, now time.Time) (Credential, Challenge, error) {
	challenge, err := rp.check(r.parsed.Response.CollectedClientData.Challenge, purpose, bound, now)
	if err != nil {
		return Credential{}, Challenge{}, err
	}
	// WebAuthn level 3 s7.2, step 6: without a user name, the response names the user. ValidateLogin compares.
	if purpose == SignIn && len(r.parsed.Response.UserHandle) == 0 {
		return Credential{}, Challenge{}, errors.New("passkey: the response has no user handle")
	}
	c, err = rp.verified(r, c, userID)
	return c, challenge, err
}

// verified verifies all of a response to AskOptions but its challenge and that it names a user.
func (rp *RP) verified(r Response, c Credential, userID string) (Credential, error) {
	h := holder{User{ID: userID}, []Credential{c}}
	used, err := rp.web.ValidateLogin(h, rp.state(r.parsed.Response.CollectedClientData.Challenge, userID), r.parsed)
	if err != nil {
		return Credential{}, fmt.Errorf("passkey: %w", detailed(err))
	}
	if used.Authenticator.CloneWarning {
		return Credential{}, ErrCopied
	}
	c.Flags, c.Count = byte(used.Flags.ProtocolValue()), used.Authenticator.SignCount
	return c, nil
}

// detailed adds the reason to an error of the library. Its text leaves it out.
func detailed(err error) error {
	if e, ok := errors.AsType[*protocol.Error](err); ok && e.DevInfo != "" {
		return fmt.Errorf("%w: %s", err, e.DevInfo)
	}
	return err
}
