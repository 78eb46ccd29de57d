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
)

// FileStore keeps a token in a file that its owner alone can read (mode 0600), for all
// processes of this machine that name the same path. Its folder is made with mode 0700.
//
// One process at a time renews the token: it holds a lock on path + ".lock", which the
// system gives back when the process ends, however it ends. A token is written to path +
// ".new", brought to the disk, and put in its place, so that whoever reads sees the old
// one or the new, and a machine that stops does not show a spent refresh token again.
type FileStore struct{ Path string }

// maxStored bounds a stored token.
const maxStored = 64 << 10

// Load returns the token of the file; the zero Token where there is none. A file that
// others can read is refused.
func (f FileStore) Load(context.Context) (Token, error) {
	file, err := os.Open(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return Token{}, nil
	} else if err != nil {
		return Token{}, fmt.Errorf("durward: token file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return Token{}, fmt.Errorf("durward: token file: %w", err)
	}
	if openToOthers(info) {
		return Token{}, fmt.Errorf("durward: token file %s can be read by others: chmod 600 it, and sign in anew if they may have", f.Path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxStored+1))
	if err != nil {
		return Token{}, fmt.Errorf("durward: token file: %w", err)
	}
	var t Token
	if len(text) > maxStored || len(text) > 0 && json.Unmarshal(text, &t) != nil {
		return Token{}, fmt.Errorf("durward: %s holds no token: remove it and sign in anew", f.Path)
	}
	return t, nil
}

// Update changes the token of the file while no other process does.
func (f FileStore) Update(ctx context.Context, change func(context.Context, Token) (Token, error)) error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return fmt.Errorf("durward: token file: %w", err)
	}
	lock, err := os.OpenFile(f.Path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("durward: token file: %w", err)
	}
	defer lock.Close() // and with it the lock
	for {
		held, err := tryLock(lock)
		if err != nil {
			return fmt.Errorf("durward: token file: %w", err)
		}
		if held {
			break
		}
		select { // the system's own wait knows no context
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

// write puts text in the place of the file, whole or not at all. The lock is held.
func (f FileStore) write(text []byte) (err error) {
	next := f.Path + ".new"
	defer func() {
		if err != nil {
			_ = os.Remove(next)
			err = fmt.Errorf("durward: token file: %w", err)
		}
	}()
	// A process that was killed may have left one. O_EXCL follows no link.
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, f.Path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(f.Path))
}
