package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	auth "github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// withPostgres runs work with a new Postgres cluster that has the system package's settings, so
// commits are durable. url creates a database.
func withPostgres(work func(url func() string)) {
	withPooler(func(url func() string, _ func(string) string) { work(url) })
}

// withPooler is withPostgres; pooled returns the URL of a database through a transaction pooler.
func withPooler(work func(url func() string, pooled func(string) string)) {
	err := errors.New("PostgreSQL or PgBouncer did not start, or is not installed")
	testing.Benchmark(func(b *testing.B) {
		p := services.NewPostgres(b, "shared_buffers=256MB", "max_wal_size=2GB")
		err = try(func() {
			work(func() string { return p.Database(b) }, func(url string) string {
				return services.NewPgBouncer(b, p.Addr(), "default_pool_size=24").Through(url)
			})
		})
	})
	check(err)
}

const rotate = `UPDATE grants SET generation = generation + 1, moved_3 = moved_2, moved_2 = moved_1, moved_1 = moved_0, moved_0 = $2,
	replays = 0, idle_ends = $3, network = $4, agent = $5 WHERE id = $1 AND ended_at = 0`

// rotated returns the arguments of rotate.
func rotated(id string) []any {
	now := time.Now()
	return []any{id, now.UnixMicro(), now.Add(time.Hour).UnixMicro(), "127.0.0.0/24", "Go program"}
}

// onPostgres measures refreshes over HTTP on Postgres with one node, with two, and with one behind a
// transaction pooler. The limit is the raw statement with as many workers, each with its own connection.
func onPostgres() (rows []row) {
	withPooler(func(url func() string, pooled func(string) string) {
		shared, alone := url(), url()
		data := addUser("postgres", shared)
		var nodes []*server
		for range 2 {
			n, _ := begin(data, shared)
			defer n.end()
			nodes = append(nodes, n)
		}
		behind, _ := begin(data, pooled(shared), "DURWARD_DATABASE_POOL=transaction")
		defer behind.end()
		held := signedIn(nodes[0])
		rawDatabase("postgres-raw", alone) // a data folder belongs to one database
		db := must(sql.Open("pgx", alone))
		defer db.Close()
		db.SetMaxIdleConns(clients)
		ids := grantIDs(db)
		on := func(nodes ...*server) func() float64 {
			return func() float64 {
				return rate(clients, length/3, func(c int) error { return nodes[c%len(nodes)].refresh(&held[c]) })
			}
		}
		figures := medians(on(nodes[0]), on(nodes...), on(behind), func() float64 {
			return rate(clients, length/3, func(c int) error {
				_, err := db.Exec(rotate, rotated(ids[c])...)
				return err
			})
		})
		for i, count := range []string{"one node", "two nodes", "one node behind PgBouncer"} {
			rows = append(rows, row{
				fmt.Sprintf("refresh over HTTP, durable, %d clients, Postgres, %s", clients, count),
				fmt.Sprintf("%.0f/s", figures[i]),
				fmt.Sprintf("the raw statement, %d workers %.0f/s", clients, figures[3]),
				fmt.Sprintf("%.2f", figures[i]/figures[3]), ""})
		}
	})
	return rows
}

