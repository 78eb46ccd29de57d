package doctor

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// bigHAR is a HAR of a given length, written while it is read: entries of 64 KiB, each tenth one
// with a body of 3 MiB, and one refusal in the middle.
type bigHAR struct {
	length  int
	written int
	entries int
	buf     []byte
	ended   bool
}

func (b *bigHAR) Read(p []byte) (int, error) {
	for len(b.buf) == 0 {
		if b.ended {
			return 0, io.EOF
		}
		var s string
		switch {
		case b.entries == 0:
			s = `{"log":{"version":"1.2","creator":{"name":"Firefox","version":"140"},"entries":[`
		case b.written >= b.length:
			s = `]}}`
			b.ended = true
		}
		if !b.ended {
			if b.entries > 0 {
				s += ","
			}
			b.entries++
			status, size := 200, 60<<10
			if b.entries%10 == 0 {
				size = 3 << 20
			}
			if b.entries == 100 {
				status, size = 401, 20
			}
			s += fmt.Sprintf(`{"startedDateTime":"2026-11-20T10:07:12.000Z","time":5,"request":{"method":"GET","url":"https://a.example/%d",`+
				`"httpVersion":"HTTP/2","headers":[{"name":"Authorization","value":"Bearer %s"}],"queryString":[],"cookies":[]},`+
				`"response":{"status":%d,"statusText":"","httpVersion":"HTTP/2","headers":[{"name":"content-type","value":"text/plain"}],`+
				`"content":{"size":%d,"mimeType":"text/plain","text":"`, b.entries, secret, status, size)
			s += strings.Repeat(`line of a body\n\u00e4`, size/20) + `"}}}`
		}
		b.buf = []byte(s)
	}
	n := copy(p, b.buf)
	b.buf = b.buf[n:]
	b.written += n
	return n, nil
}

