package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/durward-auth/durward/client"
)

// kept says where the sign-ins of this user of the machine are.
type kept struct {
	Sessions string `help:"Folder of the sign-ins. Default: durward/sessions in the user's configuration folder." placeholder:"DIR"`
}

// signIn is one sign-in at a server: a folder with what it is for and its token.
type signIn struct {
	dir string

	Server  string   `json:"server"`
	Email   string   `json:"email"`
	Origins []string `json:"origins"` // that get its tokens, the server's among them
}

// config is what the client makes of a sign-in.
func (s *signIn) config() client.TokensConfig {
	return client.TokensConfig{Server: s.Server, Origins: s.Origins, Store: client.FileStore{Path: filepath.Join(s.dir, "token.json")}}
}

func (s *signIn) file() string { return filepath.Join(s.dir, "session.json") }

// folder is where the sign-ins are.
func (k kept) folder(e *environment) (string, error) {
	if k.Sessions != "" {
		return k.Sessions, nil
	}
	for _, v := range []struct{ name, below string }{{"XDG_CONFIG_HOME", ""}, {"HOME", ".config"}} {
		if dir := e.variable(v.name); filepath.IsAbs(dir) {
			return filepath.Join(dir, v.below, "durward", "sessions"), nil
		}
	}
	return "", &exitError{exitUsage, errors.New("there is no folder for sign-ins: neither HOME nor XDG_CONFIG_HOME is set"), "Name one with --sessions DIR."}
}

// variable is a variable of the environment.
func (e *environment) variable(name string) string {
	for _, v := range slices.Backward(e.variables) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// address reads the URL of a request or a server, of which everything is looked at that
// could send credentials elsewhere. The origin has one spelling.
func address(text string) (u *url.URL, origin string, err error) {
	wrong := func(why string) error {
		if strings.Contains(text, "@") {
			text = "the URL" // which may hold a password
		}
		return &exitError{exitUsage, fmt.Errorf("%s %s", text, why), "Write it as https://HOST/PATH."}
	}
	if u, err = url.Parse(text); err != nil {
		return nil, "", wrong("is no URL")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, "", wrong("is no http or https URL")
	case u.User != nil: // contract: no credentials in URLs
		return nil, "", wrong("holds a user name: it would stand in logs and in the list of processes")
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), map[string]string{"http": ":80", "https": ":443"}[u.Scheme])
	return u, u.Scheme + "://" + host, nil
}

// at is the folder of the sign-in at a server.
func (k kept) at(e *environment, server string) (*signIn, error) {
	folder, err := k.folder(e)
	if err != nil {
		return nil, err
	}
	name := strings.NewReplacer("://", "_", ":", "_", "[", "", "]", "").Replace(server)
	return &signIn{dir: filepath.Join(folder, name), Server: server}, nil
}

// read reads a sign-in.
func (s *signIn) read() error {
	text, err := os.ReadFile(s.file())
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	return err
}

// write keeps a sign-in.
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

// all are the sign-ins there are.
func (k kept) all(e *environment) (found []*signIn, err error) {
	folder, err := k.folder(e)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, &exitError{exitUnreachable, fmt.Errorf("the sign-ins cannot be read: %w", err), "Name another folder with --sessions DIR."}
	}
	for _, entry := range entries {
		s := &signIn{dir: filepath.Join(folder, entry.Name())}
		switch err := s.read(); {
		case err == nil:
			found = append(found, s)
		case !errors.Is(err, fs.ErrNotExist):
			e.say("warning: %s is no sign-in: %v", s.file(), err)
		}
	}
	return found, nil
}
