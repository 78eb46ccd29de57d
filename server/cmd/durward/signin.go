package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/client"
)

// signInFolder is the flag of verbs that use stored sign-ins.
type signInFolder struct {
	Sessions string `help:"Folder of the stored sign-ins. Default: durward/sessions in your configuration folder." placeholder:"DIR"`
}

// signIn is a stored sign-in at one server: a folder with session.json (this struct) and token.json.
type signIn struct {
	dir string

	Server  string   `json:"server"`
	Email   string   `json:"email"`
	Origins []string `json:"origins"` // that receive the tokens; includes the server's
}

// client returns a client of the sign-in's server.
func (s *signIn) client() (*api.Client, error) {
	c, err := api.NewClient(api.ClientConfig{URL: s.Server, Store: client.FileStore{Path: filepath.Join(s.dir, "token.json")}})
	if err != nil {
		return nil, usage("Use https. Plain http is allowed only to this machine.", "%w", err)
	}
	return c, nil
}

func (s *signIn) file() string { return filepath.Join(s.dir, "session.json") }

// path returns the folder of all sign-ins.
func (f signInFolder) path(e *environment) (string, error) {
	if f.Sessions != "" {
		return f.Sessions, nil
	}
	for _, v := range []struct{ name, below string }{{"XDG_CONFIG_HOME", ""}, {"HOME", ".config"}} {
		if dir := e.variable(v.name); filepath.IsAbs(dir) {
			return filepath.Join(dir, v.below, "durward", "sessions"), nil
		}
	}
	return "", usage("Name a folder with --sessions DIR.", "cannot find your configuration folder: neither HOME nor XDG_CONFIG_HOME is set")
}

// parseAddress parses the URL of a request or a server. It refuses URLs that contain credentials.
// origin is in lower case and without a default port.
func parseAddress(text string) (u *url.URL, origin string, err error) {
	wrong := func(fault string) error {
		if strings.Contains(text, "@") {
			text = "the URL" // it may contain a password
		}
		return usage("Write it as https://HOST/PATH.", "%s %s", text, fault)
	}
	if u, err = url.Parse(text); err != nil {
		return nil, "", wrong("is not a URL")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, "", wrong("is not an http or https URL")
	case u.User != nil:
		return nil, "", wrong("contains a user name, which logs and the list of processes would show")
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), map[string]string{"http": ":80", "https": ":443"}[u.Scheme])
	return u, u.Scheme + "://" + host, nil
}

// at returns the sign-in at a server, which need not exist.
func (f signInFolder) at(e *environment, server string) (*signIn, error) {
	folder, err := f.path(e)
	if err != nil {
		return nil, err
	}
	name := strings.NewReplacer("://", "_", ":", "_", "[", "", "]", "").Replace(server)
	return &signIn{dir: filepath.Join(folder, name), Server: server}, nil
}

// read loads the sign-in from its folder.
func (s *signIn) read() error {
	text, err := os.ReadFile(s.file())
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	return err
}

// write stores the sign-in in its folder.
func (s *signIn) write() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.file(), append(text, '\n'), 0o600)
}

// all returns the stored sign-ins. It skips and reports damaged ones.
func (f signInFolder) all(e *environment) (found []*signIn, err error) {
	folder, err := f.path(e)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, unreachable("Name another folder with --sessions DIR.", "cannot read the stored sign-ins: %w", err)
	}
	for _, entry := range entries {
		s := &signIn{dir: filepath.Join(folder, entry.Name())}
		switch err := s.read(); {
		case err == nil:
			found = append(found, s)
		case !errors.Is(err, fs.ErrNotExist):
			e.note("warning: ignored the damaged sign-in %s: %v", s.file(), err)
		}
	}
	return found, nil
}

// clientError adds the exit status and a hint to an error of the client, unless it has them.
func clientError(err error) error {
	refusal, ok := errors.AsType[*client.ResponseError](err)
	_, file := errors.AsType[*fs.PathError](err)
	_, described := errors.AsType[*exitError](err)
	switch {
	case described:
		return err
	case file:
		return unreachable("Name another folder with --sessions DIR.", "%w", err)
	case errors.Is(err, client.ErrSignedOut):
		return refused("Sign in again with durward login.", "%w", err)
	case !ok:
		return unreachable("Check that the server runs and that the URL is right.", "%w", err)
	case errors.Is(err, durward.InvalidCredentials):
		return refused("Check the e-mail address and the password.", "%w", err)
	case refusal.RetryAfter > 0:
		return refused(fmt.Sprintf("Try again in %s.", refusal.RetryAfter), "%w", err)
	}
	return refused(refusal.Hint, "%w", err)
}
