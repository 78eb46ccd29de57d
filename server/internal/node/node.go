// Package node wires the parts of one running server: database, accounts, keys, sessions, revocations,
// limits, mail and HTTP. It contains no rules.
package node

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/mail"
	"github.com/durward-auth/durward/server/internal/metrics"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/revocation"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/store/backup"
	"github.com/durward-auth/durward/server/internal/web"
)

// Config holds the operator's settings and the parts that Open does not make itself.
type Config struct {
	Settings   *config.Config     // required
	Master     *seal.Master       // required
	KeepSchema bool               // refuse an older schema instead of migrating it
	Checkpoint *backup.Checkpoint // detects a rollback of the database; nil: none is detected
	Log        *slog.Logger       // nil: no log

	// Now is the clock of all parts. Nil means the clock of the database, which all its nodes share.
	Now func() time.Time
	// Local is the clock of this machine; nil means time.Now.
	Local func() time.Time
}

// Node holds the parts of a server over one database.
type Node struct {
	DB       *store.DB
	Accounts *account.Manager
	Issuer   *issuer.Issuer
	Sessions *session.Manager
	OAuth    *oauth.Manager
	Metrics  *metrics.Metrics
	Demo     bool // its Servers have the pages of the demonstration, too

	limiter     *limits.Limiter
	ofNetwork   *limits.Rate // registrations from one network
	ofAddress   *limits.Rate // registrations with one e-mail address
	hashes      *limits.Rate // password hashes for one network
	mails       account.MailLimits
	mail        *mail.Manager
	revocations *revoked.Follower
	feed        *revocation.Feed
	checkpoint  *backup.Checkpoint
	securityLog *securitylog.Writer
	redis       redisParts
	log         *slog.Logger
}

// Limits on forged credentials from one network, per minute.
const (
	forgedRefreshTokens = 30
	forgedAPIKeys       = 30
	forgedMailTokens    = 30
	refusedPasskeys     = 30
	wrongClientSecrets  = 30

	authorizationRequests = 60 // stored ones
)

// hashGarbage limits the memory of finished hashes, in KiB. Otherwise a flood of sign-ins would double
// the memory of the process.
const hashGarbage = 32 << 10

