package htpasswd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/durward-auth/durward"
)

// within polls for a second of virtual time: by then an old credential must no longer work.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		asked := time.Now()
		if ok() {
			return
		}
		if asked.Sub(start) > time.Second {
			t.Fatalf("%s: not detected within a second", what)
		}
	}
}

// A changed password and a removed user are refused within a second, although correct passwords are
// remembered. A file with a mistake fails until it is repaired.
func TestReload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := "ada:" + good + "\ngrace:" + good + "\n"
		second := "ada:$2y$05$Zx/F8kLmge7Vel6nSx04b.j.21nn3DYFY2SXZc/e/.ZtSuKfCTvg.\n"
		config := Config{}
		log := logTo(&config.Log)
		f := open(t, first, config)
		path := f.file.path
		check := durward.Remember(f.Check, f.State)
		says := func(user, password string) string {
			_, err := check(t.Context(), user, password)
			var code durward.Code
			switch {
			case err == nil:
				return ""
			case errors.As(err, &code):
				return string(code)
			}
			return "outage"
		}
		want := func(when, user, password, want string) {
			t.Helper()
			if got := says(user, password); got != want {
				t.Fatalf("%s: %s: got %q, want %q", when, user, got, want)
			}
		}
		want("first content", "ada", horse, "")
		want("first content", "grace", horse, "")

		replace(t, path, second)
		within(t, "replaced", func() bool { return says("ada", horse) == wrong })
		want("second content", "grace", horse, wrong)
		want("second content", "ada", "pässword", "")

		overwrite(t, path, first)
		within(t, "changed in place", func() bool { return says("ada", horse) == "" })
		want("content changed in place", "ada", "pässword", wrong)

		// A line with a mistake disables its user, also one with a remembered password. It is logged
		// once, however often the file is read.
		log.errors = nil
		replace(t, path, "ada:"+good+"\ngrace:hunter2\n")
		within(t, "line with a mistake", func() bool { return says("grace", horse) == wrong })
		for range 10 {
			time.Sleep(checkInterval)
			want("line with a mistake", "ada", horse, "")
		}
		if len(log.errors) != 1 || !strings.Contains(log.errors[0], path+": line 2: ") {
			t.Errorf("line with a mistake: logged %q, want line 2 once", log.errors)
		}

		replace(t, path, "ada:hunter2\ngrace:hunter2\n")
		within(t, "file of mistakes", func() bool { return says("ada", horse) == "outage" })
		want("file of mistakes", "nobody", horse, "outage")
		_, err := f.Check(t.Context(), "ada", horse)
		if err == nil || !strings.Contains(err.Error(), path+": line 2: ") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("file of mistakes: got %v", err)
		}
		if state, err := f.State(t.Context(), "ada"); state != "" || err == nil || errors.As(err, new(durward.Code)) {
			t.Errorf("file of mistakes: State: got %q, %v", state, err)
		}
		replace(t, path, first)
		within(t, "repaired file", func() bool { return says("ada", horse) == "" })

		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		within(t, "file removed", func() bool { return says("ada", horse) == "outage" })
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkInterval)
		want("named pipe", "ada", horse, "outage")
		replace(t, path, first)
		within(t, "file restored", func() bool { return says("ada", horse) == "" })

		if err := os.Chmod(path, 0o602); err != nil {
			t.Fatal(err)
		}
		within(t, "writable by all users", func() bool { return says("ada", horse) == "outage" })
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		within(t, "mode restored", func() bool { return says("ada", horse) == "" })
	})
}