func grantIDs(db *sql.DB) (ids []string) {
	rows := must(db.Query(`SELECT id FROM grants LIMIT $1`, clients))
	defer rows.Close()
	for rows.Next() {
		var id string
		check(rows.Scan(&id))
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil || len(ids) != clients {
		check(fmt.Errorf("%d grants: %w", len(ids), err))
	}
	return ids
}

// many measures a database with the given number of sessions and an empty one.
func many() []row {
	path := filepath.Join(*dir, "many-sqlite", "durward.db")
	rows := manyIn("SQLite", "sqlite", "sqlite:"+path, "sqlite:"+filepath.Join(*dir, "few-sqlite", "durward.db"), path+"-wal")
	check(os.RemoveAll(filepath.Dir(path)))
	withPostgres(func(url func() string) { rows = append(rows, manyIn("Postgres", "pgx", url(), url(), "")...) })
	return rows
}

// fillings insert sessions with their grants and a tenth as many users. A hundredth of the sessions
// ended long ago. Ids and salts are derived from numbers, so tokensOf can compute the token of any
// session.
var fillings = []string{
	`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < CAST($1 AS BIGINT) / 10 + 1)
		INSERT INTO users (id, email, email_key, name, password, admin, created_at, password_changed_at)
		SELECT 'user-' || (100000000000 + i), 'e' || i, 'e' || i, '', '', 0, CAST($2 AS BIGINT), CAST($2 AS BIGINT) FROM c`,
	`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < CAST($1 AS BIGINT))
		INSERT INTO sessions (id, user_id, client_id, scope, created_at, ends_at, auth_time, acr, amr, network, device, agent)
		SELECT (10000000 + i) || '-0000-7000-8000-0000' || (10000000 + i), 'user-' || (100000000000 + i / 10 + 1), 'durward', 'profile', CAST($2 AS BIGINT),
		CASE WHEN i <= CAST($1 AS BIGINT) / 100 THEN 1000000 ELSE CAST($3 AS BIGINT) END, CAST($2 AS BIGINT), '', 'pwd', '192.0.2.0/24', 'curl', 'curl' FROM c`,
	`INSERT INTO grants (id, session_id, client_id, scope, generation, salt, key_number, network, agent, created_at, idle_ends, ends)
		SELECT '000000000000000000000000' || substr(id, 1, 8), id, 'durward', 'profile', 0,
		CAST('000000000000000000000000' || substr(id, 1, 8) AS BYTEA), 1, '192.0.2.0/24', 'curl', created_at, CAST($1 AS BIGINT), CAST($1 AS BIGINT) FROM sessions`,
}

func manyIn(name, driver, filled, empty, wal string) []row {
	full, few := addUser("many-"+driver, filled), addUser("few-"+driver, empty)
	db := must(sql.Open(driver, strings.Replace(filled, "sqlite:", "file:", 1)))
	defer db.Close()
	began := time.Now()
	fill(db, driver)
	filling := time.Since(began)
	tokens := tokensOf(db, full)
	small, _ := begin(few, empty)
	defer small.end()
	big, starting := begin(full, filled)
	defer big.end()
	held := signedIn(small)

	// Each client refreshes sessions from all over the table, none twice.
	order := rand.Perm(*sessions - *sessions/100)
	next := make([]int, clients)
	worst := make([]time.Duration, clients)
	anyOf := func(c int) error {
		i := next[c]*clients + c
		next[c]++
		if i >= len(order) {
			return errors.New("all sessions are refreshed; run with more -sessions")
		}
		token := tokens(*sessions/100 + 1 + order[i])
		at := time.Now()
		err := big.refresh(&token)
		worst[c] = max(worst[c], time.Since(at))
		return err
	}
	rates := medians(
		func() float64 { return rate(clients, length/3, func(c int) error { return small.refresh(&held[c]) }) },
		func() float64 { return rate(clients, length/3, anyOf) },
	)
	calm := slices.Max(worst)
	clear(worst)
	sweeps := swept(filled, func() { rate(clients, length, anyOf) })
	slowest := slices.Max(worst)
	signIns := rate(clients, length, func(int) error { _, err := big.signIn(); return err })

	what := fmt.Sprintf("%s, %d sessions", name, *sessions)
	rows := []row{
		{"refresh over HTTP, " + what, fmt.Sprintf("%.0f/s", rates[1]),
			fmt.Sprintf("empty database %.0f/s", rates[0]), fmt.Sprintf("%.2f", rates[1]/rates[0]), "≥ 0.50"},
		{"slowest refresh during a sweep each second, " + what, rounded(slowest), "without " + rounded(calm), "", ""},
		{"one sweep of a thousand ended sessions, " + what, rounded(median(sweeps)), "", "", ""},
		{"sign-ins over HTTP, " + what, fmt.Sprintf("%.1f/s", signIns), "", "", ""},
		{"start to first response, " + what, rounded(starting), "", "", ""},
		{"memory of the process after these measurements, " + what, megabytes(resident(big)), "", "", ""},
		{"filling the database, " + what, filling.Round(time.Second).String(), "", "", ""},
	}
	if wal != "" {
		under, held, after := walSizes(db, wal, anyOf)
		rows = append(rows, row{"largest WAL under refreshes, " + what, mib(under), "", "", "64 MiB"},
			row{"the same, beside an open reader, " + what, mib(held), "after the reader ended " + mib(after), "",
				"64 MiB after it ended"})
	}
	return rows
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func fill(db *sql.DB, driver string) {
	ctx := context.Background()
	conn := must(db.Conn(ctx))
	defer conn.Close()
	now := time.Now()
	began, ends := now.UnixMicro(), now.Add(30*24*time.Hour).UnixMicro()
	octets, last := "BYTEA", `VACUUM ANALYZE` // like autovacuum later
	if driver == "sqlite" {
		octets, last = "BLOB", `PRAGMA wal_checkpoint(TRUNCATE)`
	}
	for i, args := range [][]any{{*sessions, began}, {*sessions, began, ends}, {ends}} {
		must(conn.ExecContext(ctx, strings.Replace(fillings[i], "BYTEA", octets, 1), args...))
	}
	must(conn.ExecContext(ctx, last))
}

// tokensOf returns a function that computes the first refresh token of the session with number i,
// with the keys of a data folder.
func tokensOf(db *sql.DB, data string) func(i int) auth.Token {
	master := must(seal.Open(filepath.Join(data, "master.key"), false))
	var id, epoch string
	var sealed []byte
	check(db.QueryRow(`SELECT id, sealed, (SELECT value FROM meta WHERE name = 'epoch') FROM keys WHERE use_for = 'refresh'`).
		Scan(&id, &sealed, &epoch))
	secret := must(master.Unseal("refresh key", id, sealed))
	sum := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	key := sum(secret, []byte("epoch "+epoch))
	return func(i int) auth.Token {
		var raw [48]byte
		raw[0], raw[1] = 1, 1
		id := fmt.Appendf(nil, "%032d", 10_000_000+i) // and salt
		must(hex.Decode(raw[2:18], id))
		copy(raw[22:24], sum(key, raw[:22]))
		copy(raw[24:], sum(key, raw[:22], id))
		return auth.Token{Refresh: "dr_" + base64.RawURLEncoding.EncodeToString(raw[:])}
	}
}

// during calls look at each interval while work runs, first at once.
func during(interval time.Duration, work, look func()) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			look()
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	defer all.Wait()
	defer close(stop)
	work()
}

// swept sweeps ended sessions once a second during work and returns the duration of each sweep.
func swept(url string, work func()) (took []time.Duration) {
	ctx := context.Background()
	db := must(store.Open(ctx, store.Config{URL: url}))
	defer db.Close()
	var failed error
	during(time.Second, work, func() {
		at := time.Now()
		failed = errors.Join(failed, db.PurgeSessions(ctx, 7*24*time.Hour))
		took = append(took, time.Since(at))
	})
	check(failed)
	return took
}

// walSizes returns the largest size of the write-ahead log during refreshes, without a reader and
// with an open read transaction, and its size after that transaction ended.
func walSizes(db *sql.DB, wal string, work func(int) error) (under, held, after int64) {
	watched := func() (largest int64) {
		during(20*time.Millisecond, func() { rate(clients, length, work) }, func() {
			if info, err := os.Stat(wal); err == nil {
				largest = max(largest, info.Size())
			}
		})
		return largest
	}
	under = watched()
	tx := must(db.BeginTx(context.Background(), nil))
	defer tx.Rollback()
	var n int
	check(tx.QueryRow(`SELECT count(*) FROM meta`).Scan(&n))
	held = watched()
	check(tx.Rollback())
	watched() // the next commits checkpoint the log and truncate the file
	return under, held, must(os.Stat(wal)).Size()
}
