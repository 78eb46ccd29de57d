package store

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// clients is how many rotate at once.
const clients = 32

// BenchmarkRotateRefresh is the durable move of a grant by 32 clients at once, each
// its own, on both engines; and on Postgres beside it the same statement by a pool of
// connections alone. The server writes to the disk as a user's does.
func BenchmarkRotateRefresh(b *testing.B) {
	var runs atomic.Int64
	benchmark := func(name string, address string, do func(ctx context.Context, db *DB) func(Rotate) error) {
		b.Run(name, func(b *testing.B) {
			ctx := context.Background()
			db, err := Open(ctx, Config{URL: address})
			must(b, err)
			defer db.Close()
			run := runs.Add(1)
			grant := func(client int64) string { return fmt.Sprintf("%d of %d", client, run) }
			person := fmt.Sprint("user-", run)
			addUser(b, db, person)
			for i := range int64(clients) {
				signIn(b, db, person, grant(i), grant(i))
			}
			rotate := do(ctx, db)
			var last atomic.Int64
			b.SetParallelism(clients / 2) // for each of two processors
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				i := last.Add(1) - 1
				for g := uint32(1); p.Next(); g++ {
					r := aMove(grant(i), g, g+1)
					r.At = time.Now()
					if err := rotate(r); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rotations/s")
		})
	}
	method := func(ctx context.Context, db *DB) func(Rotate) error {
		return func(r Rotate) error {
			moved, err := db.RotateRefresh(ctx, r)
			if err == nil && !moved {
				err = ErrNotFound
			}
			return err
		}
	}
	benchmark("sqlite", testkit.SQLite(b), method)
	p := services.NewPostgres(b)
	address := p.Database(b)
	benchmark("postgres", address, method)
	benchmark("raw-postgres", address, func(ctx context.Context, db *DB) func(Rotate) error {
		pool, err := pgxpool.New(ctx, strings.Replace(address, "?", fmt.Sprintf("?pool_max_conns=%d&", maxWriters), 1))
		must(b, err)
		b.Cleanup(pool.Close)
		return func(r Rotate) error {
			tag, err := pool.Exec(ctx, `UPDATE grants SET generation = $3, moved_3 = moved_2, moved_2 = moved_1, moved_1 = moved_0, moved_0 = $4,
				replays = 0, idle_ends = $5, network = $6, agent = $7 WHERE id = $1 AND generation = $2 AND ended_at = 0`,
				grantID(r.GrantID), r.From, r.To, micros(r.At), micros(r.IdleEnds), r.Network, r.Agent)
			if err == nil && tag.RowsAffected() != 1 {
				err = ErrNotFound
			}
			return err
		}
	})
}