// The same holds for a file for Digest, by name and by the hash of the name.
func TestReloadDigest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		line, err := DigestLine("SHA-256", "ada", "notes", "old")
		if err != nil {
			t.Fatal(err)
		}
		f := openDigest(t, line+"\n", DigestConfig{})
		path := f.file.path
		hash, err := durward.UserHash("SHA-256", "ada", "notes")
		if err != nil {
			t.Fatal(err)
		}
		says := func() (all [2]string) {
			for i, claim := range []durward.DigestClaim{{User: "ada", Realm: "notes", Algorithm: "SHA-256"}, {UserHash: hash, Realm: "notes", Algorithm: "SHA-256"}} {
				ha1, _, err := f.HA1(t.Context(), claim)
				var code durward.Code
				switch {
				case err == nil:
					all[i] = fmt.Sprintf("%x", ha1[:4])
				case errors.As(err, &code):
					all[i] = string(code)
				default:
					all[i] = "outage"
				}
			}
			return all
		}
		both := func(s string) [2]string { return [2]string{s, s} }
		first := line[len("ada:notes:"):][:8]
		if got := says(); got != both(first) {
			t.Fatalf("first content: got %q, want %s", got, first)
		}
		line, err = DigestLine("SHA-256", "ada", "notes", "new")
		if err != nil {
			t.Fatal(err)
		}
		replace(t, path, line)
		within(t, "replaced", func() bool { return says() == both(line[len("ada:notes:"):][:8]) })
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		within(t, "readable by other users", func() bool { return says() == both("outage") })
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		replace(t, path, "# empty\n")
		within(t, "user removed", func() bool { return says() == both(wrong) })
	})
}

