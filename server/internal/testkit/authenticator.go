package testkit

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"
)

// Flags of authenticator data (WebAuthn level 3 s6.1).
const (
	UserPresent  = 1 << 0
	UserVerified = 1 << 2
	attested     = 1 << 6
)

// Authenticator is a passkey in software, for tests that have no browser. Its fields may be changed to make
// responses that a server has to refuse.
type Authenticator struct {
	RPID, Origin string
	CrossOrigin  bool
	Flags        byte
	Count        uint32 // in the next response; it grows by one unless it is 0
	ID           []byte // of the credential
	UserHandle   []byte // that the options for enrolment named
	Key          *ecdsa.PrivateKey
}

// NewAuthenticator returns an authenticator without a passkey for the server at https://rpID.
func NewAuthenticator(t testing.TB, rpID string) *Authenticator {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // crypto/rand.Read never returns an error
	return &Authenticator{RPID: rpID, Origin: "https://" + rpID, Flags: UserPresent | UserVerified, Count: 1, ID: id, Key: key}
}

// Create answers options of enrolment with a RegistrationResponseJSON.
func (a *Authenticator) Create(t testing.TB, options []byte) []byte {
	t.Helper()
	var o struct {
		Challenge string
		User      struct{ ID string }
	}
	decode(t, options, &o)
	var err error
	if a.UserHandle, err = base64.RawURLEncoding.DecodeString(o.User.ID); err != nil {
		t.Fatal(err)
	}
	public, err := a.Key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	// COSE key (RFC 9053 s7.1.1): EC2, ES256, P-256, x, y.
	cose := append([]byte{0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32}, public[1:33]...)
	cose = append(append(cose, 0x22, 0x58, 32), public[33:]...)
	data := a.data(a.Flags | attested)
	data = append(data, make([]byte, 16)...) // AAGUID
	data = binary.BigEndian.AppendUint16(data, uint16(len(a.ID)))
	data = append(append(data, a.ID...), cose...)
	var object bytes.Buffer // CBOR: {"fmt": "none", "attStmt": {}, "authData": data}
	object.WriteString("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59")
	object.Write(binary.BigEndian.AppendUint16(nil, uint16(len(data))))
	object.Write(data)
	return a.response(t, map[string]any{
		"clientDataJSON":    a.clientData(t, "webauthn.create", o.Challenge),
		"attestationObject": text(object.Bytes()),
		"transports":        []string{"internal", "of the future"},
		"of the future":     true,
	})
}

// Get answers options of a sign-in with an AuthenticationResponseJSON.
func (a *Authenticator) Get(t testing.TB, options []byte) []byte {
	t.Helper()
	var o struct{ Challenge string }
	decode(t, options, &o)
	client, data := a.clientData(t, "webauthn.get", o.Challenge), a.data(a.Flags)
	raw, err := base64.RawURLEncoding.DecodeString(client)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(raw)
	digest := sha256.Sum256(append(bytes.Clone(data), hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, a.Key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	response := map[string]any{
		"clientDataJSON": client, "authenticatorData": text(data), "signature": text(signature), "of the future": true,
	}
	if a.UserHandle != nil {
		response["userHandle"] = text(a.UserHandle)
	}
	return a.response(t, response)
}

func (a *Authenticator) data(flags byte) []byte {
	hash := sha256.Sum256([]byte(a.RPID))
	data := binary.BigEndian.AppendUint32(append(hash[:], flags), a.Count)
	if a.Count > 0 {
		a.Count++
	}
	return data
}

func (a *Authenticator) clientData(t testing.TB, kind, challenge string) string {
	return text(encode(t, map[string]any{
		"type": kind, "challenge": challenge, "origin": a.Origin, "crossOrigin": a.CrossOrigin, "of the future": true,
	}))
}

func (a *Authenticator) response(t testing.TB, response map[string]any) []byte {
	return encode(t, map[string]any{
		"id": text(a.ID), "rawId": text(a.ID), "type": "public-key", "response": response, "of the future": true,
		"clientExtensionResults": map[string]any{"credProps": map[string]any{"rk": true}, "of the future": true},
	})
}

func text(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode(t testing.TB, data []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
}
