package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	appID    = "bench"
	silentID = "silent" // a second client, so that its sessions end none of the first one
	callback = "https://app.example.com/callback"
	verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	ownURL   = "http://127.0.0.1:8401" // the default, and the audience of tokens for no resource
)

// endpoints are those of an authorization server.
type endpoints struct {
	token, introspect string
	id, secret        string // of the client
}

// post sends a form and returns the members of the answer.
func (e endpoints) post(to string, form url.Values) (members map[string]any, err error) {
	r, err := http.NewRequest("POST", to, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(e.id, e.secret)
	res, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || json.Unmarshal(body, &members) != nil) {
		err = fmt.Errorf("%s: %s %s", to, res.Status, body)
	}
	return members, err
}

// credentials gets a token for the client itself.
func (e endpoints) credentials() (token string, err error) {
	got, err := e.post(e.token, url.Values{"grant_type": {"client_credentials"}})
	token, _ = got["access_token"].(string)
	return token, err
}

// refresh replaces a refresh token by its successor.
func (e endpoints) refresh(token *string) error {
	got, err := e.post(e.token, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {*token}})
	if err == nil {
		*token = got["refresh_token"].(string)
	}
	return err
}

// inspect asks for a live token.
func (e endpoints) inspect(token string) error {
	got, err := e.post(e.introspect, url.Values{"token": {token}})
	if err == nil && got["active"] != true {
		err = errors.New("the token is not active")
	}
	return err
}

// useCode returns the refresh token of a code.
func (e endpoints) useCode(code string) (refresh string, err error) {
	got, err := e.post(e.token, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}})
	refresh, _ = got["refresh_token"].(string)
	return refresh, err
}

