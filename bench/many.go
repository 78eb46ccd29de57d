package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
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

	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// withPostgres runs work with a new Postgres cluster that has the system package's settings, so
// commits are durable. url creates a database.
func withPostgres(work func(url func() string) error) (err error) {
	err = errors.New("PostgreSQL did not start, or is not installed")
	testing.Benchmark(func(b *testing.B) {
		p := services.NewPostgres(b, "shared_buffers=256MB", "max_wal_size=2GB")
		err = work(func() string { return p.Database(b) })
	})
	return err
}

const move = `UPDATE grants SET generation = generation + 1, moved_3 = moved_2, moved_2 = moved_1, moved_1 = moved_0, moved_0 = $2,
	replays = 0, idle_ends = $3, network = $4, agent = $5 WHERE id = $1 AND ended_at = 0`

// onPostgres measures refreshes over HTTP on Postgres with one node and with two. The limit is the
// raw statement with as many workers, each with its own connection.
func onPostgres(binary, dir string, length time.Duration) (rows []row, err error) {
	err = withPostgres(func(url func() string) error {
		shared, alone := url(), url()
		data := filepath.Join(dir, "postgres")
		if err := addUser(binary, data, shared); err != nil {
			return err
		}
		var nodes []*server
		for range 2 {
			n, _, err := begin(binary, data, shared)
			if err != nil {
				return err
			}
			defer n.end()
			nodes = append(nodes, n)
		}
		held, err := signedIn(nodes[0])
		if err != nil {
			return err
		}
		other := data + "-raw" // a data folder belongs to one database
		if err := addUser(binary, other, alone); err != nil {
			return err
		}
		filler, _, err := begin(binary, other, alone)
		if err != nil {
			return err
		}
		_, err = signedIn(filler)
		if err := errors.Join(err, filler.end()); err != nil {
			return err
		}
		db, err := sql.Open("pgx", alone)
		if err != nil {
			return err
		}
		defer db.Close()
		db.SetMaxIdleConns(clients)
		ids, err := grantIDs(db)
		if err != nil {
			return err
		}
		var one, two, raw []float64
		for range 3 {
			for i, figures := range []*[]float64{&one, &two} {
				r, err := rate(clients, length/3, func(c int) error { return refresh(nodes[c%(i+1)], &held[c]) })
				if err != nil {
					return err
				}
				*figures = append(*figures, r)
			}
			r, err := rate(clients, length/3, func(c int) error {
				now := time.Now()
				_, err := db.Exec(move, ids[c], now.UnixMicro(), now.Add(time.Hour).UnixMicro(), "127.0.0.0/24",
					"Go program")
				return err
			})
			if err != nil {
				return err
			}
			raw = append(raw, r)
		}
		limit := fmt.Sprintf("the raw statement, %d workers %.0f/s", clients, median(raw))
		for _, r := range []struct {
			what    string
			figures []float64
		}{{"one node", one}, {"two nodes", two}} {
			rows = append(rows, row{fmt.Sprintf("refresh over HTTP, durable, %d clients, Postgres, %s", clients,
				r.what),
				fmt.Sprintf("%.0f/s", median(r.figures)), limit, fmt.Sprintf("%.2f", median(r.figures)/median(raw)),
				""})
		}
		return nil
	})
	return rows, err
}

func grantIDs(db *sql.DB) (ids []string, err error) {
	rows, err := db.Query(`SELECT id FROM grants LIMIT $1`, clients)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil || len(ids) != clients {
		return nil, fmt.Errorf("%d grants: %w", len(ids), err)
	}
	return ids, nil
}

// refresh replaces a refresh token by its successor.
func refresh(s *server, token *string) error {
	tokens, err := post(s.url+"/api/auth/refresh", map[string]string{"refresh_token": *token})
	if err == nil {
		*token = tokens["refresh_token"].(string)
	}
	return err
}

// many measures a database with the given number of sessions and an empty one.
func many(binary, dir string, sessions int, length time.Duration) (rows []row, err error) {
	path := filepath.Join(dir, "many")
	rows, err = manyIn(binary, dir, sessions, length, "SQLite", "sqlite", "sqlite:"+filepath.Join(path, "durward.db"),
		"sqlite:"+filepath.Join(dir, "few", "durward.db"), filepath.Join(path, "durward.db-wal"))
	if err := errors.Join(err, os.RemoveAll(path)); err != nil {
		return nil, err
	}
	err = withPostgres(func(url func() string) error {
		more, err := manyIn(binary, dir, sessions, length, "Postgres", "pgx", url(), url(), "")
		rows = append(rows, more...)
		return err
	})
	return rows, err
}

