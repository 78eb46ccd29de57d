package jwt

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"github.com/durward-auth/durward"
)

// Prove returns a DPoP proof (RFC 9449 s4.2) for one request. Use it as the Prove field of
// client.TokensConfig.
func (k *PrivateKey) Prove(r durward.ProofRequest) (string, error) {
	if k.signer == nil {
		return "", errors.New("jwt: a proof wants a key pair, not a shared secret (RFC 9449 s4.2)")
	}
	jwk, err := (&jose.JSONWebKey{Key: k.key.m.public}).MarshalJSON()
	if err != nil {
		return "", fmt.Errorf("jwt: proof: %w", err)
	}
	if r.Issued.IsZero() {
		r.Issued = time.Now()
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // crypto/rand.Read never returns an error
	claims := struct {
		ID     string `json:"jti"`
		Method string `json:"htm"`
		URL    string `json:"htu"`
		Issued int64  `json:"iat"`
		Token  string `json:"ath,omitempty"`
		Nonce  string `json:"nonce,omitempty"`
	}{ID: base64.RawURLEncoding.EncodeToString(id[:]), Method: r.Method, URL: r.URL, Issued: r.Issued.Unix(), Nonce: r.Nonce}
	if r.Token != "" {
		sum := sha256.Sum256([]byte(r.Token))
		claims.Token = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("jwt: proof: %w", err)
	}
	// typ and alg need no escaping.
	header := append(append([]byte(`{"typ":"dpop+jwt","alg":"`+k.key.alg+`","jwk":`), jwk...), '}')
	text := base64.RawURLEncoding.AppendEncode(nil, header)
	text = base64.RawURLEncoding.AppendEncode(append(text, '.'), payload)
	signature, err := k.sign(text)
	if err != nil {
		return "", fmt.Errorf("jwt: proof: sign with %s: %w", k, err)
	}
	return string(base64.RawURLEncoding.AppendEncode(append(text, '.'), signature)), nil
}
