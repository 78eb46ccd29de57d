package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"

	"github.com/durward-auth/durward/internal/durable"
)

// Open reads the master key from a file: 64 hexadecimal digits with an optional line end. Only the owner
// may have the right to read it. With create, Open creates a missing file with a random key and mode
// 0600; of several processes at once, one creates it and all return its key. Without create, a missing
// file is an error that wraps fs.ErrNotExist. Errors tell what to do.
//
// The file is created atomically: written and synced as ".NAME-RANDOM.tmp" in the same folder, then
// linked to its name. After a crash the temporary file may remain and can be deleted.
func Open(path string, create bool) (*Master, error) {
	m, err := read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	if !create {
		return nil, fmt.Errorf("seal: there is no master key at %s: put back the key file that belongs to the database (what is sealed in it opens with no other): %w", path, fs.ErrNotExist)
	}
	if err := make0600(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return read(path)
}

// Parse reads a master key from 64 hexadecimal digits. Its errors do not quote the text.
func Parse(text Secret) (*Master, error) {
	key, err := parse([]byte(text.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("seal: master key %w", err)
	}
	return &Master{key: key}, nil
}

// read opens and checks a key file. It checks the open file, which cannot be exchanged in between.
func read(path string) (*Master, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a named pipe must not block the start
	if err != nil {
		return nil, fmt.Errorf("seal: cannot open the master key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("seal: cannot read the master key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("seal: master key %s is not a file: give the path of the key file itself", path)
	}
	// Windows has no such bits: the folder's access list protects the file.
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("seal: master key %s can be read by others (mode %04o): run: chmod 600 %s", path, mode, quote(path))
	}
	text, err := io.ReadAll(io.LimitReader(f, 2*keySize+3)) // two for a line end, one to detect a longer file
	if err != nil {
		return nil, fmt.Errorf("seal: cannot read the master key: %w", err)
	}
	key, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("seal: master key %s %w: put back the right file; a new one, for a new server only, is made by: (umask 077; openssl rand -hex 32 > %s)", path, err, quote(path))
	}
	return &Master{key: key}, nil
}

// parse decodes the text of a key file. Its errors do not quote the text.
func parse(text []byte) ([]byte, error) {
	text = bytes.TrimSuffix(text, []byte("\n"))
	text = bytes.TrimSuffix(text, []byte("\r"))
	if len(text) == 0 {
		return nil, errors.New("is empty, want 64 hexadecimal digits")
	}
	if len(text) > 2*keySize {
		return nil, errors.New("is too long, want 64 hexadecimal digits and nothing else")
	}
	if len(text) < 2*keySize {
		return nil, fmt.Errorf("has %d characters, want 64 hexadecimal digits", len(text))
	}
	key := make([]byte, keySize)
	if _, err := hex.Decode(key, text); err != nil {
		return nil, errors.New("has characters that are not hexadecimal digits")
	}
	if bytes.Count(key, key[:1]) == keySize {
		return nil, errors.New("repeats one byte, so it is not a random key")
	}
	return key, nil
}

// make0600 creates a key file. The error wraps fs.ErrExist if another process created it first.
func make0600(path string) (err error) {
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("seal: there is no folder %s for the master key: run: mkdir -m 700 -p %s", dir, quote(dir))
	}
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // crypto/rand.Read never returns an error
	temp, err := durable.Temp(path, strings.NewReader(hex.EncodeToString(key)+"\n"))
	if err != nil {
		return fmt.Errorf("seal: cannot make a master key: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(temp)) }()
	// Unlike a rename, a link never replaces an existing file.
	if err := os.Link(temp, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("seal: %w", err)
		}
		return fmt.Errorf("seal: cannot put the master key in place (%w): make it by hand: (umask 077; openssl rand -hex 32 > %s)", err, quote(path))
	}
	if err := durable.SyncFolder(path); err != nil {
		return fmt.Errorf("seal: cannot sync the folder of the master key: %w", err)
	}
	return nil
}

// quote quotes a path for a shell command in an error text.
func quote(path string) string {
	if plainPath.MatchString(path) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

var plainPath = regexp.MustCompile(`^[A-Za-z0-9/._+,:@%=-]*$`)
