package mail

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	gomail "github.com/wneessen/go-mail"

	"github.com/durward-auth/durward/internal/durable"
)

// maxFiles is the number of mails that a folder keeps.
const maxFiles = 1000

// folder is the path of a folder to which mails are written as files NAME.eml (RFC 5322) of mode 0600.
type folder string

// send writes each message to a file. A message that is written again replaces its file.
func (f folder) send(_ context.Context, messages []*gomail.Msg) []error {
	errs := make([]error, len(messages))
	for i, msg := range messages {
		errs[i] = f.write(msg)
	}
	return errs
}

func (f folder) write(msg *gomail.Msg) error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return err
	}
	var b bytes.Buffer
	if _, err := msg.WriteTo(&b); err != nil {
		return err
	}
	id, _, _ := strings.Cut(strings.Trim(msg.GetMessageID(), "<>"), "@")
	path := filepath.Join(string(f), id+".eml") // ids sort by time
	temp, err := durable.Temp(path, &b)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return errors.Join(durable.SyncFolder(path), f.prune())
}

// prune deletes the oldest mails beyond maxFiles.
func (f folder) prune() error {
	names, err := filepath.Glob(filepath.Join(string(f), "*.eml"))
	if err != nil || len(names) <= maxFiles {
		return err
	}
	slices.Sort(names)
	var errs []error
	for _, name := range names[:len(names)-maxFiles] {
		errs = append(errs, os.Remove(name))
	}
	return errors.Join(errs...)
}
