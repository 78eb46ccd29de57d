package store

import (
	"cmp"
	"context"
	"slices"
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

// AddCounts adds counts to those of the same period, node, name and labels, and to the sums of their hour.
func (db *DB) AddCounts(ctx context.Context, counts []Count) error {
	counts = slices.Clone(counts)
	slices.SortFunc(counts, func(a, b Count) int { // nodes that add at the same time lock rows in one order
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Labels, b.Labels))
	})
	return db.do(ctx, func(tx *tx) error {
		for _, c := range counts {
			tx.exec(`INSERT INTO counts (at, node, name, labels, n) VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (at, node, name, labels) DO UPDATE SET n = counts.n + excluded.n`,
				micros(c.At.Truncate(CountPeriod)), c.Node, c.Name, c.Labels, c.N)
			tx.exec(`INSERT INTO hour_counts (at, name, labels, n) VALUES ($1, $2, $3, $4)
				ON CONFLICT (at, name, labels) DO UPDATE SET n = hour_counts.n + excluded.n`,
				micros(c.At.Truncate(time.Hour)), c.Name, c.Labels, c.N)
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
	first -= first % width
	// A week has 12 times fewer rows of hours, and those have no nodes. The last hour may end after until.
	hours := first
	if hour := time.Hour.Microseconds(); width%hour == 0 {
		hours = max(first, micros(until)-micros(until)%hour)
	}
	return list[Count](db.reader(ctx), `SELECT at - at % $3 AS start, name, labels, CAST(sum(n) AS BIGINT) FROM
		(SELECT at, name, labels, n FROM hour_counts WHERE at >= $1 AND at < $4
		UNION ALL SELECT at, name, labels, n FROM counts WHERE at >= $4 AND at < $2) AS parts
		GROUP BY start, name, labels ORDER BY start, name, labels`,
		first, micros(until), width, hours)
}

// PurgeCounts deletes counts older than kept.
func (db *DB) PurgeCounts(ctx context.Context, kept time.Duration) error {
	before := micros(db.rowTime().Add(-kept))
	return db.do(ctx, func(tx *tx) error {
		tx.exec(`DELETE FROM counts WHERE at < $1`, before)
		return tx.exec(`DELETE FROM hour_counts WHERE at < $1`, before)
	})
}
