package htpasswd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	checkInterval = time.Second / 2      // the shortest time between two checks of the file
	atRest        = time.Second / 10     // a file modified less than this ago may be half written
	waitRest      = 3 * time.Second / 10 // how long to wait for a file to be at rest
	mayDiffer     = 2 * time.Second      // how long the modification time of a file system may stay the same
	maxFile       = 16 << 20             // bytes
	maxUsers      = 100_000              // lines that are not comments
	maxLine       = 1024                 // bytes
	maxName       = 255                  // bytes of a user name or realm
	maxReported   = 20                   // mistakes in a file that are reported one by one
	blanks        = " \t"                // ignored around the parts of a line
)

// watched is a file that is read again when it has changed. T is its parsed content. parse returns
// the mistakes in single lines, which are logged, or an error if the file cannot be used at all.
type watched[T any] struct {
	path  string
	log   *slog.Logger
	parse func(text []byte, info fs.FileInfo) (T, []error, error)
	now   func() time.Time

	current atomic.Pointer[contents[T]]

	// looking is a semaphore of one: its holder checks the file. Other requests wait for the
	// result, or until they end.
	looking chan struct{}

	// The holder of looking owns these fields.

	info    fs.FileInfo // of the last successful read; else nil
	since   time.Time   // when info was first seen
	changed time.Time   // when a change was first seen that was not at rest; zero: none
	logged  string      // the mistakes that were logged last
}

// contents is the result of reading the file, and the time until which it is used without a check.
type contents[T any] struct {
	value T
	err   error
	until time.Time
}

// watch reads the file for the first time.
func watch[T any](
	path string, log *slog.Logger, parse func([]byte, fs.FileInfo) (T, []error, error),
) (*watched[T], error) {
	w := &watched[T]{
		path:    path,
		log:     cmp.Or(log, slog.Default()),
		parse:   parse,
		now:     time.Now,
		looking: make(chan struct{}, 1),
	}
	if path == "" {
		return nil, errors.New("htpasswd: Path is empty")
	}
	c := w.look(nil)
	if c.err != nil {
		return nil, c.err
	}
	w.current.Store(c)
	return w, nil
}

// load returns the content of the file.
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

// look checks the file, and reads it if it may differ from the last read.
func (w *watched[T]) look(last *contents[T]) *contents[T] {
	now := w.now()
	info, err := os.Stat(w.path)
	if err != nil {
		return w.failed(now, err)
	}
	next := &contents[T]{until: now.Add(checkInterval)}
	if w.info != nil && same(w.info, info) {
		w.changed = time.Time{}
		if now.Sub(w.since) > mayDiffer {
			next.value, next.err = last.value, last.err
			return next
		}
	} else if last != nil && last.err == nil {
		// A half-written file lacks users of its other half: use the last content.
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
	var found []error
	next.value, found, next.err = w.parse(text, info)
	w.report(found)
	return next
}

// report logs the mistakes in lines of the file, unless they were logged at the last read.
func (w *watched[T]) report(found []error) {
	text := fmt.Sprint(found)
	if text == w.logged {
		return
	}
	w.logged = text
	for _, err := range found {
		w.log.Warn("line of a password file is not used", "error", err)
	}
}

// failed returns an error as contents. The next check tries again.
func (w *watched[T]) failed(now time.Time, err error) *contents[T] {
	w.info, w.changed = nil, time.Time{}
	return &contents[T]{err: fmt.Errorf("htpasswd: %w", err), until: now.Add(checkInterval)}
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}

// read returns the content of the file and its FileInfo at the time of opening.
func (w *watched[T]) read() ([]byte, fs.FileInfo, error) {
	f, err := os.OpenFile(w.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // O_NONBLOCK: opening a named pipe does not block
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", w.path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s is larger than %d MiB", w.path, maxFile>>20)
	}
	return text, info, err
}

// mistakes collects the mistakes in single lines of a file.
type mistakes struct {
	path  string
	list  []error // the first maxReported
	count int
}

// add adds a mistake and returns its error. Nothing in it is a part of the line.
func (m *mistakes) add(line int, err error) error {
	err = at(m.path, line, err)
	if m.count++; m.count <= maxReported {
		m.list = append(m.list, err)
	}
	return err
}

// all returns the mistakes, and the number of those that are not reported one by one.
func (m *mistakes) all() []error {
	if more := m.count - maxReported; more > 0 {
		return append(m.list, fmt.Errorf("htpasswd: %s: %d more mistakes", m.path, more))
	}
	return m.list
}

// at adds the place to an error about a line.
func at(path string, line int, err error) error {
	return fmt.Errorf("htpasswd: %s: line %d: %w", path, line, err)
}

// lines calls entry with each line that is neither a comment nor empty. bad is not nil if the line
// itself cannot be used; its user is disabled then. The error means that the whole file cannot be
// used.
func lines(path string, text []byte, entry func(number int, line string, bad error)) error {
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return fmt.Errorf("htpasswd: %s: the text is in UTF-16; save it as UTF-8", path)
	}
	users, number := 0, 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.Trim(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), blanks)
		var bad error
		if rest, found := bytes.CutPrefix(line, []byte("\ufeff")); found {
			line, bad = rest, errors.New("byte order mark; save the file without one")
		}
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if len(line) > maxLine {
			bad = fmt.Errorf("%d bytes long, want at most %d", len(line), maxLine)
		}
		if users++; users > maxUsers {
			return at(path, number, fmt.Errorf("more than %d users", maxUsers))
		}
		entry(number, string(line), bad)
	}
	return nil
}

// isLocked reports whether a stored hash locks its user, as the passwd command does: it begins with
// an exclamation mark or an asterisk.
func isLocked(hash string) bool { return strings.HasPrefix(hash, "!") || strings.HasPrefix(hash, "*") }

var errLocked = errors.New("the user is locked")

// checkName validates a user name or a realm.
func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the %s is empty", what)
	case len(name) > maxName:
		return fmt.Errorf("%s of %d bytes, want at most %d", what, len(name), maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("the %s is not in UTF-8", what)
	case strings.Contains(name, ":"): // RFC 7617 s2
		return fmt.Errorf("a colon in the %s", what)
	case strings.ContainsFunc(name, unicode.IsControl): // RFC 7617 s2
		return fmt.Errorf("a control character in the %s", what)
	}
	return nil
}
