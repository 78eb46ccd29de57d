// Zitadel runs an issuer made with zitadel/oidc, with its store in memory. Standard input: {address,
// client, secret, audience}. POST /rotate makes a new signing key; POST /withdraw withdraws all others.
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

type config struct{ Address, Client, Secret, Audience string }

// client is the only client. Its tokens are JWTs.
type client struct {
	op.Client
	id string
}

func (c client) GetID() string                       { return c.id }
func (c client) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

// key is a signing key, or its public part.
type key struct {
	id  string
	key any
}

func (k key) ID() string                                  { return k.id }
func (k key) Key() any                                    { return k.key }
func (k key) Use() string                                 { return "sig" }
func (k key) Algorithm() jose.SignatureAlgorithm          { return jose.RS256 }
func (k key) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }

// store is the store of the library's example with keys that rotate.
type store struct {
	*storage.Storage
	c config

	mu   sync.Mutex
	keys []key // newest last
}

func (s *store) rotate() {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, key{id: uuid.NewString(), key: private})
}

func (s *store) withdraw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = s.keys[len(s.keys)-1:]
}

func (s *store) SigningKey(context.Context) (op.SigningKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[len(s.keys)-1], nil
}

func (s *store) KeySet(context.Context) (set []op.Key, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range slices.Backward(s.keys) {
		set = append(set, key{id: k.id, key: &k.key.(*rsa.PrivateKey).PublicKey})
	}
	return set, nil
}

func (s *store) ClientCredentials(ctx context.Context, id, secret string) (op.Client, error) {
	if id != s.c.Client || secret != s.c.Secret {
		return nil, errors.New("no such client")
	}
	c, err := s.Storage.ClientCredentials(ctx, "sid1", "verysecret") // the one of the example
	return client{Client: c, id: id}, err
}

func (s *store) ClientCredentialsTokenRequest(_ context.Context, id string, scopes []string) (op.TokenRequest, error) {
	return &oidc.JWTTokenRequest{Subject: id, Audience: []string{s.c.Audience}, Scopes: scopes}, nil
}

func (s *store) CreateAccessToken(ctx context.Context, r op.TokenRequest) (id string, expires time.Time, err error) {
	id, _, err = s.Storage.CreateAccessToken(ctx, r)
	return id, time.Now().Add(10 * time.Hour), err
}

func main() {
	var c config
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		log.Fatal(err)
	}
	issuer := "http://" + c.Address
	s := &store{Storage: storage.NewStorage(storage.NewUserStore(issuer)), c: c}
	s.rotate()
	provider, err := op.NewProvider(&op.Config{CryptoKey: sha256.Sum256([]byte(c.Secret)), CryptoKeyId: "1"}, s,
		op.StaticIssuer(issuer), op.WithAllowInsecure())
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", provider)
	mux.HandleFunc("POST /rotate", func(http.ResponseWriter, *http.Request) { s.rotate() })
	mux.HandleFunc("POST /withdraw", func(http.ResponseWriter, *http.Request) { s.withdraw() })
	log.Fatal(http.ListenAndServe(c.Address, mux))
}
