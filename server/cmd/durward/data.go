package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// location is the flags of verbs that work on the data of a server.
type location struct {
	Config string `help:"Configuration file (TOML)." placeholder:"FILE"`
	Data   string `help:"Data folder. Default: ./durward-data." placeholder:"DIR"`
}

// ProvideConfig reads the configuration and prints its warnings. kong calls it for verbs whose Run
// takes the configuration.
func (l location) ProvideConfig(e *environment) (*config.Loaded, error) {
	c, err := loadConfig(config.Flags{Config: l.Config, Data: l.Data}, e.variables)
	if err != nil {
		return nil, err
	}
	for _, x := range c.Exposed {
		e.note("warning: %s", exposedText(x))
	}
	return c, nil
}

// loadConfig reads the configuration. Its error has status 2.
func loadConfig(flags config.Flags, variables []string) (*config.Loaded, error) {
	c, err := config.Load(flags, variables)
	if err != nil {
		return nil, usage("durward config docs describes every key.", "%w", err)
	}
	return c, nil
}

// exposedText returns the warning about a secret that other users can read.
func exposedText(x config.ExposedSecret) string {
	return fmt.Sprintf("other users can read %s, which contains %s; run: chmod 600 %s", x.Path, x.Key, shellQuote(x.Path))
}

// storeConfig returns the settings of the database.
func storeConfig(c *config.Loaded) store.Config { return node.StoreConfig(c.Config) }

// openNode opens the data. The caller closes the node with node.CloseData.
func openNode(ctx context.Context, c *config.Loaded, a node.Access, log *slog.Logger) (*node.Node, error) {
	return node.OpenData(ctx, c.Config, a, log, nil)
}

// checkDatabase is node.CheckDatabase.
func checkDatabase(ctx context.Context, c *config.Loaded, create bool) (isNew bool, err error) {
	return node.CheckDatabase(ctx, c.Config, create)
}

// masterKey is node.MasterKey.
func masterKey(c *config.Loaded, create bool) (*seal.Master, error) {
	return node.MasterKey(c.Config, create)
}

// operator is the origin of changes that the command line makes.
var operator = request.Info{Actor: store.Operator}

// open opens the data for a verb other than serve; run closes it. It logs nothing, because the verb
// reports its errors, and it does not connect to Redis, because a verb counts no attempts.
func (l location) open(e *environment, a node.Access) (*node.Node, error) {
	c, err := l.ProvideConfig(e)
	if err != nil {
		return nil, err
	}
	c.Redis.URL = ""
	n, err := openNode(e, c, a, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	e.close = func() error { return node.CloseData(n) }
	return n, nil
}

// reader is the location of a verb that only reads: its Run takes a node for reading.
type reader struct{ location }

// ProvideNode opens the node.
func (r reader) ProvideNode(e *environment) (*node.Node, error) { return r.open(e, node.Reading) }

// writer is the location of a verb that changes data: its Run takes a node for writing.
type writer struct{ location }

// ProvideNode opens the node.
func (w writer) ProvideNode(e *environment) (*node.Node, error) { return w.open(e, node.Writing) }

// ProvideStore opens the database for reading, for verbs that need no master key; run closes it.
func (l location) ProvideStore(e *environment, c *config.Loaded) (*store.DB, error) {
	if _, err := checkDatabase(e, c, false); err != nil {
		return nil, err
	}
	s := storeConfig(c)
	s.CheckHistory, s.KeepSchema = nil, true
	db, err := store.Open(e, s)
	if err != nil {
		return nil, err
	}
	e.close = db.Close
	return db, nil
}
