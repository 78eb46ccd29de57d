package revocation

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/store"
)

// A page contains every entry after its number, however late it committed. Entries behind a gap are
// repeated until no transaction can fill the gap.
func TestLateNumbers(t *testing.T) {
	t.Parallel()
	db, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "d.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	start := time.Now()
	f := NewFeed(db, func() time.Time { return start })
	entry := func(seq int64, at time.Duration) revoked.Entry {
		return revoked.Entry{Seq: seq, Kind: revoked.Session, Value: fmt.Sprint(seq), At: start.Add(at), Until: start.Add(time.Hour)}
	}
	items := func(after int64) (seqs []int64, next int64) {
		l := f.after(after)
		if !l.InMemory {
			t.Fatalf("the entries after %d are not in memory", after)
		}
		for _, e := range l.Entries {
			seqs = append(seqs, e.Seq)
		}
		return seqs, l.Next
	}
	check := func(what string, after int64, want []int64, wantNext int64) {
		t.Helper()
		if got, next := items(after); !slices.Equal(got, want) || next != wantNext {
			t.Errorf("%s: after %d: %v next %d, want %v next %d", what, after, got, next, want, wantNext)
		}
	}
	f.take(nil, "e", true, 7, start, start)
	check("after loading", 7, nil, 7)
	f.take([]revoked.Entry{entry(8, 0), entry(10, 0)}, "e", false, 0, start, start)
	check("gap before 10", 7, []int64{8, 10}, 8)
	tag := f.after(8).Version
	f.take([]revoked.Entry{entry(8, 0), entry(10, 0)}, "e", false, 0, start.Add(48*time.Hour), start.Add(59*time.Second)) // the clock jumps
	check("gap before 10, the clock jumps", 7, []int64{8, 10}, 8)
	if f.after(8).Version != tag {
		t.Error("ETag changed without a new entry")
	}
	changed := f.after(8).changed
	f.take([]revoked.Entry{entry(9, 0), entry(10, 0)}, "e", false, 0, start.Add(59*time.Second+1), start.Add(59*time.Second+1))
	select {
	case <-changed:
	default:
		t.Error("a late entry wakes no waiting client")
	}
	if f.after(8).Version == tag {
		t.Error("ETag did not change with a late entry")
	}
	check("gap filled", 8, []int64{9, 10}, 10)
	f.take([]revoked.Entry{entry(12, time.Minute)}, "e", false, 0, start.Add(time.Minute), start.Add(time.Minute))
	check("another gap", 10, []int64{12}, 10)
	f.take(nil, "e", false, 0, start.Add(2*time.Minute-1), start.Add(2*time.Minute-1))
	check("gap younger than a minute", 10, []int64{12}, 10)
	f.take(nil, "e", false, 0, start.Add(2*time.Minute), start.Add(2*time.Minute))
	check("gap older than a minute", 10, []int64{12}, 12)
	f.take(nil, "e", false, 0, start.Add(10*time.Minute), start.Add(10*time.Minute))
	if f.after(7).InMemory || !f.after(12).InMemory {
		t.Error("old entries are still in memory, or new ones are not")
	}
	f.take([]revoked.Entry{entry(1, 10*time.Minute)}, "another", false, 0, start.Add(10*time.Minute), start.Add(10*time.Minute))
	if f.after(12).Epoch != "e" {
		t.Error("a partial read replaced the epoch")
	}
	tag = f.after(12).Version
	f.take([]revoked.Entry{entry(1, 10*time.Minute)}, "another", true, 0, start.Add(10*time.Minute), start.Add(10*time.Minute))
	check("new epoch", 0, []int64{1}, 1)
	if f.after(1).Version == tag {
		t.Error("ETag did not change with the epoch")
	}
}

// A client that reads a long list page by page also receives an entry that commits between two pages.
func TestLateBetweenPages(t *testing.T) {
	t.Parallel()
	start := time.Now()
	f := NewFeed(nil, func() time.Time { return start })
	var entries []revoked.Entry
	entry := func(seq int64) revoked.Entry {
		return revoked.Entry{Seq: seq, Kind: revoked.Session, Value: fmt.Sprint(seq), At: start, Until: start.Add(time.Hour)}
	}
	const late, many = 7, 3*pageSize + 20
	for seq := int64(1); seq <= many; seq++ {
		if seq != late {
			entries = append(entries, entry(seq))
		}
	}
	f.take(entries, "e", true, 0, start, start)
	received := make(map[int64]bool)
	ask := func(after int64) Page {
		l := f.after(after)
		if !l.InMemory || l.More && l.Next <= after {
			t.Fatalf("after %d: %+v", after, l)
		}
		for _, e := range l.Entries {
			received[e.Seq] = true
		}
		return l
	}
	page := ask(0)
	f.take([]revoked.Entry{entry(late)}, "e", false, 0, start.Add(time.Second), start.Add(time.Second))
	for page.More {
		page = ask(page.Next)
	}
	ask(page.Next)
	if len(received) != many || !received[late] {
		t.Errorf("received %d of %d entries, the late one: %v", len(received), many, received[late])
	}
	// Settled entries come in pages of the normal size.
	if n := len(f.after(0).Entries); n != pageSize {
		t.Errorf("page of %d entries, want %d", n, pageSize)
	}
}

// AsOf of a page is the start of the poll that filled it, not of a later one.
func TestAsOf(t *testing.T) {
	t.Parallel()
	start := time.Now()
	f := NewFeed(nil, func() time.Time { return start })
	for second := range 3 {
		began := start.Add(time.Duration(second) * time.Second)
		f.take([]revoked.Entry{{Seq: int64(second + 1), Kind: revoked.Session, Value: "s", At: began, Until: start.Add(time.Hour)}}, "e", second == 0, 0, began, began)
		l := f.after(0)
		f.take(nil, "e", false, 0, began.Add(time.Millisecond), began.Add(time.Millisecond))
		if !l.AsOf.Equal(began) || len(l.Entries) != second+1 {
			t.Errorf("%d items as of %s, want %d as of %s", len(l.Entries), l.AsOf, second+1, began)
		}
	}
}

// A long list is read with several short queries.
func TestLongListIsRead(t *testing.T) {
	t.Parallel()
	address := services.Database(t) + "&statement_timeout=150ms"
	db, err := store.Open(t.Context(), store.Config{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const many = 300_000
	out, err := exec.Command("psql", "-Xq", strings.TrimSuffix(address, "&statement_timeout=150ms"), "-c", fmt.Sprintf(`INSERT INTO revocations (kind, value, at, until)
		SELECT 'sid', 'session ' || i, CASE WHEN i < %d THEN 0 ELSE %d END, 9000000000000000 FROM generate_series(1, %d) i`,
		many, time.Now().UnixMicro(), many)).CombinedOutput()
	if err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
	f := NewFeed(db, time.Now)
	read, most, last := 0, 0, ""
	_, err = f.Poll(t.Context(), 0, time.Minute, func(entries []revoked.Entry) {
		read, most, last = read+len(entries), max(most, len(entries)), entries[len(entries)-1].Value
	})
	if err != nil || read != many || most > pageSize || last != fmt.Sprint("session ", many) {
		t.Errorf("%d of %d, up to %d at once, the last is %s, %v", read, many, most, last, err)
	}
	if f.base != many-1 || len(f.entries) != 1 || f.settled != many {
		t.Errorf("settled before %d, %d entries in memory, settled %d; want all but the last settled before", f.base, len(f.entries), f.settled)
	}
}
