package jwt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/durward-auth/durward"
)

// VerifyEnded verifies a token as [Verifier.Verify] does, but accepts expired and revoked tokens.
// Use it only for sign-out, to learn the session of the token.
func (v *Verifier) VerifyEnded(ctx context.Context, token string) (*durward.Principal, error) {
	if err := tooLarge(token); err != nil {
		return nil, err
	}
	e, err := v.judge(ctx, token, v.c.Now())
	if err != nil {
		sum := sha256.Sum256([]byte(token))
		return nil, fmt.Errorf("jwt: token %s: %w", hex.EncodeToString(sum[:4]), err)
	}
	return e.copy(), nil
}
