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

// The feed gives every number once it is seen, however late; what is told again is
// told while something could still come before it, and no longer.
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
			t.Fatalf("what comes after %d is not in memory", after)
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
	f.take([]revoked.Entry{entry(3, -time.Hour), entry(7, -2*time.Minute)}, "e", true, start)
	check("loaded", 7, nil, 7)
	f.take([]revoked.Entry{entry(8, 0), entry(10, 0)}, "e", false, start)
	check("a gap", 7, []int64{8, 10}, 8)
	tag := f.after(8).Version
	f.take([]revoked.Entry{entry(8, 0), entry(10, 0)}, "e", false, start.Add(59*time.Second))
	if f.after(8).Version != tag {
		t.Error("nothing came, and the ETag is another")
	}
	changed := f.after(8).changed
	f.take([]revoked.Entry{entry(9, 0), entry(10, 0)}, "e", false, start.Add(59*time.Second+1))
	select {
	case <-changed:
	default:
		t.Error("nobody is told of what came late")
	}
	if f.after(8).Version == tag {
		t.Error("something came late, and the ETag is the same")
	}
	check("filled", 8, []int64{9, 10}, 10)
	f.take([]revoked.Entry{entry(12, time.Minute)}, "e", false, start.Add(time.Minute))
	check("another gap", 10, []int64{12}, 10)
	f.take(nil, "e", false, start.Add(2*time.Minute-1))
	check("not yet", 10, []int64{12}, 10)
	f.take(nil, "e", false, start.Add(2*time.Minute))
	check("nothing can come in it", 10, []int64{12}, 12)
	f.take(nil, "e", false, start.Add(10*time.Minute))
	if f.after(7).InMemory || !f.after(12).InMemory {
		t.Error("what everybody has seen for long is kept")
	}
	f.take([]revoked.Entry{entry(1, 10*time.Minute)}, "another", false, start.Add(10*time.Minute))
	if f.after(12).Epoch != "e" {
		t.Error("part of another epoch is taken for all of it")
	}
	tag = f.after(12).Version
	f.take([]revoked.Entry{entry(1, 10*time.Minute)}, "another", true, start.Add(10*time.Minute))
	check("another epoch", 0, []int64{1}, 1)
	if f.after(1).Version == tag {
		t.Error("the ETag is the same in another epoch")
	}
}

// Who takes a long list page by page is given what comes late between two pages too.
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
	f.take(entries, "e", true, start)
	told := make(map[int64]bool)
	ask := func(after int64) Page {
		l := f.after(after)
		if !l.InMemory || l.More && l.Next <= after {
			t.Fatalf("after %d: %+v", after, l)
		}
		for _, e := range l.Entries {
			told[e.Seq] = true
		}
		return l
	}
	page := ask(0)
	f.take([]revoked.Entry{entry(late)}, "e", false, start.Add(time.Second))
	for page.More {
		page = ask(page.Next)
	}
	ask(page.Next)
	if len(told) != many || !told[late] {
		t.Errorf("%d of %d were told, the late one %v", len(told), many, told[late])
	}
	// Once nothing can come late any more, pages are short.
	if n := len(f.after(0).Entries); n != pageSize {
		t.Errorf("a page of %d, want %d", n, pageSize)
	}
}

// An answer says that it is complete as of the poll that it was filled by, and not of
// one that came while it was on its way.
func TestAsOf(t *testing.T) {
	t.Parallel()
	start := time.Now()
	f := NewFeed(nil, func() time.Time { return start })
	for second := range 3 {
		began := start.Add(time.Duration(second) * time.Second)
		f.take([]revoked.Entry{{Seq: int64(second + 1), Kind: revoked.Session, Value: "s", At: began, Until: start.Add(time.Hour)}}, "e", second == 0, began)
		l := f.after(0)
		f.take(nil, "e", false, began.Add(time.Millisecond))
		if !l.AsOf.Equal(began) || len(l.Entries) != second+1 {
			t.Errorf("%d items as of %s, want %d as of %s", len(l.Entries), l.AsOf, second+1, began)
		}
	}
}

// A node that starts with a long list reads it with questions that are each short.
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
		SELECT 'sid', 'session ' || i, 0, 9000000000000000 FROM generate_series(1, %d) i`, many)).CombinedOutput()
	if err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
	f := NewFeed(db, time.Now)
	entries, _, err := f.Poll(t.Context(), 0, time.Minute)
	if err != nil || len(entries) != many || entries[many-1].Value != fmt.Sprint("session ", many) {
		t.Errorf("%d of %d, %v", len(entries), many, err)
	}
}
