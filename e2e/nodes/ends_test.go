package nodes

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/e2e/executable"
)

// credentials are what a user signs in with: a session that acts, another one, a cookie and an API key.
type credentials struct {
	email       string
	own, other  session
	cookie, key string
}

// TestCredentialsEnd checks the table of docs/server.md, "Ending a session": which credentials of a user an
// act at one node ends. The other node must refuse them within a second. Both nodes, restarted, must refuse
// the same ones.
func TestCredentialsEnd(t *testing.T) {
	t.Parallel()
	const own, other, cookie, key = "own session", "other session", "cookie", "API key"
	acts := []struct {
		name        string
		admin, code bool // an administrator; a user with a second factor
		do          func(n *node, c *credentials)
		ends        []string
	}{
		{
			name: "user lock", ends: []string{own, other, cookie, key},
			do: func(n *node, c *credentials) { n.verb("", "user", "lock", c.email) },
		},
		{
			name: "user delete", ends: []string{own, other, cookie, key},
			do: func(n *node, c *credentials) { n.verb("", "user", "delete", c.email) },
		},
		{
			name: "password/change", ends: []string{other, cookie},
			do: func(n *node, c *credentials) {
				n.want(204, "POST", "/api/auth/password/change", c.own.access, fmt.Sprintf(`{"current":%q,"new":"another long password"}`, password))
			},
		},
		{
			name: "user passwd", ends: []string{own, other, cookie},
			do: func(n *node, c *credentials) {
				n.verb("another long password\n", "user", "passwd", c.email, "--password-stdin")
			},
		},
		{
			name: "removal of the second factor", code: true, ends: []string{other, cookie},
			do: func(n *node, c *credentials) { n.want(204, "DELETE", "/api/auth/mfa/totp", c.own.access, "") },
		},
		{
			name: "user reset-factors", code: true, ends: []string{own, other, cookie},
			do: func(n *node, c *credentials) { n.verb("", "user", "reset-factors", c.email) },
		},
		{
			name: "user set --no-admin", admin: true, ends: []string{own, other, cookie},
			do: func(n *node, c *credentials) { n.verb("", "user", "set", c.email, "--no-admin") },
		},
		{
			name: "user set --email", ends: nil,
			do: func(n *node, c *credentials) { n.verb("", "user", "set", c.email, "--email", "new-"+c.email) },
		},
		{
			name: "removal from a group", ends: nil,
			do: func(n *node, c *credentials) {
				n.verb("", "user", "group", "add", c.email, "staff")
				n.verb("", "user", "group", "remove", c.email, "staff")
			},
		},
		{
			name: "session end", ends: []string{other},
			do: func(n *node, c *credentials) {
				n.verb("", "session", "end", c.email, claims(n.cl.t, c.other.access).Session)
			},
		},
		{
			name: "session end --all", ends: []string{own, other, cookie},
			do: func(n *node, c *credentials) { n.verb("", "session", "end", c.email, "--all") },
		},
		{
			name: "logout everywhere", ends: []string{own, other, cookie},
			do: func(n *node, c *credentials) {
				n.want(204, "POST", "/api/auth/logout", c.own.access, `{"everywhere":true}`)
			},
		},
	}
	for _, w := range []channel{channels[0], channels[1]} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.nodes = 2
			cl := newCluster(t, w.clusterConfig)
			a, b := cl.nodes[0], cl.nodes[1]
			users := cl.users(len(acts))
			made := make([]*credentials, len(acts))
			for i, act := range acts {
				if act.admin {
					a.verb("", "user", "set", users[i], "--admin")
				}
				made[i] = a.furnish(users[i], act.code)
			}
			requests := func(c *credentials) map[string]http.Header {
				bearer := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
				return map[string]http.Header{
					own: bearer(c.own.access), other: bearer(c.other.access), cookie: {"Cookie": {c.cookie}}, key: {"X-Api-Key": {c.key}},
				}
			}
			check := func(n *node, when string, i int, ends []string, since time.Time) {
				t.Helper()
				for name, header := range requests(made[i]) {
					ended := slices.Contains(ends, name)
					got, late := n.profile(header), time.Duration(0)
					for end := time.Now().Add(executable.WaitLimit); ended && got.status == 200 && time.Now().Before(end); got = n.profile(header) {
						late = got.sent.Sub(since)
					}
					switch {
					case !ended && got.status != 200:
						t.Errorf("%s, node %s %s: the %s ended: %d %s", acts[i].name, n.name, when, name, got.status, got.body)
					case ended && (got.status != 401 || late > maxDelay):
						t.Errorf("%s, node %s %s: the %s was accepted for %s, then %d %s; want 401 within %s",
							acts[i].name, n.name, when, name, late, got.status, got.body, maxDelay)
					}
				}
			}
			for i, act := range acts {
				check(b, "before", i, nil, time.Time{})
				act.do(a, made[i])
				done := time.Now()
				check(b, "after", i, act.ends, done)
				check(a, "after", i, act.ends, done)
			}
			a.kill()
			b.stop()
			a.start()
			b.start()
			for i, act := range acts {
				check(a, "after a restart", i, act.ends, time.Now())
				check(b, "after a restart", i, act.ends, time.Now())
				for name, s := range map[string]session{own: made[i].own, other: made[i].other} {
					want := 200
					if slices.Contains(act.ends, name) {
						want = 401
					}
					b.want(want, "POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, s.refresh))
				}
			}
		})
	}
}