// Open opens the database and makes the parts. Run starts them; the caller closes the node.
func Open(ctx context.Context, c Config) (n *Node, err error) {
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	set := c.Settings
	secret, err := set.SharedSecret()
	if err != nil {
		return nil, err
	}
	figures := metrics.New()
	db, err := store.Open(ctx, store.Config{
		URL:          string(set.DatabaseURL()),
		Pooled:       set.Pooled(),
		KeepSchema:   c.KeepSchema,
		CheckHistory: c.Checkpoint.Check,
		Now:          c.Now,
		Local:        c.Local,
		OnEvent:      figures.Stored,
		Log:          c.Log,
	})
	if err != nil {
		return nil, err
	}
	now := db.Now
	n = &Node{
		DB:         db,
		Metrics:    figures,
		feed:       revocation.NewFeed(db, now),
		checkpoint: c.Checkpoint,
		log:        c.Log,
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
			n = nil
		}
	}()

	name, _ := os.Hostname() // without one, the counts name no node
	n.securityLog, err = securitylog.New(securitylog.Config{
		DB:      db,
		Master:  c.Master,
		Log:     c.Log,
		Now:     now,
		Kept:    set.SecurityLog.Kept,
		Metrics: figures,
		Node:    name,
	})
	if err != nil {
		return n, err
	}
	list := revoked.NewList(db.TokenTime)
	var loaded atomic.Bool // the list; entries from before are not late
	received := func(entries []revoked.Entry) {
		for _, e := range entries {
			if loaded.Load() {
				figures.Revoked(now().Sub(e.At))
			}
		}
	}
	if err = n.redis.open(c, db.TokenTime, list, n.feed, received); err != nil {
		return n, err
	}
	n.revocations, err = revoked.NewFollower(revoked.FollowerConfig{
		List: list,
		Poll: n.feed.Poll,
		OnFresh: func(entries []revoked.Entry) {
			received(entries)
			if n.redis.fromFeed != nil {
				n.redis.fromFeed(entries)
			}
		},
		Now:   now,
		Local: db.Local,
		Log:   c.Log,
	})
	if err != nil {
		return n, err
	}
	counting := db.Local // a jump of the clock neither ends nor lengthens a block
	if n.redis.shared != nil {
		counting = now // which all nodes share
	}
	n.limiter, err = limits.New(limits.Config{
		Settings: limitSettings(set),
		Now:      counting,
		Shared:   n.redis.shared,
		OnBlock:  figures.Blocked,
	})
	if err != nil {
		return n, err
	}
	rate := func(name string, most int, window time.Duration) *limits.Rate {
		return limits.NewRate(limits.RateConfig{Name: name, Most: most, Window: window, Shared: n.redis.shared, Now: counting})
	}
	n.ofNetwork = rate("registrations", set.Limits.RegistrationsNetwork, time.Hour)
	n.ofAddress = rate("registrations of an address", set.Limits.RegistrationsAddress, time.Hour)
	n.hashes = rate("hashes", set.Limits.NetworkHashes, time.Minute)
	n.mails = account.MailLimits{
		OfNetwork: rate("mails", set.Limits.MailsNetwork, time.Hour),
		OfAddress: rate("mails of an address", set.Limits.MailsAddress, time.Hour),
		BadTokens: rate("mail tokens", forgedMailTokens, time.Minute),
	}
	n.Issuer, err = issuer.New(ctx, issuer.Config{
		URL:          set.IssuerURL(),
		Audience:     set.Tokens.Audience,
		Algorithm:    set.Tokens.Algorithm,
		SharedSecret: secret,
		AccessTTL:    set.Tokens.AccessTTL,
		Leeway:       set.Tokens.Leeway,
		DB:           db,
		Master:       c.Master,
		Revoked:      list,
		RevokedAsOf:  n.revocations.AsOf,
		Log:          c.Log,
	})
	if err != nil {
		return n, err
	}
	hasher, err := pwhash.New(pwhash.Config{ // package config checks the ranges
		Memory:  uint32(set.Passwords.Argon2Memory),
		Time:    uint32(set.Passwords.Argon2Time),
		Garbage: hashGarbage,
	})
	if err != nil {
		return n, err
	}
	n.Accounts, err = account.New(account.Config{
		DB:          db,
		Master:      c.Master,
		Name:        set.IssuerName(),
		Hasher:      hasher,
		Limits:      n.limiter,
		SecurityLog: n.securityLog,
		OfNetwork:   n.ofNetwork,
		OfAddress:   n.ofAddress,
		Hashes:      n.hashes,
		BadKeys:     rate("keys", forgedAPIKeys, time.Minute),
		BadPasskeys: rate("passkeys", refusedPasskeys, time.Minute),
		Mails:       n.mails,
		VerifyEmail: set.VerifyEmail,
		Passwords: account.PasswordRules{
			MinLength:             set.Passwords.MinLength,
			MinLengthSecondFactor: set.Passwords.MinLengthSecondFactor,
			MaxLength:             set.Passwords.MaxLength,
			Blocklist:             set.Passwords.Blocklist,
			Words:                 set.Passwords.Words,
		},
		Log: c.Log,
	})
	if err != nil {
		return n, err
	}
	if err = errors.Join(n.Accounts.IndexEmails(ctx), n.Accounts.ReadImported(ctx)); err != nil {
		return n, err
	}
	from, err := set.MailFrom()
	if err != nil {
		return n, err
	}
	n.mail, err = mail.New(mail.Config{
		DB:        db,
		Recipient: n.Accounts.Recipient,
		From:      from,
		Name:      set.MailName(),
		Language:  set.Mail.Language,
		SMTP:      set.SMTP.URL,
		CAFile:    set.SMTP.CAFile,
		Folder:    set.MailFolder(),
		Log:       c.Log,
	})
	if err != nil {
		return n, err
	}
	n.Sessions, err = session.New(session.Config{
		DB:               db,
		Checkpoint:       c.Checkpoint,
		Accounts:         n.Accounts,
		Issuer:           n.Issuer,
		Revoked:          list,
		Metrics:          figures,
		BadTokens:        rate("refresh", forgedRefreshTokens, time.Minute),
		RefreshTTL:       set.Tokens.RefreshTTL,
		RefreshAbsolute:  set.Tokens.RefreshAbsolute,
		RefreshGrace:     set.Tokens.RefreshGrace,
		CookieIdle:       set.Sessions.Idle,
		RememberIdle:     set.Sessions.RememberIdle,
		RememberAbsolute: set.Sessions.RememberAbsolute,
		CookieAbsolute:   set.Sessions.Absolute,
		Log:              c.Log,
	})
	if err != nil {
		return n, err
	}
	n.OAuth, err = oauth.New(oauth.Config{
		DB:       db,
		Accounts: n.Accounts,
		Issuer:   n.Issuer,
		Sessions: n.Sessions,

		Resources: set.OAuthResources(),
		Audience:  set.Tokens.Audience,
		CodeTTL:   set.OAuth.CodeTTL,
		UserInfo:  strings.TrimRight(set.PublicURL, "/") + "/oauth/userinfo",

		Requests:   rate("authorization requests", authorizationRequests, time.Minute),
		BadClients: rate("clients", wrongClientSecrets, time.Minute),
		Metrics:    figures,
		Log:        c.Log,
	})
	if err != nil {
		return n, err
	}
	if err = n.revocations.Load(ctx); err != nil {
		return n, err
	}
	loaded.Store(true)
	figures.Watch(metrics.Parts{
		Now:         now,
		HashesDone:  hasher.Runs,
		HashesOpen:  hasher.Pending,
		Revocations: list.Len,
		RevokedAsOf: n.revocations.AsOf,
		Mails:       db.MailsWaiting,
	})
	// Only now: a node that is refused, for another issuer or without the key, may use another
	// database after its configuration was corrected.
	return n, n.SaveCheckpoint(ctx)
}

