package mail

import (
	"errors"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Letter is a mail of a folder.
type Letter struct {
	From, To, Subject string
	At                time.Time
	Text              string // the plain part
}

// Letters returns the newest mails of a folder, at most limit, newest first. A folder that does not exist
// has none.
func Letters(dir string, limit int) ([]Letter, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names) // ids sort by time
	slices.Reverse(names)
	var all []Letter
	for _, name := range names[:min(limit, len(names))] {
		l, err := readLetter(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // pruned since
		}
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func readLetter(name string) (l Letter, err error) {
	file, err := os.Open(name)
	if err != nil {
		return l, err
	}
	defer file.Close()
	msg, err := mail.ReadMessage(file)
	if err != nil {
		return l, err
	}
	var words mime.WordDecoder
	for field, to := range map[string]*string{"From": &l.From, "To": &l.To, "Subject": &l.Subject} {
		if *to, err = words.DecodeHeader(msg.Header.Get(field)); err != nil {
			return l, err
		}
	}
	if l.At, err = msg.Header.Date(); err != nil {
		return l, err
	}
	_, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		return l, err
	}
	part, err := multipart.NewReader(msg.Body, params["boundary"]).NextPart() // the plain one comes first
	if err != nil {
		return l, err
	}
	text, err := io.ReadAll(part)
	l.Text = string(text)
	return l, err
}