// fillings are the statements that insert sessions with their grants and a tenth as many users. A
// hundredth of the sessions ended long ago. Ids and salts are derived from numbers, so tokensOf can
// compute the token of any session.
var fillings = map[string][]string{
	"sqlite": {
		`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < $1 / 10 + 1)
			INSERT INTO users (id, email, email_key, name, password, admin, created_at, password_changed_at) SELECT printf('user-%012d', i), i, i, '', '', 0, $2, $2 FROM c`,
		`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < $1)
			INSERT INTO sessions (id, user_id, client_id, scope, created_at, ends_at, auth_time, acr, amr, network, device, agent)
			SELECT printf('%08x-0000-7000-8000-%012x', i, i), printf('user-%012d', i / 10 + 1), 'durward', 'profile', $2, CASE WHEN i <= $1 / 100 THEN 1000000 ELSE $3 END, $2, '', 'pwd', '192.0.2.0/24', 'curl', 'curl' FROM c`,
		`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < $1)
			INSERT INTO grants (id, session_id, client_id, scope, generation, salt, key_number, network, agent, created_at, idle_ends, ends)
			SELECT printf('%032x', i), printf('%08x-0000-7000-8000-%012x', i, i), 'durward', 'profile', 0, CAST(printf('%032d', i) AS BLOB), 1, '192.0.2.0/24', 'curl', $2, $3, $3 FROM c`,
	},
	"pgx": {
		`INSERT INTO users (id, email, email_key, name, password, admin, created_at, password_changed_at)
			SELECT 'user-' || lpad(i::text, 12, '0'), i::text, i::text, '', '', 0, $2::bigint, $2::bigint FROM generate_series(1, $1::bigint / 10 + 1) i`,
		`INSERT INTO sessions (id, user_id, client_id, scope, created_at, ends_at, auth_time, acr, amr, network, device, agent)
			SELECT lpad(to_hex(i), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(i), 12, '0'), 'user-' || lpad((i / 10 + 1)::text, 12, '0'), 'durward', 'profile', $2::bigint,
			CASE WHEN i <= $1::bigint / 100 THEN 1000000 ELSE $3::bigint END, $2::bigint, '', 'pwd', '192.0.2.0/24', 'curl', 'curl' FROM generate_series(1, $1::bigint) i`,
		`INSERT INTO grants (id, session_id, client_id, scope, generation, salt, key_number, network, agent, created_at, idle_ends, ends)
			SELECT lpad(to_hex(i), 32, '0'), lpad(to_hex(i), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(i), 12, '0'), 'durward', 'profile', 0,
			convert_to(lpad(i::text, 32, '0'), 'UTF8'), 1, '192.0.2.0/24', 'curl', $2::bigint, $3::bigint, $3::bigint FROM generate_series(1, $1::bigint) i`,
	},
}