func limitSettings(set *config.Config) limits.Settings {
	return limits.Settings{
		AccountFailures:     set.Limits.AccountFailures,
		AccountWindow:       set.Limits.AccountWindow,
		AccountBlock:        set.Limits.AccountBlock,
		LockFailures:        set.Limits.AccountLockFailures,
		DeviceLockFailures:  set.Limits.DeviceLockFailures,
		Lock:                set.Limits.AccountLock,
		LockMax:             set.Limits.AccountLockMax,
		LockOff:             set.Limits.AccountLockFailures == 0,
		NetworkFailures:     set.Limits.NetworkFailures,
		NetworkFailuresHour: set.Limits.NetworkFailuresHour,
		NetworkUnlimited:    set.Limits.NetworkFailures == 0,
	}
}

// SaveCheckpoint stores the position in the history of the database.
func (n *Node) SaveCheckpoint(ctx context.Context) error { return n.checkpoint.Save(ctx, n.DB) }

// Close closes the connections to the database and Redis.
func (n *Node) Close() error {
	if n.redis.client != nil {
		n.redis.client.Close()
	}
	return n.DB.Close()
}

// Waiting returns the number of requests that wait for a revocation.
func (n *Node) Waiting() int { return n.feed.Waiting() }

// configureTime bounds the transaction that stores the clients of the configuration.
const configureTime = 30 * time.Second

