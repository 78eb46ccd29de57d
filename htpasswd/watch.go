package htpasswd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	lookEvery = time.Second / 2      // how often the file is looked at, at most
	atRest    = time.Second / 10     // a file written later than this ago may be half written
	waitRest  = 3 * time.Second / 10 // how long a file that does not come to rest is waited for
	mayDiffer = 2 * time.Second      // how long a file system may give two contents one time
	maxFile   = 16 << 20             // bytes
	maxUsers  = 100_000              // lines that are not comments
	maxLine   = 1024                 // bytes
	maxName   = 255                  // bytes of a user name or realm
	maxSaid   = 20                   // mistakes of a file that are reported one by one
)

// watched is a file that is read anew when it has changed. T is what was read.
type watched[T any] struct {
	path  string
	parse func(text []byte, info fs.FileInfo) (T, error)
	now   func() time.Time

	current atomic.Pointer[contents[T]]

	// looking holds the right to look at the file. Who finds another looking waits
	// for what it sees, or until its request ends.
	looking chan struct{}

	// Held by who looks.

	info    fs.FileInfo // of what was read last; nil if it could not be
	since   time.Time   // when info was first seen
	changed time.Time   // when a change was first seen that was not at rest; zero if none
}

// contents is what was read, or why it could not be, and until when that is good
// without another look.
type contents[T any] struct {
	value T
	err   error
	until time.Time
}

// watch reads the file for the first time.
func watch[T any](path string, parse func([]byte, fs.FileInfo) (T, error)) (*watched[T], error) {
	w := &watched[T]{path: path, parse: parse, now: time.Now, looking: make(chan struct{}, 1)}
	if path == "" {
		return nil, errors.New("htpasswd: Path is empty: it names the file")
	}
	c := w.look(nil)
	if c.err != nil {
		return nil, c.err
	}
	w.current.Store(c)
	return w, nil
}

// load returns what stands in the file.
func (w *watched[T]) load(ctx context.Context) (value T, err error) {
	c := w.current.Load()
	if !w.now().Before(c.until) {
		select {
		case w.looking <- struct{}{}:
		case <-ctx.Done():
			return value, context.Cause(ctx)
		}
		if c = w.current.Load(); !w.now().Before(c.until) {
			c = w.look(c)
			w.current.Store(c)
		}
		<-w.looking
	}
	return c.value, c.err
}

// look looks at the file, and reads it if it may differ from what was read last.
func (w *watched[T]) look(last *contents[T]) *contents[T] {
	now := w.now()
	info, err := os.Stat(w.path)
	if err != nil {
		return w.failed(now, err)
	}
	next := &contents[T]{until: now.Add(lookEvery)}
	if w.info != nil && same(w.info, info) {
		w.changed = time.Time{}
		if now.Sub(w.since) > mayDiffer {
			next.value, next.err = last.value, last.err
			return next
		}
	} else if last != nil && last.err == nil {
		// Half a file must not send people away who are in the other half.
		if w.changed.IsZero() {
			w.changed = now
		}
		if age := now.Sub(info.ModTime()); age >= 0 && age < atRest && now.Sub(w.changed) < waitRest {
			next.value, next.until = last.value, now.Add(atRest)
			return next
		}
	}
	text, info, err := w.read()
	if err != nil {
		return w.failed(now, err)
	}
	if w.info == nil || !same(w.info, info) {
		w.info, w.since = info, now
	}
	w.changed = time.Time{}
	if next.value, err = w.parse(text, info); err != nil {
		var none T
		next.value, next.err = none, err
	}
	return next
}

// failed is a file that could not be read. It is tried again at the next look.
func (w *watched[T]) failed(now time.Time, err error) *contents[T] {
	w.info, w.changed = nil, time.Time{}
	return &contents[T]{err: fmt.Errorf("htpasswd: %w", err), until: now.Add(lookEvery)}
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}

// read returns the file with what it was when it was opened.
func (w *watched[T]) read() ([]byte, fs.FileInfo, error) {
	f, err := os.OpenFile(w.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe in the file's place holds nobody up
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is no regular file", w.path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, err
	}
	if len(text) > maxFile {
		return nil, nil, fmt.Errorf("%s is larger than %d MiB", w.path, maxFile>>20)
	}
	return text, info, nil
}

// lines calls entry with each line that is no comment and not empty. What entry
// returns is a mistake of that line; all of them are returned together.
func lines(path string, text []byte, entry func(number int, line string) error) error {
	var mistakes []error
	count, users, number := 0, 0, 0
	mistake := func(format string, args ...any) {
		if count++; count <= maxSaid {
			mistakes = append(mistakes, fmt.Errorf("htpasswd: %s: line %d: "+format, append([]any{path, number}, args...)...))
		}
	}
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		switch {
		case len(line) == 0 || line[0] == '#':
			continue
		case len(line) > maxLine:
			mistake("%d bytes long, at most %d are read", len(line), maxLine)
			continue
		case bytes.HasPrefix(line, []byte("\ufeff")):
			mistake("a byte order mark: save the file without one")
			continue
		}
		if users++; users > maxUsers {
			mistake("more than %d people", maxUsers)
			break
		}
		if err := entry(number, string(line)); err != nil {
			mistake("%w", err)
		}
	}
	if count > maxSaid {
		mistakes = append(mistakes, fmt.Errorf("htpasswd: %s: %d more mistakes", path, count-maxSaid))
	}
	return errors.Join(mistakes...)
}

// checkName says what is wrong with a user name, or with a realm.
func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the %s is empty", what)
	case len(name) > maxName:
		return fmt.Errorf("a %s of %d bytes, at most %d are read", what, len(name), maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("the %s is not in UTF-8", what)
	case strings.Contains(name, ":"): // RFC 7617 s2
		return fmt.Errorf("a colon in the %s", what)
	case strings.ContainsFunc(name, unicode.IsControl): // RFC 7617 s2
		return fmt.Errorf("a control character in the %s", what)
	}
	return nil
}
