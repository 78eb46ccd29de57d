package store

import (
	"slices"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// Counts are summed over the nodes and the periods of a step, and deleted when they are old.
func TestCounts(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		start := noon.Truncate(time.Hour)
		clock := testkit.NewClock(start)
		db, err := Open(t.Context(), Config{URL: engine(t), Now: clock.Now})
		must(t, err)
		t.Cleanup(func() { _ = db.Close() })
		for minute := range 15 { // three periods, each of two nodes
			for _, node := range []string{"a", "b"} {
				at := start.Add(time.Duration(minute)*time.Minute + 59*time.Second)
				must(t, db.AddCounts(t.Context(), []Count{
					{At: at, Node: node, Name: "refusals", Labels: "code=A", N: 1},
					{At: at, Node: node, Name: "refusals", Labels: "code=B", N: 10},
				}))
			}
		}
		row := func(minute int, labels string, n int64) Count {
			return Count{At: start.Add(time.Duration(minute) * time.Minute), Name: "refusals", Labels: labels, N: n}
		}
		periods := []Count{
			row(0, "code=A", 10), row(0, "code=B", 100),
			row(5, "code=A", 10), row(5, "code=B", 100),
			row(10, "code=A", 10), row(10, "code=B", 100),
		}
		hour := []Count{row(0, "code=A", 30), row(0, "code=B", 300)}
		for name, c := range map[string]struct {
			since, until, step time.Duration
			want               []Count
		}{
			"all periods":                   {0, time.Hour, 0, periods},
			"from within a period":          {7 * time.Minute, time.Hour, CountPeriod, periods[2:]},
			"until the start of a period":   {0, 10 * time.Minute, CountPeriod, periods[:4]},
			"a step of no whole period":     {0, time.Hour, CountPeriod + time.Minute, periods},
			"an hour, from within its step": {20 * time.Minute, time.Hour, time.Hour, hour},
			"after the last":                {time.Hour, 2 * time.Hour, time.Hour, nil},
		} {
			got, err := db.Counts(t.Context(), start.Add(c.since), start.Add(c.until), c.step)
			same := slices.EqualFunc(got, c.want, func(a, b Count) bool {
				return a.At.Equal(b.At) && a.Node == b.Node && a.Name == b.Name && a.Labels == b.Labels && a.N == b.N
			})
			if err != nil || !same {
				t.Errorf("%s: got %+v, %v, want %+v", name, got, err, c.want)
			}
		}
		clock.Advance(24*time.Hour + CountPeriod)
		must(t, db.PurgeCounts(t.Context(), 24*time.Hour))
		if got, err := db.Counts(t.Context(), start, start.Add(time.Hour), 0); err != nil || len(got) != 4 {
			t.Errorf("after the purge: %+v, %v, want those of the last two periods", got, err)
		}
	})
}