var unfollowed = &http.Client{
	Transport:     client.Transport,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// authorization returns the query of an authorization request.
func authorization(id, scope string) string {
	sum := sha256.Sum256([]byte(verifier))
	return url.Values{
		"client_id": {id}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {scope}, "state": {"a long enough state"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode()
}

// redirected sends a GET with cookies and returns the URL of the redirect.
func redirected(to, cookies string) (*url.URL, error) {
	r, err := http.NewRequest("GET", to, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Cookie", cookies)
	res, err := unfollowed.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return nil, err
	}
	at, err := res.Location()
	if err != nil {
		return nil, fmt.Errorf("%s: %s", to, res.Status)
	}
	return at, nil
}

// applicationsIn is a server with two clients and, for each caller, a user who is signed in with a cookie.
type applicationsIn struct {
	*server
	app, silent endpoints
	cookies     []string
	refreshes   []string // tokens of the first client
	token       string
}

// silently authorizes a caller's user for a client and returns the refresh token.
func (a *applicationsIn) silently(e endpoints, caller int) (string, error) {
	at, err := redirected(a.url+"/oauth/authorize?"+authorization(e.id, "openid"), a.cookies[caller])
	if err == nil && at.Query().Get("code") == "" {
		err = fmt.Errorf("authorize leads to %s", at)
	}
	if err != nil {
		return "", err
	}
	return e.useCode(at.Query().Get("code"))
}

// beginApplications starts a server on a new database.
func beginApplications(name, driver, database string) *applicationsIn {
	data := addUser(name, database)
	add := func(id string) (e endpoints) {
		out, err := command(data, database, "client", "add", id, "--id", id, "--trusted", "--redirect", callback, "--scope", "openid", "--introspect", ownURL,
			"--grant", "authorization_code,refresh_token,client_credentials", "--json").Output()
		var made struct{ Secret string }
		check(errors.Join(err, json.Unmarshal(out, &made)))
		return endpoints{id: id, secret: made.Secret}
	}
	a := &applicationsIn{app: add(appID), silent: add(silentID)}
	source := database
	if source == "" {
		source = "file:" + filepath.Join(data, "durward.db")
	}
	db := must(sql.Open(driver, source))
	must(db.Exec(`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < CAST($1 AS BIGINT))
		INSERT INTO users (id, email, email_key, name, password, admin, created_at, password_changed_at)
		SELECT 'user-' || i, i || email, i || email_key, name, password, 0, created_at, password_changed_at FROM users CROSS JOIN c`, clients))
	check(db.Close())
	a.server, _ = begin(data, database)
	for _, e := range []*endpoints{&a.app, &a.silent} {
		e.token, e.introspect = a.url+"/oauth/token", a.url+"/oauth/introspect"
	}
	err := try(func() {
		for i := range clients {
			res := must(client.Post(a.url+"/api/auth/login", "application/json", strings.NewReader(fmt.Sprintf(`{"email":"%d%s","password":%q,"use_cookies":true}`, i+1, email, password))))
			cookie, _, _ := strings.Cut(res.Header.Get("Set-Cookie"), ";")
			if check(res.Body.Close()); cookie == "" {
				check(errors.New("sign-in: " + res.Status))
			}
			a.cookies = append(a.cookies, cookie)
			a.refreshes = append(a.refreshes, must(a.silently(a.app, i)))
		}
		a.token = must(a.app.credentials())
	})
	if err != nil {
		check(errors.Join(err, a.end()))
	}
	return a
}

// applications measures the endpoints of OAuth 2.0 with one caller and with many, on both engines. The limits are
// raw signatures, raw statements with a commit, and a 204 handler with the same client.
func applications() (rows []row) {
	a := beginApplications("applications", "sqlite", "")
	err := try(func() {
		raw := rawDatabase("applications-raw", "")
		rows = a.measure("SQLite", func(callers int) float64 { return groupCommit(raw, callers) })
	})
	check(errors.Join(err, a.end()))
	withPostgres(func(newDatabase func() string) {
		alone := newDatabase()
		a := beginApplications("applications-postgres", "pgx", newDatabase())
		defer a.end()
		rawDatabase("applications-postgres-raw", alone)
		db := must(sql.Open("pgx", alone))
		defer db.Close()
		db.SetMaxIdleConns(clients)
		ids := grantIDs(db)
		rows = append(rows, a.measure("Postgres", func(callers int) float64 {
			return rate(callers, length/3, func(c int) error {
				_, err := db.Exec(rotate, rotated(ids[c])...)
				return err
			})
		})...)
		if *hydra != "" {
			h := beginHydra(newDatabase())
			defer h.end()
			rows = append(rows, h.measure(a)...)
		}
	})
	return rows
}

// measure returns the rows of an engine. statements measures the raw statement.
func (a *applicationsIn) measure(engine string, statements func(callers int) float64) (rows []row) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	digest := make([]byte, 32)
	empty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer empty.Close()
	for _, callers := range []int{1, clients} {
		each := func(work func(c int) error) func() float64 {
			return func() float64 { return rate(callers, length/3, work) }
		}
		f := medians(
			each(func(int) error { _, err := a.app.credentials(); return err }),
			each(func(c int) error { return a.app.refresh(&a.refreshes[c]) }),
			each(func(int) error { return a.app.inspect(a.token) }),
			each(func(c int) error { _, err := a.silently(a.silent, c); return err }),
			func() float64 {
				return rate(min(callers, runtime.NumCPU()), length/3, func(int) error {
					_, err := ecdsa.SignASN1(rand.Reader, key, digest)
					return err
				})
			},
			func() float64 { return statements(callers) },
			each(func(int) error {
				res, err := client.Post(empty.URL, "application/x-www-form-urlencoded", strings.NewReader("grant_type=client_credentials"))
				if err != nil {
					return err
				}
				return res.Body.Close()
			}),
		)
		with := fmt.Sprintf(", %s, %s", engine, plural(callers))
		line := func(what string, figure float64, limit string, most float64) row {
			return row{what + with, fmt.Sprintf("%.0f/s", figure), fmt.Sprintf("%s %.0f/s", limit, most), fmt.Sprintf("%.2f", figure/most), ""}
		}
		rows = append(rows,
			line("client_credentials", f[0], "raw signature", f[4]),
			line("the same", f[0], "204 handler, same client", f[6]),
			line("refresh of an application", f[1], "raw statement and commit", f[5]),
			line("introspection", f[2], "204 handler, same client", f[6]),
			line("authorize without a page, then the code: two commits", f[3], "raw statement and commit", f[5]),
		)
	}
	return rows
}

func plural(callers int) string {
	if callers == 1 {
		return "1 caller"
	}
	return fmt.Sprintf("%d callers", callers)
}
