// Package node wires the parts of one running server: the store, the rules over
// it, the list of what was revoked, and the HTTP in front. It decides nothing
// itself.
package node

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/revocation"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/store/backup"
)

// Config is what a node is made of. Database, Master and Issuer.URL are required;
// the parts' own standards hold for what is left zero.
type Config struct {
	Database  string // its address: sqlite:PATH or postgres://…
	Redis     string // URL of the Redis or Valkey that the nodes share; "" is none
	Master    *seal.Master
	Issuer    issuer.Config  // the node sets DB, Master, Revoked, RevokedAsOf, Now and Log
	Sessions  session.Config // the node sets DB, Checkpoint, Accounts, Issuer, Revoked, BadTokens, Now and Log
	Hashes    pwhash.Config
	Limits    limits.Config
	Passwords account.PasswordRules
	Now       func() time.Time // the one clock of all parts; nil is that of the database, on which its nodes agree
	Log       *slog.Logger

	KeepSchema bool               // refuse a schema of an older program
	Checkpoint *backup.Checkpoint // refuses a database that was rolled back; nil: none is refused
	Local      func() time.Time   // the clock of this machine, where it is another's; nil is time.Now
}

// Node is the parts of one server over one database.
type Node struct {
	DB       *store.DB
	Accounts *account.Manager
	Issuer   *issuer.Issuer
	Sessions *session.Manager
	Limiter  *limits.Limiter

	revocations *revoked.Follower
	feed        *revocation.Feed
	checkpoint  *backup.Checkpoint
	securityLog *securitylog.Writer
	log         *slog.Logger
	together    *together // nil without Redis
}

// What one network may send in a minute that never was one of ours.
const (
	badRefreshes = 30 // refresh tokens
	badKeys      = 30 // API keys
)

// Open opens a database and makes the parts over it. Nothing runs yet; the caller
// closes it.
func Open(ctx context.Context, c Config) (n *Node, err error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	db, err := store.Open(ctx, store.Config{URL: c.Database, KeepSchema: c.KeepSchema, CheckHistory: c.Checkpoint.Check, Now: c.Now, Local: c.Local, Log: c.Log})
	if err != nil {
		return nil, err
	}
	c.Now = db.Now
	var shared *together
	defer func() {
		if err != nil {
			shared.close()
			n, err = nil, errors.Join(err, db.Close())
		}
	}()
	if shared, err = connect(c); err != nil {
		return nil, err
	}
	n = &Node{
		DB:          db,
		log:         c.Log,
		feed:        revocation.NewFeed(db, c.Now),
		checkpoint:  c.Checkpoint,
		securityLog: securitylog.New(db, c.Log, c.Now),
		together:    shared,
	}
	hasher, err := pwhash.New(c.Hashes)
	if err != nil {
		return nil, err
	}
	c.Limits.Now, c.Limits.Shared = c.Now, n.together.counters()
	if n.Limiter, err = limits.New(c.Limits); err != nil {
		return nil, err
	}
	list := revoked.NewList(c.Now)
	push, err := n.together.revocations(c, list, n.feed.Poll)
	if err != nil {
		return nil, err
	}
	var fresh func([]revoked.Entry)
	if push != nil {
		fresh = push.FromFeed
	}
	n.revocations, err = revoked.NewFollower(revoked.FollowerConfig{List: list, Poll: n.feed.Poll, OnFresh: fresh, Now: c.Now, Log: c.Log})
	if err != nil {
		return nil, err
	}
	keys := c.Issuer
	keys.DB, keys.Master, keys.Revoked, keys.RevokedAsOf, keys.Now, keys.Log = db, c.Master, list, n.revocations.AsOf, c.Now, c.Log
	if n.Issuer, err = issuer.New(ctx, keys); err != nil {
		return nil, err
	}
	n.Accounts, err = account.New(account.Config{
		DB: db, Hasher: hasher, Limits: n.Limiter, SecurityLog: n.securityLog, BadKeys: n.rate("keys", badKeys, c.Now),
		Passwords: c.Passwords, Now: c.Now, Log: c.Log,
	})
	if err != nil {
		return nil, err
	}
	sessions := c.Sessions
	sessions.DB, sessions.Checkpoint, sessions.Accounts, sessions.Issuer, sessions.Revoked = db, c.Checkpoint, n.Accounts, n.Issuer, list
	sessions.BadTokens, sessions.Now, sessions.Log = n.rate("refresh", badRefreshes, c.Now), c.Now, c.Log
	if n.Sessions, err = session.New(sessions); err != nil {
		return nil, err
	}
	if err = n.revocations.Load(ctx); err != nil {
		return nil, err
	}
	// Only now: a node that is refused, for another issuer or without the key, may use another
	// database after its configuration was corrected.
	return n, n.SaveCheckpoint(ctx)
}

// SaveCheckpoint records the position of the database.
func (n *Node) SaveCheckpoint(ctx context.Context) error { return n.checkpoint.Save(ctx, n.DB) }

// rate bounds what is plainly bad, of each network.
func (n *Node) rate(name string, aMinute int, now func() time.Time) *limits.Rate {
	return limits.NewRate(limits.RateConfig{Name: name, AMinute: aMinute, Shared: n.together.counters(), Now: now})
}

// Close closes the database.
func (n *Node) Close() error {
	n.together.close()
	return n.DB.Close()
}

// Waiting is how many requests wait for a revocation.
func (n *Node) Waiting() int { return n.feed.Waiting() }

// Server returns an HTTP server over the parts of the node.
func (n *Node) Server(settings httpapi.Settings) (*httpapi.Server, error) {
	parts := httpapi.Parts{
		DB:          n.DB,
		Accounts:    n.Accounts,
		Issuer:      n.Issuer,
		Sessions:    n.Sessions,
		Revocations: n.revocations,
		Feed:        n.feed,
		SecurityLog: n.securityLog,
		Now:         n.DB.Now,
		Log:         n.log,
	}
	n.together.serve(&parts)
	return httpapi.New(httpapi.Config{Parts: parts, Settings: settings})
}

// Run says that the node is up, begins what goes on behind the requests and
// returns; wait waits for its end, after that of ctx.
func (n *Node) Run(ctx context.Context) (wait func(), err error) {
	if err := n.Sessions.Start(ctx); err != nil {
		return nil, err
	}
	var background sync.WaitGroup
	for _, run := range []func(context.Context){n.revocations.Run, n.Issuer.Run, n.Sessions.Run, n.Accounts.Run, n.securityLog.Run, n.follow, n.together.run} {
		background.Go(func() { run(ctx) })
	}
	return background.Wait, nil
}

// follow reads revocations and signing keys at once when another node has changed
// some. What it misses is found by the polls.
func (n *Node) follow(ctx context.Context) {
	news := make(chan struct{}, 1)
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-news:
				_ = n.Issuer.ReadKeys(ctx) // its own poll tells of failures
			}
		}
	})
	n.DB.Follow(ctx, func() {
		n.revocations.Wake()
		select {
		case news <- struct{}{}:
		default: // one is due already
		}
	})
}
