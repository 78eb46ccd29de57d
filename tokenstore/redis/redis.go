// Package redis stores a token of [client.Tokens] in Redis or Valkey. Processes on several machines then
// share one sign-in and one refresh.
package redis

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/valkey"
)

// Config configures a [Store]. URL and Name are required.
type Config struct {
	// URL of the Redis server: redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]; rediss:// uses TLS.
	URL string

	// Name of the sign-in. Processes with the same Name share it.
	Name string

	// Secret is a key of 32 bytes that encrypts the token (AES-256-GCM), so that the content of the
	// Redis server does not expose it. Processes that share a sign-in need the same key. Nil stores
	// the token in plain text.
	Secret []byte

	// Lease is how long other processes wait after a process that held the lock has died; 0 means
	// 10 s.
	Lease time.Duration

	Log *slog.Logger // of the connection; nil means slog.Default
}

// A Store is a [client.TokenStore]. It is safe for concurrent use.
type Store struct {
	client      *valkey.Client
	seal        cipher.AEAD // nil without a Secret
	lease       time.Duration
	token, lock string // keys
}

// New returns a store that connects at its first use. The caller must close it.
func New(c Config) (*Store, error) {
	var all []error
	if c.Name == "" {
		all = append(all, errors.New("an empty Name"))
	}
	if c.Lease < 0 || c.Lease > 0 && c.Lease < time.Second {
		all = append(all, fmt.Errorf("a Lease of %s: at least a second is wanted", c.Lease))
	}
	s := &Store{lease: cmp.Or(c.Lease, 10*time.Second), token: "durward:token:{" + c.Name + "}"}
	s.lock = s.token + ":lock"
	if c.Secret != nil {
		block, err := aes.NewCipher(c.Secret)
		if err != nil || len(c.Secret) != 32 {
			all = append(all, fmt.Errorf("a Secret of %d octets, 32 are wanted", len(c.Secret)))
		} else if s.seal, err = cipher.NewGCM(block); err != nil {
			all = append(all, err)
		}
	}
	if err := valkey.Check(c.URL); err != nil {
		all = append(all, fmt.Errorf("URL %w", err))
	}
	if len(all) > 0 {
		return nil, fmt.Errorf("redis: token store: %w", errors.Join(all...))
	}
	var err error
	// A token may take longer than the counters of package limits: their timeout is shorter.
	s.client, err = valkey.New(valkey.Config{URL: c.URL, Timeout: time.Second, Log: c.Log})
	return s, err
}

// Close closes the connection.
func (s *Store) Close() { s.client.Close() }

var (
	// read returns the stored token, or nothing.
	read = valkey.NewScript(`local t = redis.call('GET', KEYS[1]) if t then return {t} end return {}`)
	// take takes the lock if it is free.
	take = valkey.NewScript(`if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'1'} end return {}`)
	// keep extends the lock if this process holds it. It does not take an expired lock again: another
	// process may have changed the token since.
	keep = valkey.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return {}`)
	// put stores a token if this process holds the lock.
	put = valkey.NewScript(`if redis.call('GET', KEYS[2]) ~= ARGV[1] then return {} end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end return {'1'}`)
	// release frees the lock if this process holds it.
	release = valkey.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return {}`)
)

// Load returns the token, or the zero Token if there is none.
func (s *Store) Load(ctx context.Context) (client.Token, error) {
	var answer []string
	err := s.patiently(ctx, func() (err error) { answer, err = s.run(ctx, read, []string{s.token}); return err })
	if err != nil || len(answer) == 0 {
		return client.Token{}, err
	}
	text := []byte(answer[0])
	if s.seal != nil {
		n := s.seal.NonceSize()
		if len(text) < n {
			return client.Token{}, fmt.Errorf("redis: token store: %s is not encrypted; remove Secret or sign in again", s.token)
		}
		if text, err = s.seal.Open(nil, text[:n], text[n:], []byte(s.token)); err != nil {
			return client.Token{}, fmt.Errorf("redis: token store: %s was encrypted with another Secret", s.token)
		}
	}
	var t client.Token
	if err := json.Unmarshal(text, &t); err != nil {
		return client.Token{}, fmt.Errorf("redis: token store: %s does not hold a token", s.token)
	}
	return t, nil
}

// run runs a script and returns the strings of its reply.
func (s *Store) run(ctx context.Context, script *valkey.Script, keys []string, args ...string) ([]string, error) {
	messages, err := s.client.Run(ctx, script, keys, args...)
	answer := make([]string, len(messages))
	for i := 0; err == nil && i < len(messages); i++ {
		answer[i], err = messages[i].ToString()
	}
	if err != nil {
		return nil, fmt.Errorf("redis: token store: %w", err)
	}
	return answer, nil
}

// patiently repeats a call while the first connection is not established yet.
func (s *Store) patiently(ctx context.Context, ask func() error) error {
	for deadline := time.Now().Add(2 * time.Second); ; {
		changed := s.client.State().Changed
		err := ask()
		if !errors.Is(err, valkey.ErrDown) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("redis: token store: %w", ctx.Err())
		case <-changed:
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Update changes the token. No other process updates it meanwhile. If a process dies in Update, others
// wait for Config.Lease. A process that loses its lease stores nothing.
func (s *Store) Update(ctx context.Context, change func(context.Context, client.Token) (client.Token, error)) error {
	id := rand.Text()
	lease := fmt.Sprint(s.lease.Milliseconds())
	for {
		var held []string
		err := s.patiently(ctx, func() (err error) { held, err = s.run(ctx, take, []string{s.lock}, id, lease); return err })
		if err != nil {
			return err
		}
		if len(held) > 0 {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("redis: token store: another process holds the lock: %w", ctx.Err())
		case <-time.After(25 * time.Millisecond):
		}
	}
	working, stop := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() { // extends the lease during change
		defer close(kept)
		tick := time.NewTicker(s.lease / 4)
		defer tick.Stop()
		for {
			select {
			case <-working.Done():
				return
			case <-tick.C:
				_, _ = s.run(working, keep, []string{s.lock}, id, lease) // put fails if the lease is lost
			}
		}
	}()
	defer func() {
		stop()
		<-kept
		// A lock that cannot be released expires.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, _ = s.run(bounded, release, []string{s.lock}, id)
	}()
	stored, err := s.Load(ctx)
	if err != nil {
		return err
	}
	next, err := change(ctx, stored)
	if err != nil || next == stored {
		return err
	}
	text := []byte{}
	if next != (client.Token{}) {
		if text, err = json.Marshal(next); err != nil {
			return err
		}
		if s.seal != nil {
			nonce := make([]byte, s.seal.NonceSize())
			_, _ = rand.Read(nonce) // crypto/rand.Read never returns an error
			text = s.seal.Seal(nonce, nonce, text, []byte(s.token))
		}
	}
	done, err := s.run(ctx, put, []string{s.token, s.lock}, id, string(text))
	if err == nil && len(done) == 0 {
		err = errors.New("redis: token store: the lease ended before the token was stored")
	}
	return err
}
