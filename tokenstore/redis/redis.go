// Package redis keeps a token of [client.Tokens] in Redis or Valkey, so that processes
// on several machines share one sign-in and one refresh.
package redis

import (
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

// Config says where the token is. URL and Name are required.
type Config struct {
	// URL of the server: redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// over
	// TLS.
	URL string

	// Name of the sign-in: processes that say the same share it.
	Name string

	// Secret, of 32 octets, seals the token (AES-256-GCM), so that whoever reads the
	// server learns nothing. All who share a sign-in have the same one. Nil leaves the
	// token as it is.
	Secret []byte

	// Lease is how long a process that has gone without a word keeps the others waiting;
	// 0 is 10 s.
	Lease time.Duration

	Log *slog.Logger // of the connection; nil is slog.Default
}

// Store is a [client.TokenStore]. It is safe for concurrent use.
type Store struct {
	client      *valkey.Client
	seal        cipher.AEAD // nil where the token is not sealed
	lease       time.Duration
	token, lock string // keys
}

// New returns a store that connects when it is first asked. The caller closes it.
func New(c Config) (*Store, error) {
	var all []error
	if c.Name == "" {
		all = append(all, errors.New("an empty Name"))
	}
	if c.Lease < 0 || c.Lease > 0 && c.Lease < time.Second {
		all = append(all, fmt.Errorf("a Lease of %s: at least a second is wanted", c.Lease))
	}
	s := &Store{lease: c.Lease, token: "durward:token:{" + c.Name + "}", lock: "durward:token:{" + c.Name + "}:lock"}
	if s.lease == 0 {
		s.lease = 10 * time.Second
	}
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
	// Whoever waits for a token has more time than a request that is counted.
	s.client, err = valkey.New(valkey.Config{URL: c.URL, Timeout: time.Second, Log: c.Log})
	return s, err
}

// Close ends the connection.
func (s *Store) Close() { s.client.Close() }

var (
	// read answers what is stored; nothing where nothing is.
	read = valkey.NewScript(`local t = redis.call('GET', KEYS[1]) if t then return {t} end return {}`)
	// take takes the lock where nobody has it.
	take = valkey.NewScript(`if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return {1} end return {}`)
	// keep keeps the lock while it is ours: one that ended is not taken again, since
	// somebody else may have had it meanwhile.
	keep = valkey.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return {}`)
	// put stores a token while the lock is ours.
	put = valkey.NewScript(`if redis.call('GET', KEYS[2]) ~= ARGV[1] then return {} end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end return {1}`)
	// release gives back the lock where it is ours.
	release = valkey.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return {}`)
)

// Load returns the token; the zero Token where there is none.
func (s *Store) Load(ctx context.Context) (client.Token, error) {
	var answer []string
	err := s.patiently(ctx, func() (err error) { answer, err = s.run(ctx, read, []string{s.token}); return err })
	if err != nil || len(answer) == 0 {
		return client.Token{}, wrong(err)
	}
	text := []byte(answer[0])
	if s.seal != nil {
		n := s.seal.NonceSize()
		if len(text) < n {
			return client.Token{}, fmt.Errorf("redis: token store: %s is not sealed", s.token)
		}
		if text, err = s.seal.Open(nil, text[:n], text[n:], []byte(s.token)); err != nil {
			return client.Token{}, fmt.Errorf("redis: token store: %s was sealed with another Secret", s.token)
		}
	}
	var t client.Token
	if err := json.Unmarshal(text, &t); err != nil {
		return client.Token{}, fmt.Errorf("redis: token store: %s holds no token", s.token)
	}
	return t, nil
}

func wrong(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("redis: token store: %w", err)
}

// run runs a script and returns the strings that it answers.
func (s *Store) run(ctx context.Context, script *valkey.Script, keys []string, args ...string) ([]string, error) {
	messages, err := s.client.Run(ctx, script, keys, args...)
	if err != nil {
		return nil, err
	}
	answer := make([]string, len(messages))
	for i, m := range messages {
		if m.IsString() {
			if answer[i], err = m.ToString(); err != nil {
				return nil, err
			}
		}
	}
	return answer, nil
}

// patiently asks again while the first connection is being made.
func (s *Store) patiently(ctx context.Context, ask func() error) error {
	for deadline := time.Now().Add(2 * time.Second); ; {
		changed := s.client.Changed()
		err := ask()
		if !errors.Is(err, valkey.ErrDown) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Update changes the token while no other process does. A process that is gone keeps
// the others waiting for Config.Lease; one that lost its lease meanwhile changes
// nothing.
func (s *Store) Update(ctx context.Context, change func(context.Context, client.Token) (client.Token, error)) error {
	id := rand.Text()
	lease := fmt.Sprint(s.lease.Milliseconds())
	for {
		var held []string
		err := s.patiently(ctx, func() (err error) { held, err = s.run(ctx, take, []string{s.lock}, id, lease); return err })
		if err != nil {
			return wrong(err)
		}
		if len(held) > 0 {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("redis: token store: another process renews the token: %w", ctx.Err())
		case <-time.After(25 * time.Millisecond):
		}
	}
	working, stop := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() { // keeps the lease while the change goes on
		defer close(kept)
		tick := time.NewTicker(s.lease / 4)
		defer tick.Stop()
		for {
			select {
			case <-working.Done():
				return
			case <-tick.C:
				_, _ = s.run(working, keep, []string{s.lock}, id, lease) // put finds out whether it helped
			}
		}
	}()
	defer func() {
		stop()
		<-kept
		// The lock ends by itself where it cannot be given back.
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
			return wrong(err)
		}
		if s.seal != nil {
			nonce := make([]byte, s.seal.NonceSize())
			_, _ = rand.Read(nonce) // crypto/rand.Read never returns an error
			text = s.seal.Seal(nonce, nonce, text, []byte(s.token))
		}
	}
	done, err := s.run(ctx, put, []string{s.token, s.lock}, id, string(text))
	if err == nil && len(done) == 0 {
		err = errors.New("the lease ended before the token was stored")
	}
	return wrong(err)
}