func manyIn(binary, dir string, sessions int, length time.Duration, name, driver, filled, empty, wal string) ([]row,
	error) {
	full, few := filepath.Join(dir, "many"), filepath.Join(dir, "few")
	if driver == "pgx" {
		full, few = full+"-pg", few+"-pg"
	}
	for data, url := range map[string]string{full: filled, few: empty} {
		if err := addUser(binary, data, url); err != nil {
			return nil, err
		}
	}
	db, err := sql.Open(driver, strings.Replace(filled, "sqlite:", "file:", 1))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	began := time.Now()
	if err := fill(db, driver, sessions); err != nil {
		return nil, err
	}
	filling := time.Since(began)
	tokens, err := tokensOf(db, full)
	if err != nil {
		return nil, err
	}
	small, _, err := begin(binary, few, empty)
	if err != nil {
		return nil, err
	}
	defer small.end()
	big, starting, err := begin(binary, full, filled)
	if err != nil {
		return nil, err
	}
	defer big.end()
	held, err := signedIn(small)
	if err != nil {
		return nil, err
	}

	// Each client refreshes sessions from all over the table, none twice.
	order := rand.Perm(sessions - sessions/100)
	next := make([]int, clients)
	worst := make([]time.Duration, clients)
	anyOf := func(c int) error {
		i := next[c]*clients + c
		next[c]++
		if i >= len(order) {
			return errors.New("all sessions are refreshed; run with more -sessions")
		}
		token := tokens(sessions/100 + 1 + order[i])
		at := time.Now()
		err := refresh(big, &token)
		worst[c] = max(worst[c], time.Since(at))
		return err
	}
	var fullRate, emptyRate []float64
	for range 3 {
		r, err := rate(clients, length/3, func(c int) error { return refresh(small, &held[c]) })
		if err != nil {
			return nil, err
		}
		emptyRate = append(emptyRate, r)
		if r, err = rate(clients, length/3, anyOf); err != nil {
			return nil, err
		}
		fullRate = append(fullRate, r)
	}
	what := fmt.Sprintf("%s, %d sessions", name, sessions)
	rows := []row{{"refresh over HTTP, " + what, fmt.Sprintf("%.0f/s", median(fullRate)),
		fmt.Sprintf("empty database %.0f/s", median(emptyRate)),
		fmt.Sprintf("%.2f", median(fullRate)/median(emptyRate)), "≥ 0.50"}}

	calm := slices.Max(worst)
	clear(worst)
	sweeps, err := swept(filled, length, func() error { _, err := rate(clients, length, anyOf); return err })
	if err != nil {
		return nil, err
	}
	rows = append(rows, row{"slowest refresh during a sweep each second, " + what, rounded(slices.Max(worst)),
		"without " + rounded(calm), "", ""},
		row{"one sweep of a thousand ended sessions, " + what, rounded(median(sweeps)), "", "", ""})

	signIn, err := rate(clients, length, func(int) error {
		_, err := post(big.url+"/api/auth/login", map[string]string{"email": email, "password": password})
		return err
	})
	if err != nil {
		return nil, err
	}
	memory, err := resident(big.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	rows = append(rows, row{"sign-ins over HTTP, " + what, fmt.Sprintf("%.1f/s", signIn), "", "", ""},
		row{"start to first response, " + what, rounded(starting), "", "", ""},
		row{"memory of the process after these measurements, " + what,
			fmt.Sprintf("%.1f MB", float64(memory)/1000*1.024), "", "", ""},
		row{"filling the database, " + what, filling.Round(time.Second).String(), "", "", ""})
	if wal != "" {
		under, held, after, err := walSizes(db, wal, length, anyOf)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{"largest WAL under refreshes, " + what, mib(under), "", "", "64 MiB"},
			row{"the same, beside an open reader, " + what, mib(held), "after the reader ended " + mib(after), "",
				"64 MiB after it ended"})
	}
	return rows, nil
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

func fill(db *sql.DB, driver string, sessions int) error {
	ctx := context.Background()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	now := time.Now()
	for i, statement := range fillings[driver] {
		args := []any{sessions, now.UnixMicro(), now.Add(30 * 24 * time.Hour).UnixMicro()}
		if _, err := conn.ExecContext(ctx, statement, args[:min(i+2, 3)]...); err != nil {
			return fmt.Errorf("filling: %w", err)
		}
	}
	if driver == "pgx" { // like autovacuum later
		_, err = conn.ExecContext(ctx, `VACUUM ANALYZE`)
	} else {
		_, err = conn.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	}
	return err
}

// tokensOf returns a function that computes the first refresh token of the session with number i,
// with the keys of a data folder.
func tokensOf(db *sql.DB, data string) (func(i int) string, error) {
	master, err := seal.Open(filepath.Join(data, "master.key"), false)
	if err != nil {
		return nil, err
	}
	var id, epoch string
	var sealed []byte
	if err := db.QueryRow(`SELECT id, sealed, (SELECT value FROM meta WHERE name = 'epoch') FROM keys WHERE use_for = 'refresh'`).Scan(&id, &sealed, &epoch); err != nil {
		return nil, err
	}
	secret, err := master.Unseal("refresh key", id, sealed)
	if err != nil {
		return nil, err
	}
	sum := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	key := sum(secret, []byte("epoch "+epoch))
	return func(i int) string {
		var raw [48]byte
		raw[0], raw[1] = 1, 1
		binary.BigEndian.PutUint64(raw[10:18], uint64(i))
		copy(raw[22:24], sum(key, raw[:22]))
		copy(raw[24:], sum(key, raw[:22], fmt.Appendf(nil, "%032d", i)))
		return "dr_" + base64.RawURLEncoding.EncodeToString(raw[:])
	}, nil
}

// swept sweeps ended sessions once a second during work and returns the duration of each sweep.
func swept(url string, length time.Duration, work func() error) (took []time.Duration, err error) {
	ctx := context.Background()
	db, err := store.Open(ctx, store.Config{URL: url})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var sweeper sync.WaitGroup
	var failed error
	stop := make(chan struct{})
	sweeper.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for failed == nil {
			at := time.Now()
			failed = db.PurgeSessions(ctx, time.Now().Add(-7*24*time.Hour))
			took = append(took, time.Since(at))
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	err = work()
	close(stop)
	sweeper.Wait()
	return took, errors.Join(err, failed)
}

// walSizes returns the largest size of the write-ahead log during refreshes, without a reader and
// with an open read transaction, and its size after that transaction ended.
func walSizes(db *sql.DB, wal string, length time.Duration, work func(int) error) (under, held, after int64,
	err error) {
	watched := func() (largest int64, err error) {
		stop := make(chan struct{})
		var watcher sync.WaitGroup
		watcher.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				if info, err := os.Stat(wal); err == nil {
					largest = max(largest, info.Size())
				}
				select {
				case <-stop:
					return
				case <-tick.C:
				}
			}
		})
		_, err = rate(clients, length, work)
		close(stop)
		watcher.Wait()
		return largest, err
	}
	if under, err = watched(); err != nil {
		return 0, 0, 0, err
	}
	ctx := context.Background()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, 0, 0, err
	}
	var n int
	if err := tx.QueryRow(`SELECT count(*) FROM meta`).Scan(&n); err != nil {
		return 0, 0, 0, err
	}
	held, err = watched()
	if err := errors.Join(err, tx.Rollback()); err != nil {
		return 0, 0, 0, err
	}
	// The next commits checkpoint the log and truncate the file.
	if _, err := watched(); err != nil {
		return 0, 0, 0, err
	}
	info, err := os.Stat(wal)
	if err != nil {
		return 0, 0, 0, err
	}
	return under, held, info.Size(), nil
}