// Server applies the limits, resources and clients of set to the node and returns an HTTP server with the other
// settings. Settings of the parts keep the values that Open got.
func (n *Node) Server(set *config.Loaded) (*httpapi.Server, error) {
	effective := make([]httpapi.Setting, 0, len(set.Settings))
	for _, s := range set.Settings {
		effective = append(effective, httpapi.Setting{Key: s.Key, Value: s.JSON(), Source: s.Source})
	}
	proxies, socket, err := set.ProxyNetworks()
	if err != nil {
		return nil, err
	}
	parts := httpapi.Parts{
		DB:          n.DB,
		Accounts:    n.Accounts,
		Issuer:      n.Issuer,
		Sessions:    n.Sessions,
		OAuth:       n.OAuth,
		Revocations: n.revocations,
		Feed:        n.feed,
		SecurityLog: n.securityLog,
		Proofs:      n.redis.proofs,
		Redis:       n.redis.err,
		Mail:        n.mail.Err,
		Metrics:     n.Metrics,
		Now:         n.DB.Now,
		Log:         n.log,
	}
	settings := httpapi.Settings{
		PublicURL:          set.PublicURL,
		Registration:       set.Registration,
		AdminWithoutFactor: !set.Admin.SecondFactor,
		Basic:              set.Basic,
		DPoP:               set.DPoP,
		Origins:            set.CORS.Origins,
		Proxies:            proxies,
		ProxySocket:        socket,
		ClientCert:         durward.ClientCertFormat(strings.TrimPrefix(set.ClientCertFromProxies, "off")),
		InsecureAllowHTTP:  set.InsecureAllowHTTP,
		Figures:            set.Figures(),
		Effective:          effective,
	}
	look, warning, err := web.NewLook(set.PagesName(), set.Pages.Logo, set.Pages.Accent)
	if err != nil {
		return nil, err
	}
	if warning != "" {
		n.log.Warn(warning)
	}
	pages := web.Config{Parts: parts, Settings: settings, Look: look, Demo: n.Demo, MailFolder: set.MailFolder(), DoctorOutbound: set.Doctor.Outbound == "public"}
	parts.Pages = func(s *httpapi.Server) httpapi.Pages { return web.New(pages, s).Pages() }
	s, err := httpapi.New(httpapi.Config{Parts: parts, Settings: settings})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), configureTime)
	defer cancel()
	n.OAuth.AllowDPoP(set.DPoP)
	if err := n.OAuth.Configure(ctx, set.OAuthResources(), set.OAuthClients()); err != nil {
		return nil, err
	}
	if err := n.limiter.Set(limitSettings(set.Config)); err != nil {
		return nil, err
	}
	n.ofNetwork.Set(set.Limits.RegistrationsNetwork)
	n.ofAddress.Set(set.Limits.RegistrationsAddress)
	n.hashes.Set(set.Limits.NetworkHashes)
	n.mails.OfNetwork.Set(set.Limits.MailsNetwork)
	n.mails.OfAddress.Set(set.Limits.MailsAddress)
	n.mail.SetPublicURL(strings.TrimRight(set.PublicURL, "/"))
	return s, nil
}

// Run starts the background work. It ends with ctx, and wait returns after it.
func (n *Node) Run(ctx context.Context) (wait func(), err error) {
	if err := n.Sessions.Start(ctx); err != nil {
		return nil, err
	}
	var background sync.WaitGroup
	for _, run := range []func(context.Context){
		n.revocations.Run, n.Issuer.Run, n.Sessions.Run, n.Accounts.Run, n.securityLog.Run, n.mail.Run, n.follow, n.redis.run,
	} {
		background.Go(func() { run(ctx) })
	}
	return background.Wait, nil
}

// follow reads revocations and signing keys as soon as the database announces a change by another
// node. The regular polls find the other changes.
func (n *Node) follow(ctx context.Context) {
	changed := make(chan struct{}, 1)
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				_ = n.Issuer.ReadKeys(ctx) // the issuer's poll logs failures
			}
		}
	})
	n.DB.Follow(ctx, func() {
		n.revocations.Wake()
		select {
		case changed <- struct{}{}:
		default: // a reading is due already
		}
	})
}
