package jwt

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
)

// BenchmarkVerify compares verification, first and cached, with the bare signature.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range []string{"ES256", "EdDSA", "Ed25519", "RS256", "PS256", "HS256"} {
		key := generate(b, alg)
		token := sign(b, key, example())
		dot := strings.LastIndexByte(token, '.')
		input, signature := []byte(token[:dot]), make([]byte, 0, 512)
		signature, err := base64.RawURLEncoding.AppendDecode(signature, []byte(token[dot+1:]))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(alg+"/raw", func(b *testing.B) {
			b.ReportAllocs()
			der, _ := derSignature(signature, 32)
			for b.Loop() {
				sum := sha256.Sum256(input)
				ok := false
				switch p := key.key.m.public.(type) {
				case *ecdsa.PublicKey:
					ok = ecdsa.VerifyASN1(p, sum[:], der)
				case ed25519.PublicKey:
					ok = ed25519.Verify(p, input, signature)
				case *rsa.PublicKey:
					if alg == "RS256" {
						ok = rsa.VerifyPKCS1v15(p, crypto.SHA256, sum[:], signature) == nil
					} else {
						ok = rsa.VerifyPSS(p, crypto.SHA256, sum[:], signature, pss(crypto.SHA256)) == nil
					}
				default:
					ok = key.key.verify(alg, input, signature)
				}
				if !ok {
					b.Fatal("bad signature")
				}
			}
		})
		for name, size := range map[string]int{"uncached": -1, "cached": 0} {
			v := verifier(b, Config{CacheSize: size, Revoked: func(*durward.Principal, string) error { return nil }}, key.Public())
			b.Run(alg+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := v.Verify(context.Background(), token); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkSHA256OfToken(b *testing.B) {
	token := sign(b, generate(b, "ES256"), example())
	b.ReportAllocs()
	b.ReportMetric(float64(len(token)), "octets")
	for b.Loop() {
		digest(token)
	}
}

// BenchmarkVerifyCachedParallel verifies one token and many in parallel.
func BenchmarkVerifyCachedParallel(b *testing.B) {
	key := generate(b, "EdDSA")
	v := verifier(b, Config{}, key.Public())
	token := sign(b, key, example())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := v.Verify(context.Background(), token); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkSign(b *testing.B) {
	for _, alg := range []string{"ES256", "EdDSA", "HS256"} {
		key := generate(b, alg)
		claims := example()
		var signer crypto.Signer
		if key.signer != nil {
			signer = *key.signer
		}
		input := []byte(strings.Repeat("x", 600))
		b.Run(alg+"/raw", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				switch k := signer.(type) {
				case *ecdsa.PrivateKey:
					sum := sha256.Sum256(input)
					if _, err := ecdsa.SignASN1(rand.Reader, k, sum[:]); err != nil {
						b.Fatal(err)
					}
				case ed25519.PrivateKey:
					ed25519.Sign(k, input)
				default:
					key.key.m.mac(nil, input)
				}
			}
		})
		b.Run(alg+"/Sign", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := key.Sign(claims); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRefuse verifies tokens with a wrong signature.
func BenchmarkRefuse(b *testing.B) {
	key := generate(b, "ES256")
	v := verifier(b, Config{}, key.Public())
	token := sign(b, key, example())
	for name, text := range map[string]string{
		"opaque":        "durward_0123456789abcdef0123456789abcdef",
		"dots":          strings.Repeat(".", maxToken),
		"otherIssuer":   sign(b, key, func() Claims { c := example(); c.Issuer = "https://other.example"; return c }()),
		"cutSignature":  token[:len(token)-1],
		"wrongSegments": token + "." + token,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(context.Background(), text); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}
