package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/durward-auth/durward/internal/durable"
)

// A FileStore keeps a token in a file of mode 0600, for all processes of this machine with the same
// Path. It creates the folder with mode 0700.
//
// One process at a time updates the token. It holds a lock on the file Path + ".lock", and the
// system frees the lock when the process ends. A new token is written to Path + ".new", synced to
// the disk and renamed, so readers see the old or the new token, and a crash of the machine does
// not bring back a spent refresh token.
type FileStore struct{ Path string }

// maxStored is the largest size of the file in bytes.
const maxStored = 64 << 10

// Load returns the token of the file, or the zero Token if there is no file. It fails if other
// users can read the file.
func (f FileStore) Load(context.Context) (Token, error) {
	file, err := os.Open(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return Token{}, nil
	} else if err != nil {
		return Token{}, fmt.Errorf("durward: token file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err == nil && openToOthers(info) {
		return Token{}, fmt.Errorf("durward: token file %s is readable by other users: run chmod 600; "+
			"sign in again if another user may have read it", f.Path)
	}
	text, readErr := io.ReadAll(io.LimitReader(file, maxStored+1))
	if err = errors.Join(err, readErr); err != nil {
		return Token{}, fmt.Errorf("durward: token file: %w", err)
	}
	var t Token
	if len(text) > maxStored || len(text) > 0 && json.Unmarshal(text, &t) != nil {
		return Token{}, fmt.Errorf("durward: %s does not hold a token: delete it and sign in again", f.Path)
	}
	return t, nil
}

// Update changes the token of the file. No other process updates it meanwhile.
func (f FileStore) Update(ctx context.Context, change func(context.Context, Token) (Token, error)) error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return fmt.Errorf("durward: token file: %w", err)
	}
	lock, err := os.OpenFile(f.Path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("durward: token file: %w", err)
	}
	defer lock.Close() // frees the lock
	for {
		held, err := tryLock(lock)
		if err != nil {
			return fmt.Errorf("durward: token file: %w", err)
		}
		if held {
			break
		}
		select { // flock itself cannot wait with a context
		case <-ctx.Done():
			return fmt.Errorf("durward: another process holds %s.lock: %w", f.Path, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	stored, err := f.Load(ctx)
	if err != nil {
		return err
	}
	next, err := change(ctx, stored)
	if err != nil || next == stored {
		return err
	}
	if next == (Token{}) {
		if err := os.Remove(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("durward: token file: %w", err)
		}
		return nil
	}
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	return f.write(text)
}

// write replaces the file with text atomically. The caller holds the lock.
func (f FileStore) write(text []byte) (err error) {
	next := f.Path + ".new"
	defer func() {
		if err != nil {
			_ = os.Remove(next)
			err = fmt.Errorf("durward: token file: %w", err)
		}
	}()
	// A killed process may have left the file. O_EXCL does not follow links.
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, f.Path); err != nil {
		return err
	}
	return durable.SyncFolder(f.Path)
}