// The file is checked at most twice a second, and read only if it has changed.
func TestLooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := write(t, "1")
		reads := 0
		w, err := watch(path, nil, func(text []byte, _ os.FileInfo) (string, []error, error) {
			reads++
			return string(text), nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		w.now = func() time.Time { return now }
		load := func(after time.Duration, want string, wantReads int) {
			t.Helper()
			now = now.Add(after)
			if got, err := w.load(t.Context()); err != nil || got != want || reads != wantReads {
				t.Fatalf("got %q, %v after %d reads, want %q after %d", got, err, reads, want, wantReads)
			}
		}
		written := func(text string, at time.Time) {
			t.Helper()
			replace(t, path, text)
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
		start := now
		written("2", start.Add(-time.Hour))
		load(checkInterval-time.Millisecond, "1", 1) // not checked yet
		load(time.Millisecond, "2", 2)               // an older modification time is a change too

		// The file can change again within one tick of its modification time.
		load(checkInterval, "2", 3)
		load(checkInterval, "2", 4)
		load(checkInterval, "2", 5)
		load(checkInterval, "2", 6)
		load(checkInterval, "2", 6) // unchanged for long enough: not read
		load(time.Hour, "2", 6)

		// A change that keeps inode, size and time is detected while the file is new.
		written("3", now)
		load(checkInterval, "3", 7)
		at := now.Add(-checkInterval)
		if err := os.WriteFile(path, []byte("4"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		load(checkInterval, "4", 8)
		load(time.Hour, "4", 8)
		load(time.Hour, "4", 8)

		// Another inode with the same size and time, and another mode, are changes.
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		written("4", info.ModTime())
		load(time.Hour, "4", 9)
		load(time.Hour, "4", 9)
		if err := os.Chmod(path, 0o640); err != nil {
			t.Fatal(err)
		}
		load(time.Hour, "4", 10)
		load(time.Hour, "4", 10)

		// A file that may be half written is read when it is at rest.
		now = now.Add(checkInterval)
		written("5", now.Add(-atRest+time.Millisecond))
		load(0, "4", 10)
		load(atRest-time.Millisecond, "4", 10) // not checked yet
		load(time.Millisecond, "5", 11)

		// A file that is modified again and again is read after waitRest.
		now = now.Add(time.Hour)
		began := now
		for {
			written("6", now)
			got, err := w.load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got == "6" {
				break
			}
			if now.Sub(began) > waitRest {
				t.Fatalf("file that is modified again and again: not read after %v", now.Sub(began))
			}
			now = now.Add(atRest / 2)
		}
		if now.Sub(began) < waitRest-atRest {
			t.Errorf("file that is modified again and again: already read after %v", now.Sub(began))
		}

		// A modification time in the future does not delay the read.
		now = now.Add(time.Hour)
		written("7", now.Add(24*time.Hour))
		got, err := w.load(t.Context())
		if got != "7" || err != nil {
			t.Errorf("modification time in the future: got %q, %v, want 7", got, err)
		}
	})
}

// A file that cannot be read is tried again at each check, even if nothing has changed. One with a
// mistake is read again only after a change.
func TestHeals(t *testing.T) {
	t.Parallel()
	path := write(t, "1")
	reads := 0
	bad := errors.New("bad")
	w, err := watch(path, nil, func(text []byte, _ os.FileInfo) (string, []error, error) {
		if reads++; string(text) == "bad" {
			return "", nil, bad
		}
		return string(text), nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Add(time.Hour)
	w.now = func() time.Time { return now }
	for i, step := range []struct {
		do    func() error
		want  string
		fails string
	}{
		{func() error { return os.Rename(path, path+".away") }, "", "no such file"},
		{func() error { return os.Rename(path+".away", path) }, "1", ""},
		{func() error { return os.WriteFile(path, []byte("bad"), 0o600) }, "", "bad"},
		{func() error { return os.WriteFile(path, []byte("2"), 0o600) }, "2", ""},
		{func() error { return os.WriteFile(path, make([]byte, maxFile+1), 0o600) }, "", "larger"},
		{func() error { return os.WriteFile(path, []byte("3"), 0o600) }, "3", ""},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour)
		got, err := w.load(t.Context())
		if got != step.want || (err == nil) != (step.fails == "") || err != nil && !strings.Contains(err.Error(), step.fails) {
			t.Errorf("step %d: got %q, %v, want %q, %q", i, got, err, step.want, step.fails)
		}
	}
	if err := os.WriteFile(path, []byte("bad"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	for range 2 { // at the second load it is at rest
		_, _ = w.load(t.Context())
		now = now.Add(time.Hour)
	}
	before := reads
	for range 5 {
		if got, err := w.load(t.Context()); got != "" || !errors.Is(err, bad) {
			t.Errorf("file with a mistake: got %q, %v", got, err)
		}
		now = now.Add(time.Hour)
	}
	if reads != before {
		t.Errorf("file with a mistake: read %d more times without a change", reads-before)
	}
}

// A request that waits for the check of another request ends with its context.
func TestLookGivesUp(t *testing.T) {
	t.Parallel()
	w, err := watch(write(t, "1"), nil, func(text []byte, _ os.FileInfo) (string, []error, error) {
		return string(text), nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	w.now = func() time.Time { return later }
	w.looking <- struct{}{} // as a request that checks the file
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("request canceled")
	cancel(gone)
	if got, err := w.load(ctx); got != "" || !errors.Is(err, gone) {
		t.Errorf("got %q, %v", got, err)
	}
	<-w.looking
	if got, err := w.load(t.Context()); got != "1" || err != nil {
		t.Errorf("after the other request: got %q, %v, want 1", got, err)
	}
}

// While a file is replaced again and again, every check reads one complete content of it.
func TestReloadRace(t *testing.T) {
	t.Parallel()
	texts := []string{"ada:" + sha1of + "\n", "# another\nada:" + sha1of + "\ngrace:" + sha1of + "\n"}
	f := open(t, texts[0], Config{InsecureSHA1: true, Waiting: 1 << 20})
	var clock atomic.Int64 // steps of checkInterval: every load reads the file
	start := time.Now()
	f.file.now = func() time.Time { return start.Add(time.Duration(clock.Add(1)) * checkInterval) }
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			path := filepath.Join(filepath.Dir(f.file.path), "next")
			if os.WriteFile(path, []byte(texts[i%2]), 0o600) != nil || os.Rename(path, f.file.path) != nil {
				t.Error("cannot replace the file")
				return
			}
		}
	}()
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for range 250 {
				p, err := f.Check(t.Context(), "ada", horse)
				if err != nil || p.Subject != "ada" {
					t.Errorf("Check: got %+v, %v, want ada", p, err)
					return
				}
				if state, err := f.State(t.Context(), "ada"); err != nil || state != sha1of {
					t.Errorf("State: got %q, %v, want %q", state, err, sha1of)
					return
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	<-done
}