// furnish signs a user in, with a second factor if code is set, and makes the other credentials.
func (n *node) furnish(email string, code bool) *credentials {
	t := n.cl.t
	t.Helper()
	c := &credentials{email: email, own: n.cl.signIn(n, email)}
	var recovery api.RecoveryCodes
	if code {
		var enrolment api.TOTPEnrolment
		decode(t, n.want(201, "POST", "/api/auth/mfa/totp", c.own.access, `{}`), &enrolment)
		confirmed := n.want(200, "POST", "/api/auth/mfa/totp/confirm", c.own.access, fmt.Sprintf(`{"code":%q}`, totp(t, enrolment.Secret, time.Now())))
		c.own = session{confirmed.member("access_token"), confirmed.member("refresh_token")}
		decode(t, n.want(201, "POST", "/api/auth/mfa/recovery-codes", c.own.access, `{}`), &recovery)
	}
	signIn := func(cookies bool) answer {
		t.Helper()
		status := 200
		if code {
			status = 401
		}
		a := n.want(status, "POST", "/api/auth/login", "", fmt.Sprintf(`{"email":%q,"password":%q,"use_cookies":%t}`, email, password, cookies))
		if code {
			a = n.want(200, "POST", "/api/auth/login/mfa", "",
				fmt.Sprintf(`{"mfa_token":%q,"method":"recovery_code","code":%q}`, a.member("mfa_token"), recovery.Codes[0]))
			recovery.Codes = recovery.Codes[1:]
		}
		return a
	}
	a := signIn(false)
	c.other = session{a.member("access_token"), a.member("refresh_token")}
	c.cookie, _, _ = strings.Cut(signIn(true).header.Get("Set-Cookie"), ";")
	c.key = n.want(201, "POST", "/api/keys", c.own.access, `{"name":"a key"}`).member("key")
	return c
}

// want sends a request and checks the status of the response.
func (n *node) want(status int, method, path, token, body string) answer {
	n.cl.t.Helper()
	a := n.cl.ask(n, method, path, token, body)
	if a.status != status {
		n.cl.t.Fatalf("%s %s at node %s: got %d %s, want %d", method, path, n.name, a.status, a.body, status)
	}
	return a
}

// profile sends GET /api/profile with credentials.
func (n *node) profile(header http.Header) (a answer) {
	t := n.cl.t
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", n.url+"/api/profile", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	a.sent = time.Now()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	a.status = res.StatusCode
	if a.body, err = io.ReadAll(res.Body); err != nil {
		t.Fatal(err)
	}
	return a
}

func decode(t *testing.T, a answer, into any) {
	t.Helper()
	if err := json.Unmarshal(a.body, into); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
}

// totp returns the code of a seed (RFC 6238 s4).
func totp(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	seed, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, seed)
	_ = binary.Write(mac, binary.BigEndian, at.Unix()/30)
	sum := mac.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&(1<<31-1)%1_000_000)
}