// heapPeak runs f and returns how far the heap grew beyond its size before, in bytes.
func heapPeak(f func()) int {
	runtime.GC()
	var before, m runtime.MemStats
	runtime.ReadMemStats(&before)
	done := make(chan struct{})
	peak := make(chan uint64)
	go func() {
		var most uint64
		for {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-done:
				peak <- most
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	f()
	close(done)
	return int(<-peak) - int(before.HeapInuse)
}

func TestReadBigHAR(t *testing.T) {
	// Not parallel: the heap is measured.
	var c *Case
	var err error
	grown := heapPeak(func() { c, err = Read(&bigHAR{length: 120 << 20}, Options{}) })
	if err != nil {
		t.Fatal(err)
	}
	e := c.Refusal()
	if e == nil || status(*e) != 401 || e.Entry != 100 || e.Request.URL != "https://a.example/100" {
		t.Errorf("subject is exchange %d of %d, want the 401 of entry 100", c.Subject, len(c.Exchanges))
	}
	t.Logf("the heap grew by %d MiB", grown>>20)
	if most := 100 << 20; grown > most {
		t.Errorf("reading took %d MiB of heap, want at most %d", grown>>20, most>>20)
	}
	if got := strings.Join(c.Limits, " "); !strings.Contains(got, "100 MiB") {
		t.Errorf("limits of a HAR of 120 MiB = %q, want the bound of 100 MiB", got)
	}
}

func TestReadHARBounds(t *testing.T) {
	t.Parallel()
	entry := func(status int, url string) string {
		return fmt.Sprintf(`{"request":{"method":"GET","url":%q,"headers":[]},"response":{"status":%d,"headers":[]}}`, url, status)
	}
	har := func(entries ...string) string {
		return `{"log":{"version":"1.2","creator":{"name":"x"},"entries":[` + strings.Join(entries, ",") + `]}}`
	}
	many := make([]string, maxEntries+5)
	for i := range many {
		many[i] = entry(200, "https://a.example/")
	}
	many[3] = entry(401, "https://a.example/x")
	for _, row := range []struct {
		name, input string
		o           Options
		entry       int // of the subject
		limit       string
		err         string
	}{
		{name: "no entries: error", input: har(), err: "no entries"},
		{name: "entries that are no objects: error", input: `{"log":{"entries":[0,[],"a"]}}`, err: "no entries"},
		{name: "one entry alone: read", input: entry(401, "https://a.example/"), entry: 1},
		{name: "entry picked: subject", input: har(entry(401, "a"), entry(401, "b"), entry(401, "c")), o: Options{Entry: 2}, entry: 2},
		{name: "entry beyond the last: error", input: har(entry(401, "a")), o: Options{Entry: 2}, err: "no entry 2"},
		{name: "two refusals: the last", input: har(entry(401, "a"), entry(403, "b"), entry(200, "c")), entry: 2},
		{name: "refusal overcome later: the other one", input: har(entry(401, "a"), entry(401, "b"), entry(200, "b")), entry: 1},
		{name: "all refusals overcome: the last refusal", input: har(entry(401, "b"), entry(200, "b")), entry: 1},
		{name: "cut within an entry: entries before it", input: har(entry(401, "a"), entry(200, "b"))[:150], entry: 1, limit: "broken or cut after entry 1"},
		{name: "cut within the first entry: error", input: har(entry(401, "a"))[:90], o: Options{As: KindHAR}, err: "not valid JSON"},
		{name: "not JSON: error", input: "HTTP/1.1 401", o: Options{As: KindHAR}, err: "not valid JSON"},
		{name: "too many entries: bound", input: har(many...), entry: 4, limit: "50,000 entries"},
		{name: "a long text: cut", input: strings.Replace(har(entry(401, "a")), `"headers":[]}}`, `"headers":[],"content":{"text":"`+strings.Repeat(`a\\\u0041`, 100_000)+`"}}}`, 1), entry: 1, limit: "longer than 256 KiB"},
		{name: "other types than texts and numbers: ignored", input: `{"log":{"entries":[{"request":{"method":1,"url":null,"headers":{"a":1}},"response":{"status":"401","headers":[1,{"name":2},{"name":"a","value":null}]}}]}}`, entry: 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c, err := Read(strings.NewReader(row.input), row.o)
			if row.err != "" {
				if err == nil || !strings.Contains(err.Error(), row.err) {
					t.Fatalf("Read = %v, want an error with %q", err, row.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Kind != KindHAR || c.Refusal() == nil || c.Refusal().Entry != row.entry {
				t.Errorf("kind %s, subject %d of %d exchanges, want entry %d", c.Kind, c.Subject, len(c.Exchanges), row.entry)
			}
			if got := strings.Join(c.Limits, " "); !strings.Contains(got, row.limit) {
				t.Errorf("limits = %q, want %q", got, row.limit)
			}
		})
	}
}

// TestReadHARDrops checks that the refusals of a HAR with many entries are kept.
func TestReadHARDrops(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(`{"log":{"entries":[`)
	for i := range 150 {
		if i > 0 {
			b.WriteByte(',')
		}
		status := 200
		if i == 10 {
			status = 401
		}
		fmt.Fprintf(&b, `{"request":{"method":"GET","url":"https://a.example/%d%s","headers":[]},"response":{"status":%d,"headers":[]}}`, i, strings.Repeat("x", 200<<10), status)
	}
	b.WriteString(`]}}`)
	c, err := Read(strings.NewReader(b.String()), Options{})
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, e := range c.Exchanges {
		size += sizeOf(e)
	}
	if e := c.Refusal(); e == nil || e.Entry != 11 || size > maxKept || len(c.Limits) != 1 {
		t.Errorf("subject %d, %d exchanges of %d bytes, limits %q; want the refusal of entry 11 in at most %d bytes and one limit",
			c.Subject, len(c.Exchanges), size, c.Limits, maxKept)
	}
}

// The shortener keeps JSON valid and texts below its bound, wherever the reads end.
func TestShortener(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(`ab\\\"\u00e4`, maxHARText/8)
	input := `{"a":"` + long + `","b":"short \" text","c":["` + long + `\\"]}`
	want := ""
	for _, size := range []int{1 << 20, 4096, 7, 1} {
		s := &shortener{r: strings.NewReader(input)}
		var b strings.Builder
		if _, err := io.CopyBuffer(&b, struct{ io.Reader }{s}, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); want == "" {
			want = got
		} else if got != want {
			t.Errorf("reads of %d bytes give another result", size)
		}
		if s.cut != 2 {
			t.Errorf("cut = %d, want 2", s.cut)
		}
	}
	if !strings.Contains(want, `"b":"short \" text"`) || len(want) > 2*maxHARText+200 {
		t.Errorf("got %d octets, want the short text whole and the long ones cut", len(want))
	}
	if !jsontext.Value(want).IsValid() {
		t.Error("the result is not JSON")
	}
}

func TestReadHARFiles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"chromium", "chromium-sanitized", "firefox"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			octets, err := os.ReadFile("testdata/har/" + name + ".har")
			if err != nil {
				t.Fatal(err)
			}
			c, err := Read(strings.NewReader(string(octets)), Options{})
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "testdata/har/"+name+".txt", summary(c))
		})
	}
}

func BenchmarkReadHAR(b *testing.B) {
	for b.Loop() {
		if _, err := Read(&bigHAR{length: 99 << 20}, Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(99 << 20)
}
