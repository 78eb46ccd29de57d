package store

import (
	"context"
	"time"
)

// CountPeriod is the period of one row of counts.
const CountPeriod = 5 * time.Minute

// Count is how often something happened within a period. Package metrics lists the names.
type Count struct {
	At     time.Time // start of the period
	Node   string    // empty for the sum of all nodes
	Name   string    // such as "refusals"
	Labels string    // such as "code=INVALID_TOKEN scheme=Bearer"; no value has a space
	N      int64
}

func (c *Count) fields() []any { return []any{into(&c.At), &c.Name, &c.Labels, &c.N} }

// AddCounts adds counts to those of the same period, node, name and labels.
func (db *DB) AddCounts(ctx context.Context, counts []Count) error {
	return db.do(ctx, func(tx *tx) error {
		for _, c := range counts {
			tx.exec(`INSERT INTO counts (at, node, name, labels, n) VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (at, node, name, labels) DO UPDATE SET n = counts.n + excluded.n`,
				micros(c.At.Truncate(CountPeriod)), c.Node, c.Name, c.Labels, c.N)
		}
		return nil
	})
}

// Counts returns the sums of the counts of all nodes, oldest first: one row for each step, name and labels
// from since on and before until. Counts rounds step down to whole periods, one at least, and since down to a
// whole step of Unix time.
func (db *DB) Counts(ctx context.Context, since, until time.Time, step time.Duration) ([]Count, error) {
	width := max(step.Truncate(CountPeriod), CountPeriod).Microseconds()
	first := micros(since)
	return list[Count](db.reader(ctx), `SELECT at - at % $3 AS start, name, labels, CAST(sum(n) AS BIGINT) FROM counts
		WHERE at >= $1 AND at < $2 GROUP BY start, name, labels ORDER BY start, name, labels`,
		first-first%width, micros(until), width)
}

// PurgeCounts deletes counts older than kept.
func (db *DB) PurgeCounts(ctx context.Context, kept time.Duration) error {
	return db.exec(ctx, `DELETE FROM counts WHERE at < $1`, micros(db.rowTime().Add(-kept)))
}
