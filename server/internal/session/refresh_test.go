package session

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// altered returns a token with changed octets.
func altered(token string, change func(raw []byte)) string {
	raw, err := base64.RawURLEncoding.DecodeString(token[len(refreshPrefix):])
	if err != nil {
		panic(err)
	}
	change(raw)
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(raw)
}

// setGrant changes columns of the grant of a token.
func (w *env) setGrant(token, columns string, args ...any) {
	w.t.Helper()
	g, _ := w.grant(token)
	w.exec(`UPDATE grants SET `+columns+` WHERE id = '`+hex.EncodeToString(g.ID[:])+`'`, args...)
}

// TestPresented has a row for each state of a refresh token. The owner signs in and refreshes moves
// times, each after between. Then, after wait, a client sends token n.
func TestPresented(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		const (
			grace = 30 * time.Second
			again = "again" // the current token again, no rotation
			moved = "moved" // the next token
		)
		const week = 7 * 24 * time.Hour
		replayed := func(n uint32, times int) func(*env, store.User, string) {
			return func(w *env, _ store.User, token string) {
				for range times {
					w.refreshed(w.nth(token, n), home)
				}
			}
		}
		shared := newEnv(t, engine, nil) // opening one for each row takes too long
		for _, row := range []struct {
			name    string
			moves   int
			between time.Duration
			wait    time.Duration
			before  func(*env, store.User, string) // called before the refresh
			n       uint32
			from    request.Info
			want    string
			g       uint32 // generation after the refresh
			ended   string // end reason of grant and session, or empty
			event   string
			told    bool
		}{
			{name: "the first", n: 0, want: moved, g: 1},
			{name: "the current", moves: 3, n: 3, want: moved, g: 4},
			{name: "the current, from elsewhere", moves: 3, n: 3, from: elsewhere, want: moved, g: 4},
			{name: "the current, a moment before the idle end", moves: 1, wait: week - time.Microsecond, n: 1, want: moved, g: 2},

			{name: "the last, at once", moves: 1, n: 0, want: again, g: 1},
			{name: "the last, a moment before the grace ends", moves: 1, wait: grace - time.Microsecond, n: 0, want: again, g: 1},
			{name: "four back within the grace", moves: 4, between: 7 * time.Second, wait: 8 * time.Second, n: 0, want: again, g: 4},
			{name: "three back", moves: 4, between: time.Second, wait: time.Second, n: 1, want: again, g: 4},
			{name: "two back", moves: 4, between: time.Second, wait: time.Second, n: 2, want: again, g: 4},
			{name: "the last, from another network", moves: 1, wait: 2 * time.Second, n: 0, from: cafe, want: again, g: 1},
			{name: "the last, from another agent", moves: 1, wait: 2 * time.Second, n: 0, from: homeFox, want: again, g: 1},
			{name: "the last, a fifth time", moves: 1, wait: 2 * time.Second, before: replayed(0, 4), n: 0, want: again, g: 1},
			{name: "the last, after twenty of the same moment", moves: 1, before: func(w *env, u store.User, token string) {
				replayed(0, 20)(w, u, token)
				w.clock.Advance(2 * time.Second)
			}, n: 0, want: again, g: 1},
			{name: "the last, counted anew in each generation", moves: 1, wait: 2 * time.Second, before: func(w *env, u store.User, token string) {
				replayed(0, 5)(w, u, token)
				w.refreshed(w.nth(token, 1), home)
				w.clock.Advance(2 * time.Second)
				replayed(1, 4)(w, u, token)
			}, n: 1, want: again, g: 2},

			{name: "the last, when the grace has ended", moves: 1, wait: grace, n: 0, want: "REFRESH_INVALID", g: 1, ended: store.EventRefreshAnswerLost, event: store.EventRefreshAnswerLost},
			{name: "the last, days later", moves: 3, wait: 5 * 24 * time.Hour, n: 2, want: "REFRESH_INVALID", g: 3, ended: store.EventRefreshAnswerLost, event: store.EventRefreshAnswerLost},
			{name: "the last, late, from another network", moves: 1, wait: time.Minute, n: 0, from: cafe, want: "REFRESH_INVALID", g: 1, ended: store.EventRefreshAnswerLost, event: store.EventRefreshAnswerLost},
			{name: "the last, a sixth time", moves: 1, wait: 2 * time.Second, before: replayed(0, 5), n: 0, want: "REFRESH_INVALID", g: 1, ended: store.EventRefreshAnswerLost, event: store.EventRefreshAnswerLost},
			{name: "the last, a sixth time, under a clock set back", moves: 1, before: func(w *env, u store.User, token string) {
				w.clock.Advance(-time.Hour)
				replayed(0, 5)(w, u, token)
			}, n: 0, want: "REFRESH_INVALID", g: 1, ended: store.EventRefreshAnswerLost, event: store.EventRefreshAnswerLost},

			{name: "two back, when the grace has ended", moves: 2, between: 20 * time.Second, wait: 10 * time.Second, n: 0, want: "SESSION_REVOKED", g: 2, ended: store.EventRefreshTheft, event: store.EventRefreshTheft, told: true},
			{name: "four back, when the grace has ended", moves: 4, between: 7 * time.Second, wait: 9 * time.Second, n: 0, want: "SESSION_REVOKED", g: 4, ended: store.EventRefreshTheft, event: store.EventRefreshTheft, told: true},
			{name: "five back, at once", moves: 5, n: 0, want: "SESSION_REVOKED", g: 5, ended: store.EventRefreshTheft, event: store.EventRefreshTheft, told: true},
			{name: "long ago", moves: 12, between: time.Hour, n: 3, want: "SESSION_REVOKED", g: 12, ended: store.EventRefreshTheft, event: store.EventRefreshTheft, told: true},
			{name: "two back, a sixth time", moves: 2, wait: 2 * time.Second, before: replayed(0, 5), n: 0, want: "SESSION_REVOKED", g: 2, ended: store.EventRefreshTheft, event: store.EventRefreshTheft, told: true},
			{name: "the last, at once, from another network and agent", moves: 1, n: 0, from: elsewhere, want: "SESSION_REVOKED", g: 1, ended: store.EventRefreshTheft, event: store.EventRefreshTheft, told: true},
			{name: "the last, late, from another network and agent", moves: 1, wait: time.Hour, n: 0, from: elsewhere, want: "SESSION_REVOKED", g: 1, ended: store.EventRefreshTheft, event: store.EventRefreshTheft, told: true},

			{name: "one ahead", moves: 2, n: 3, want: again, g: 3, event: store.EventStoreWentBack},
			{name: "two ahead", moves: 2, n: 4, want: "REFRESH_INVALID", g: 2, ended: store.EventStoreWentBack, event: store.EventStoreWentBack},
			{name: "as far ahead as can be", n: math.MaxUint32, want: "REFRESH_INVALID", g: 0, ended: store.EventStoreWentBack, event: store.EventStoreWentBack},

			{name: "to the last number", before: func(w *env, _ store.User, token string) {
				w.setGrant(token, `generation = $1`, int64(math.MaxUint32-1))
			}, n: math.MaxUint32 - 1, want: moved, g: math.MaxUint32},
			{name: "past the last number", before: func(w *env, _ store.User, token string) {
				w.setGrant(token, `generation = $1`, int64(math.MaxUint32))
			}, n: math.MaxUint32, want: "REFRESH_EXPIRED", g: math.MaxUint32},

			// For an ended session no token raises an alarm.
			{name: "the current, idle too long", moves: 1, wait: week, n: 1, want: "REFRESH_EXPIRED", g: 1},
			{name: "spent, idle too long", moves: 3, wait: week, n: 0, from: elsewhere, want: "REFRESH_EXPIRED", g: 3},
			{name: "past the absolute end", moves: 1, before: func(w *env, _ store.User, token string) {
				w.setGrant(token, `idle_ends = $1, ends = $2`, w.clock.Now().Add(week).UnixMicro(), w.clock.Now().UnixMicro())
			}, n: 1, want: "REFRESH_EXPIRED", g: 1},
			{name: "past the session's end", moves: 1, before: func(w *env, _ store.User, token string) {
				g, _ := w.grant(token)
				w.exec(`UPDATE sessions SET ends_at = $1 WHERE id = $2`, w.clock.Now().UnixMicro(), g.SessionID)
			}, n: 1, want: "REFRESH_EXPIRED", g: 1},
			{name: "of an ended grant", moves: 3, before: func(w *env, _ store.User, token string) {
				w.setGrant(token, `ended_at = $1, end_reason = 'by hand'`, w.clock.Now().UnixMicro())
			}, n: 0, from: elsewhere, want: "SESSION_REVOKED", g: 3},
			{name: "of an ended session", moves: 3, before: func(w *env, _ store.User, token string) {
				g, _ := w.grant(token)
				w.exec(`UPDATE sessions SET ended_at = $1 WHERE id = $2`, w.clock.Now().UnixMicro(), g.SessionID)
			}, n: 0, from: elsewhere, want: "SESSION_REVOKED", g: 3},
			{name: "the current, of an ended session", moves: 1, before: func(w *env, _ store.User, token string) {
				g, _ := w.grant(token)
				w.exec(`UPDATE sessions SET ended_at = $1 WHERE id = $2`, w.clock.Now().UnixMicro(), g.SessionID)
			}, n: 1, want: "SESSION_REVOKED", g: 1},
			{name: "ended and idle too long", moves: 1, wait: week, before: func(w *env, _ store.User, token string) { w.setGrant(token, `ended_at = 1`) }, n: 1, want: "SESSION_REVOKED", g: 1},

			// The state of the user is checked after the ends of the grant and before the generation.
			{name: "of a locked user", moves: 1, before: lock, n: 1, want: "SESSION_REVOKED", g: 1},
			{name: "spent, of a locked user", moves: 3, before: lock, n: 0, from: elsewhere, want: "SESSION_REVOKED", g: 3},
			{name: "idle too long, of a locked user", moves: 1, wait: week, before: lock, n: 1, want: "REFRESH_EXPIRED", g: 1},
		} {
			t.Run(row.name, func(t *testing.T) {
				w := shared.in(t)
				w.rolledBack.Store(false)
				u := w.user()
				sibling := w.signIn(u)
				first := w.signIn(u)
				last := first
				for range row.moves {
					w.clock.Advance(row.between)
					last = w.refreshed(last.Refresh, home)
				}
				w.clock.Advance(row.wait)
				if row.before != nil {
					row.before(w, u, first.Refresh)
				}
				if row.from == (request.Info{}) {
					row.from = home
				}
				before, _ := w.grant(first.Refresh)
				told := len(w.notifications(u))

				tokens, err := w.Refresh(t.Context(), w.nth(first.Refresh, row.n), nil, row.from)
				g, s := w.grant(first.Refresh)
				if row.want == moved || row.want == again {
					w.must(err)
					if got := numberOf(tokens.Refresh); got != row.g || tokens.Session != s.ID || tokens.Scope != "profile" || w.tokenCode(tokens.Access) != "no error" {
						t.Errorf("got token %d of session %s, access token %s", got, tokens.Session, w.tokenCode(tokens.Access))
					}
					if left := earlier(g.IdleEnds, g.Ends).Sub(w.clock.Now()); tokens.RefreshLife != left {
						t.Errorf("got life %s, want %s", tokens.RefreshLife, left)
					}
					if prolonged := !g.IdleEnds.Equal(before.IdleEnds); g.Generation == before.Generation && prolonged {
						t.Error("the repeated response extended the grant")
					}
				} else if codeOf(err) != durward.Code(row.want) || tokens != (Tokens{}) {
					t.Errorf("got %v and tokens of session %q, want %s", err, tokens.Session, row.want)
				}
				if g.Generation != row.g || !g.Ends.Equal(before.Ends) {
					t.Errorf("got generation %d, absolute end %s", g.Generation, g.Ends)
				}
				if row.want == moved && (g.Network != row.from.Network() || g.Agent != row.from.Browser()) {
					t.Errorf("got network %s, agent %s", g.Network, g.Agent)
				}
				if before.EndedAt.IsZero() && g.EndReason != row.ended || row.ended != "" && (s.EndReason != row.ended || g.EndedAt.IsZero() || s.EndedAt.IsZero()) {
					t.Errorf("got end reasons %q of the grant and %q of the session, want %q", g.EndReason, s.EndReason, row.ended)
				}
				if dead := w.list.Revoked(revoked.Session, last.Session); dead != (row.ended != "") {
					t.Errorf("got session revoked %t", dead)
				}
				events := map[string]int{row.event: 1}
				for _, kind := range []string{store.EventRefreshAnswerLost, store.EventRefreshTheft, store.EventStoreWentBack} {
					if got := len(w.events(u, kind)); got != events[kind] {
						t.Errorf("got %d events %s", got, kind)
					}
				}
				if got := w.notifications(u)[:len(w.notifications(u))-told]; row.told != slices.Equal(got, []string{"session_ended_by_theft"}) || !row.told && len(got) > 0 {
					t.Errorf("got notifications %v", got)
				}
				if w.RolledBack() != (row.event == store.EventStoreWentBack) {
					t.Errorf("RolledBack: got %t", w.RolledBack())
				}
				// Afterwards every token is refused, without a second alarm.
				if row.ended != "" {
					for _, n := range []uint32{0, row.g, row.g + 1, row.g + 2} {
						w.refused(w.nth(first.Refresh, n), elsewhere, durward.SessionRevoked)
					}
					if got := len(w.events(u, row.event)); got != 1 {
						t.Errorf("got %d events at the end", got)
					}
				}
				// The other session lives, unless time or a lock ended it.
				if g, s := w.grant(sibling.Refresh); !g.EndedAt.IsZero() || !s.EndedAt.IsZero() {
					t.Error("the other session ended too")
				} else if locked, err := w.db.UserByID(t.Context(), u.ID); err == nil && locked.LockedAt.IsZero() && w.clock.Now().Before(g.IdleEnds) {
					w.refreshed(sibling.Refresh, home)
				}
			})
		}
	})
}

func lock(w *env, u store.User, _ string) {
	w.exec(`UPDATE users SET locked_at = $1 WHERE id = $2`, w.clock.Now().UnixMicro(), u.ID)
}

// If a lost response ends a grant, another grant of the session stays. Theft ends both.
func TestSiblingGrants(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		for _, theft := range []bool{false, true} {
			w := newEnv(t, engine, nil)
			first := w.signIn(w.user())
			second := w.refreshed(first.Refresh, home)
			w.exec(`INSERT INTO grants (id, session_id, client_id, scope, generation, salt, key_number, network, agent, created_at, idle_ends, ends)
				SELECT 'ffffffffffffffffffffffffffffffff', session_id, client_id, scope, 0, salt, key_number, network, agent, created_at, idle_ends, ends FROM grants`)
			other, err := w.refreshToken(store.Grant{ID: [16]byte(slices.Repeat([]byte{0xff}, 16)), Salt: func() []byte { g, _ := w.grant(first.Refresh); return g.Salt }(), Key: 1}, 0)
			w.must(err)
			w.clock.Advance(time.Minute)
			if theft {
				w.refused(first.Refresh, elsewhere, durward.SessionRevoked)
				w.refused(other, home, durward.SessionRevoked)
			} else {
				w.refused(first.Refresh, home, durward.RefreshInvalid)
				w.refreshed(other, home)
			}
			if dead := w.tokenCode(second.Access) == durward.TokenRevoked; dead != theft {
				t.Errorf("theft %t: access token of the session: got %s", theft, w.tokenCode(second.Access))
			}
		}
	})
}

// A removed scope is gone at the next refresh. A new scope comes with the next sign-in.
func TestScopeIsDecidedAnew(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		u := w.user()
		w.exec(`UPDATE users SET admin = 1 WHERE id = $1`, u.ID)
		u.Admin = true
		tokens := w.signIn(u)
		if tokens = w.refreshed(tokens.Refresh, home); tokens.Scope != "profile admin" {
			t.Fatalf("got scope %q", tokens.Scope)
		}
		w.exec(`UPDATE users SET admin = 0 WHERE id = $1`, u.ID)
		spent := tokens.Refresh
		for _, token := range []string{spent, spent} { // a rotation, then a repeated response
			tokens = w.refreshed(token, home)
			p, err := w.issuer.Verifier().Verify(t.Context(), tokens.Access)
			w.must(err)
			if tokens.Scope != "profile" || !slices.Equal(p.Scopes, []string{"profile"}) {
				t.Errorf("got scope %q, in the access token %v", tokens.Scope, p.Scopes)
			}
		}
		u.Admin = false
		low := w.signIn(u)
		w.exec(`UPDATE users SET admin = 1 WHERE id = $1`, u.ID)
		if got := w.refreshed(low.Refresh, home).Scope; got != "profile" {
			t.Errorf("got scope %q, which was not granted at the sign-in", got)
		}
	})
}

// A thousand refreshes do not extend the grant beyond its absolute end.
func TestAbsoluteEnd(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, func(c *Config) { c.RefreshTTL, c.RefreshAbsolute = time.Hour, 24*time.Hour })
		tokens := w.signIn(w.user())
		const moves = 200
		for n := range moves {
			w.clock.Advance(24 * time.Hour / (moves + 1))
			tokens = w.refreshed(tokens.Refresh, home)
			if want := min(time.Hour, noon.Add(24*time.Hour).Sub(w.clock.Now())); tokens.RefreshLife != want {
				t.Fatalf("after %d: got life %s, want %s", n, tokens.RefreshLife, want)
			}
			if g, _ := w.grant(tokens.Refresh); g.IdleEnds.After(g.Ends) {
				t.Fatalf("after %d: got idle end %s after the absolute end %s", n, g.IdleEnds, g.Ends)
			}
		}
		w.clock.Advance(noon.Add(24 * time.Hour).Sub(w.clock.Now()))
		w.refused(tokens.Refresh, home, durward.RefreshExpired)
	})
}

func TestForged(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		u := w.user()
		w.clock.Advance(time.Second)
		w.addRefreshKey(2) // so that the ring has a second key
		other := w.signIn(u).Refresh
		w.must(w.issuer.ReadKeys(t.Context()))
		token := w.refreshed(w.signIn(u).Refresh, home).Refresh
		g, _ := w.grant(token)
		gOther, _ := w.grant(other)
		if g.Key != 2 || gOther.Key != 1 {
			t.Fatalf("got keys %d and %d", g.Key, gOther.Key)
		}
		type macFunc = func(parts ...[]byte) []byte
		forged := func(number uint8, mac macFunc, n uint32, salt []byte) string {
			return altered(token, func(raw []byte) {
				raw[1] = number
				raw[18], raw[19], raw[20], raw[21] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
				copy(raw[22:24], mac(raw[:22]))
				copy(raw[24:], mac(raw[:22], salt))
			})
		}
		macWith := func(secret []byte) macFunc {
			return func(parts ...[]byte) []byte {
				h := hmac.New(sha256.New, secret)
				for _, p := range parts {
					h.Write(p)
				}
				return h.Sum(nil)
			}
		}
		k1, _ := w.issuer.RefreshKey(1)
		k2, _ := w.issuer.RefreshKey(2)
		var sealed []byte
		rows, err := w.db.Keys(t.Context(), store.UseRefresh)
		w.must(err)
		sealed = rows[1].Sealed

		bad := map[string]string{
			"empty": "", "the prefix": "dr_", "four longer": token + "AAAA", "longer": token + "A", "padded": token + "=", "shorter": token[:len(token)-1], "four shorter": token[:len(token)-4],
			"another prefix": "DR_" + token[3:], "blank before": " " + token, "blank for its last": token[:len(token)-1] + " ",
			"standard alphabet": token[:20] + "+/" + token[22:], "line break": token[:20] + "\n" + token[21:], "line breaks beside": token[:62] + "\r\n" + token[64:], "NUL": token[:20] + "\x00" + token[21:],
			"another version":                             altered(token, func(raw []byte) { raw[0] = 2 }),
			"another key of the ring, with its MAC":       forged(1, k1.MAC, 1, g.Salt),
			"another grant's salt":                        forged(2, k2.MAC, 1, gOther.Salt),
			"stolen key, no salt":                         forged(2, k2.MAC, 1, nil),
			"stolen key, salt of zeroes":                  forged(2, k2.MAC, 1, make([]byte, 32)),
			"stolen database, a key of zeroes":            forged(2, macWith(make([]byte, 32)), 1, g.Salt),
			"stolen database, the sealed key":             forged(2, macWith(sealed), 1, g.Salt),
			"stolen key without the epoch":                forged(2, macWith(slices.Repeat([]byte{2}, 32)), 1, g.Salt),
			"check octets right, MAC of another number":   altered(token, func(raw []byte) { raw[21] = 2; copy(raw[22:24], k2.MAC(raw[:22])[:2]) }),
			"check octets right, grant of another number": altered(token, func(raw []byte) { raw[17] ^= 1; copy(raw[22:24], k2.MAC(raw[:22])[:2]) }),
			"an access token":                             w.signIn(u).Access,
		}
		for i := range refreshOctets {
			for _, bit := range []byte{1, 0x80} {
				bad[fmt.Sprintf("octet %d with bit %x", i, bit)] = altered(token, func(raw []byte) { raw[i] ^= bit })
			}
		}
		before := w.rows("grants")
		for name, token := range bad {
			tokens, err := w.Refresh(t.Context(), token, nil, home)
			if codeOf(err) != durward.RefreshInvalid || tokens != (Tokens{}) {
				t.Errorf("%s: got %v", name, err)
			}
			if user, session, err := w.SessionOfRefreshToken(t.Context(), token); codeOf(err) != durward.RefreshInvalid || user != "" || session != "" {
				t.Errorf("%s, at sign-out: got %v", name, err)
			}
			if err != nil && len(token) > 10 && strings.Contains(err.Error(), token[3:]) {
				t.Errorf("%s: the error contains the token", name)
			}
		}
		if got := w.rows("grants"); got != before {
			t.Errorf("forged tokens changed a grant:\n%s\n%s", before, got)
		}
		if w.RolledBack() || len(w.events(u, store.EventRefreshTheft)) > 0 {
			t.Error("forged tokens raised an alarm")
		}
		// With both the key and the row a token can be forged; the tokens above lacked one of them.
		w.refreshed(forged(2, k2.MAC, 1, g.Salt), home)
	})
}

// rows returns the contents of a table of grants.
func (w *env) rows(table string) string {
	w.t.Helper()
	db := w.rawDB()
	defer db.Close()
	rows, err := db.QueryContext(context.Background(), `SELECT id, generation, replays, ended_at, moved_0, network, agent FROM `+table+` ORDER BY id`)
	w.must(err)
	defer rows.Close()
	var all strings.Builder
	for rows.Next() {
		var id, network, agent string
		var n [4]int64
		w.must(rows.Scan(&id, &n[0], &n[1], &n[2], &n[3], &network, &agent))
		fmt.Fprintln(&all, id, n, network, agent)
	}
	w.must(rows.Err())
	return all.String()
}

// The database contains no token and no secret that makes one.
func TestDatabaseHoldsNoToken(t *testing.T) {
	t.Parallel()
	w := newEnv(t, testkit.SQLite, nil)
	tokens := w.signIn(w.user())
	p, err := parseRefresh(tokens.Refresh)
	w.must(err)
	k, _ := w.issuer.RefreshKey(p.key)
	for _, secret := range []string{tokens.Refresh[3:], tokens.Access, string(p.raw[22:]), string(k.MAC(p.raw[:22]))} {
		for _, column := range []string{"salt", "id", "network"} {
			var n int
			db := w.rawDB()
			w.must(db.QueryRowContext(t.Context(), `SELECT count(*) FROM grants WHERE instr(hex(`+column+`), hex($1)) > 0`, []byte(secret)).Scan(&n))
			w.must(db.Close())
			if n != 0 {
				t.Errorf("grants.%s contains a secret", column)
			}
		}
	}
	if logs := w.logs.String(); strings.Contains(logs, tokens.Refresh[3:]) || strings.Contains(logs, tokens.Access) {
		t.Error("the log contains a token")
	}
}

// Forged tokens are limited; valid and used ones are not.
func TestBadOnesAreCounted(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		w.c.BadTokens = limits.NewRate(limits.RateConfig{Name: "refresh", Most: 3, Now: w.clock.Now})
		first := w.signIn(w.user())
		for range 3 {
			w.refused("dr_nonsense", home, durward.RefreshInvalid)
		}
		w.refused("dr_nonsense", home, durward.TooManyAttempts)
		w.refused("dr_nonsense", cafe, durward.RefreshInvalid)
		second := w.refreshed(first.Refresh, home)
		w.refreshed(first.Refresh, home)
		w.clock.Advance(8 * 24 * time.Hour)
		for range 4 {
			_, _ = w.Refresh(t.Context(), "dr_nonsense", nil, home)
		}
		w.refused("dr_nonsense", home, durward.TooManyAttempts)
		w.refused(second.Refresh, home, durward.RefreshExpired)
	})
}

func TestSessionOfRefreshToken(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		u := w.user()
		first := w.signIn(u)
		second := w.refreshed(first.Refresh, home)
		w.clock.Advance(time.Hour)
		w.refused(first.Refresh, home, durward.RefreshInvalid) // the grant ended
		for _, token := range []string{first.Refresh, second.Refresh} {
			user, session, err := w.SessionOfRefreshToken(t.Context(), token)
			if err != nil || user != u.ID || session != first.Session {
				t.Errorf("token %d: got user %s, session %s, %v", numberOf(token), user, session, err)
			}
		}
	})
}

// The grace does not run while no node is up. It starts again afterwards.
func TestGraceAndOutage(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		for _, c := range []struct {
			name                string
			before, down, after time.Duration // time from the rotation to the last sign of life, length of the outage, time since its end
			crashed             bool          // the last sign of life is older than the rotation
			works               bool
		}{
			{"asked at once", 0, time.Hour, 0, false, true},
			{"asked a moment before the new grace ends", 29 * time.Second, time.Hour, 30*time.Second - time.Microsecond, false, true},
			{"asked when it has ended", 29 * time.Second, time.Hour, 30 * time.Second, false, false},
			{"the grace had ended before the outage", 30 * time.Second, time.Hour, 0, false, false},
			{"a crash between move and beat", 0, time.Hour, 10 * time.Second, true, true},
			{"a short outage", 20 * time.Second, time.Second, 20 * time.Second, false, true},
		} {
			w := newEnv(t, engine, nil)
			first := w.signIn(w.user())
			w.must(w.db.Beat(t.Context(), w.clock.Now()))
			w.clock.Advance(time.Second)
			second := w.refreshed(first.Refresh, home)
			w.clock.Advance(c.before)
			if !c.crashed {
				w.must(w.db.Beat(t.Context(), w.clock.Now()))
			}
			w.must(w.db.Close())
			w.clock.Advance(c.down)
			w.open()
			w.clock.Advance(c.after)
			if c.works {
				if got := w.refreshed(first.Refresh, home).Refresh; got != second.Refresh {
					t.Errorf("%s: got another token", c.name)
				}
			} else {
				w.refused(first.Refresh, home, durward.RefreshInvalid)
			}
		}
	})
}

// The grace does not run while the node cannot reach the database.
func TestGraceWhileDatabaseIsAway(t *testing.T) {
	t.Parallel()
	type step struct {
		after   time.Duration
		away    bool          // otherwise it is reachable again
		reached time.Duration // time since it was last reached
	}
	for _, c := range []struct {
		name  string
		steps []step // after the rotation
		after time.Duration
		works bool
	}{
		{"while it lasts", []step{{time.Second, true, 2 * time.Second}}, time.Hour, true},
		{"at its end", []step{{time.Second, true, 2 * time.Second}, {time.Hour, false, 0}}, 0, true},
		{"a moment before the new grace ends", []step{{time.Second, true, 2 * time.Second}, {time.Hour, false, 0}}, 30*time.Second - time.Microsecond, true},
		{"when it has ended", []step{{time.Second, true, 2 * time.Second}, {time.Hour, false, 0}}, 30 * time.Second, false},
		{"the grace had ended before", []step{{31 * time.Second, true, time.Second}, {time.Hour, false, 0}}, 0, false},
		{"away still after the grace had ended before", []step{{31 * time.Second, true, time.Second}}, 0, false},
		{"noticed twice", []step{{time.Second, true, 2 * time.Second}, {time.Hour, true, time.Hour}, {time.Second, false, 0}}, 0, true},
		{"away twice in a row", []step{{time.Second, true, 2 * time.Second}, {time.Hour, false, 0}, {29 * time.Second, true, 0}, {time.Hour, false, 0}}, 29 * time.Second, true},
		{"away again when the new grace had ended", []step{{time.Second, true, 2 * time.Second}, {time.Hour, false, 0}, {30 * time.Second, true, 0}, {time.Hour, false, 0}}, 0, false},
		{"never away", []step{{time.Second, false, 0}}, 29 * time.Second, false},
	} {
		w := newEnv(t, testkit.SQLite, nil)
		first := w.signIn(w.user())
		w.clock.Advance(time.Hour) // past the grace of the start
		first = w.refreshed(first.Refresh, home)
		second := w.refreshed(first.Refresh, home)
		for _, s := range c.steps {
			w.clock.Advance(s.after)
			w.recordOutage(s.away, w.clock.Now().Add(-s.reached))
		}
		w.clock.Advance(c.after)
		if c.works {
			if got := w.refreshed(first.Refresh, home).Refresh; got != second.Refresh {
				t.Errorf("%s: got another token", c.name)
			}
		} else {
			w.refused(first.Refresh, home, durward.RefreshInvalid)
		}
		if t.Failed() {
			t.Fatal(c.name)
		}
	}
}

// If the grant was rotated or ended after it was read, Refresh reads it again.
func TestRotatedAfterRead(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		first := w.signIn(w.user())
		second := w.refreshed(first.Refresh, home)
		w.clock.Advance(2 * time.Second)
		g, s := w.grant(first.Refresh)
		third := w.refreshed(second.Refresh, home)
		for n, of := range []string{"replay", "rotation"} {
			r := Rotated{Grant: g, Session: s, at: w.clock.Now()}
			if err := w.decide(t.Context(), &r, uint32(n), home); !errors.Is(err, errRotated) {
				t.Errorf("%s: got %v, want errRotated", of, err)
			}
		}
		if got := w.refreshed(second.Refresh, home).Refresh; got != third.Refresh {
			t.Error("got another token")
		}
	})
}

func TestManyRefreshOneToken(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		first := w.signIn(w.user())
		const many = 200
		answers := make([]Tokens, many)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for n := range many {
			wg.Go(func() {
				<-start
				var err error
				if answers[n], err = w.Refresh(context.Background(), first.Refresh, nil, home); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		access := make(map[string]bool)
		for _, a := range answers {
			access[a.Access] = true
			if a.Refresh != answers[0].Refresh || w.tokenCode(a.Access) != "no error" {
				t.Fatalf("got token %d, access token %s", numberOf(a.Refresh), w.tokenCode(a.Access))
			}
		}
		if g, _ := w.grant(first.Refresh); g.Generation != 1 || len(access) != many {
			t.Errorf("got generation %d, %d access tokens", g.Generation, len(access))
		}
	})
}

// model is a simple model of one grant.
type model struct {
	user, session string
	tokens        []string          // in the order of their issue; the last is current
	spent         map[int]time.Time // when each was used
	idleEnds      time.Time
	ends          time.Time
	ended         bool
	replays       int
	network       string
	agent         string
	held          int // the token that the honest client holds
}

// Sign-ins, refreshes, replays, time, locks, sign-outs and restarts in random order behave like the
// model.
func TestRefreshModel(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		down, up := w.clock.Now(), w.clock.Now() // the last outage
		rapid.Check(t, func(t *rapid.T) {
			grants := map[string]*model{}
			users := []store.User{w.user(), w.user()}
			pick := func(t *rapid.T) *model {
				keys := slices.Sorted(maps.Keys(grants))
				if len(keys) == 0 {
					t.Skip()
				}
				return grants[rapid.SampledFrom(keys).Draw(t, "grant")]
			}
			end := func(session string) {
				grants[session].ended = true
			}
			// present sends token n of m and reports whether it was accepted.
			present := func(t *rapid.T, m *model, n int, from request.Info) bool {
				now := w.clock.Now()
				g := len(m.tokens) - 1
				var want durward.Code = "no error"
				token := g
				sinceSpent := func() time.Duration {
					at := m.spent[n]
					if at.Before(up) && down.Sub(at) < 30*time.Second {
						return now.Sub(up)
					}
					return now.Sub(at)
				}
				away := m.network != from.Network() && m.agent != from.Browser()
				switch {
				case m.ended:
					want = durward.SessionRevoked
				case !now.Before(m.idleEnds) || !now.Before(m.ends):
					want = durward.RefreshExpired
				case n == g:
					token = g + 1
				case g-n <= 4 && sinceSpent() < 30*time.Second && !away:
					if now.Sub(m.spent[g-1]) >= time.Second {
						m.replays++
					}
					if m.replays > 5 && now.Sub(m.spent[g-1]) >= time.Second {
						want = durward.SessionRevoked
						if g-n == 1 {
							want = durward.RefreshInvalid
						}
					}
				case g-n == 1 && !away:
					want = durward.RefreshInvalid
				default:
					want = durward.SessionRevoked
				}
				tokens, err := w.Refresh(context.Background(), m.tokens[n], nil, from)
				if codeOf(err) != want {
					t.Fatalf("token %d of a grant at %d: got %v, want %s", n, g, err, want)
				}
				if want != "no error" {
					if want != durward.RefreshExpired {
						end(m.session)
					}
					return false
				}
				if at, ok := m.spent[n]; ok && now.Sub(at) >= 30*time.Second && now.Sub(up) >= 30*time.Second {
					t.Fatalf("token %d, used at %s, was accepted at %s", n, at, now)
				}
				if got := int(numberOf(tokens.Refresh)); got != token {
					t.Fatalf("token %d of a grant at %d: got token %d", n, g, got)
				}
				if token == g+1 {
					m.tokens = append(m.tokens, tokens.Refresh)
					m.spent[g], m.replays, m.network, m.agent = now, 0, from.Network(), from.Browser()
					m.idleEnds = now.Add(7 * 24 * time.Hour)
				} else if tokens.Refresh != m.tokens[g] {
					t.Fatal("got two different current tokens")
				}
				return true
			}
			froms := rapid.SampledFrom([]request.Info{home, home, home, cafe, homeFox, elsewhere})
			t.Repeat(map[string]func(*rapid.T){
				"sign in": func(t *rapid.T) {
					u := rapid.SampledFrom(users).Draw(t, "user")
					tokens, err := w.SignIn(context.Background(), w.proof(u), nil, home)
					if err != nil {
						t.Fatal(err)
					}
					now := w.clock.Now()
					grants[tokens.Session] = &model{user: u.ID, session: tokens.Session, tokens: []string{tokens.Refresh}, spent: map[int]time.Time{},
						idleEnds: now.Add(7 * 24 * time.Hour), ends: now.Add(30 * 24 * time.Hour), network: home.Network(), agent: home.Browser()}
				},
				"refresh": func(t *rapid.T) {
					m := pick(t)
					if m.held = min(m.held, len(m.tokens)-1); present(t, m, m.held, home) {
						m.held = len(m.tokens) - 1
					}
				},
				"lose the answer, then try again": func(t *rapid.T) {
					m := pick(t)
					m.held = len(m.tokens) - 1
					if !present(t, m, m.held, home) {
						return
					}
					tries := rapid.IntRange(1, 5).Draw(t, "tries")
					for range tries {
						w.clock.Advance(time.Duration(rapid.IntRange(0, 5999).Draw(t, "ms")) * time.Millisecond)
						if !present(t, m, m.held, home) {
							t.Fatal("a client that followed the protocol was signed out")
						}
					}
					m.held = len(m.tokens) - 1
				},
				"replay": func(t *rapid.T) {
					m := pick(t)
					present(t, m, rapid.IntRange(0, len(m.tokens)-1).Draw(t, "n"), froms.Draw(t, "from"))
				},
				"seconds": func(t *rapid.T) {
					w.clock.Advance(time.Duration(rapid.IntRange(0, 45_000).Draw(t, "ms")) * time.Millisecond)
				},
				"days": func(t *rapid.T) {
					w.clock.Advance(time.Duration(rapid.IntRange(1, 8*24).Draw(t, "hours")) * time.Hour)
				},
				"lock and unlock": func(t *rapid.T) {
					u := rapid.SampledFrom(users).Draw(t, "user")
					event := func() store.Event {
						return store.Event{ID: store.NewID(), Kind: "lock", At: w.clock.Now(), UserID: u.ID}
					}
					if _, err := w.db.LockUser(context.Background(), u.ID, w.clock.Now(), event()); err != nil {
						t.Fatal(err)
					}
					for _, m := range grants {
						m.ended = m.ended || m.user == u.ID
					}
					if err := w.db.UnlockUser(context.Background(), u.ID, event()); err != nil {
						t.Fatal(err)
					}
				},
				"sign out": func(t *rapid.T) {
					m := pick(t)
					if _, err := w.db.EndSession(context.Background(), m.session, m.user, "signed out", w.clock.Now(), store.Event{ID: store.NewID(), Kind: "end", At: w.clock.Now()}, ""); err != nil {
						t.Fatal(err)
					}
					end(m.session)
				},
				"restart": func(t *rapid.T) {
					if err := w.db.Beat(context.Background(), w.clock.Now()); err != nil {
						t.Fatal(err)
					}
					if w.clock.Now().Sub(up) >= 30*time.Second { // else both outages count as one
						down = w.clock.Now()
					}
					if err := w.db.Close(); err != nil {
						t.Fatal(err)
					}
					w.clock.Advance(time.Duration(rapid.IntRange(0, 120).Draw(t, "down")) * time.Second)
					up = w.clock.Now()
					if err := w.tryOpen(); err != nil {
						t.Fatal(err)
					}
				},
			})
		})
	})
}

// A refresh token that parses has one spelling.
func FuzzParseRefresh(f *testing.F) {
	w := newEnv(f, testkit.SQLite, nil)
	token := w.signIn(w.user()).Refresh
	for _, seed := range []string{token, "", "dr_", token[:66], token + "=", token[:20] + "\n" + token[21:], altered(token, func(raw []byte) { raw[0] = 0 }), "dr_" + strings.Repeat("-", 64), "dr_" + strings.Repeat("_", 64)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		p, err := parseRefresh(token)
		if err != nil {
			if _, _, err := w.presented(token); codeOf(err) != durward.RefreshInvalid {
				t.Errorf("%q: got %v, want RefreshInvalid", token, err)
			}
			return
		}
		if got := refreshPrefix + base64.RawURLEncoding.EncodeToString(p.raw[:]); got != token {
			t.Errorf("%q: got %q", token, got)
		}
		// A token that is derived from the parts has the same head.
		again, err := w.refreshToken(store.Grant{ID: p.grant, Key: 1, Salt: nil}, p.n)
		if err != nil || p.raw[0] != refreshVersion || p.raw[1] != p.key || again[3+3:3+29] != token[3+3:3+29] {
			t.Errorf("%q: got grant %x, number %d, token %q, %v", token, p.grant, p.n, again, err)
		}
	})
}

func BenchmarkSignIn(b *testing.B) {
	w := newEnv(b, testkit.SQLite, nil)
	u := w.user()
	b.ReportAllocs()
	for b.Loop() {
		w.signIn(u)
	}
}

func BenchmarkRefresh(b *testing.B) {
	b.Run("move", func(b *testing.B) {
		w := newEnv(b, testkit.SQLite, nil)
		token := w.signIn(w.user()).Refresh
		b.ReportAllocs()
		for b.Loop() {
			token = w.refreshed(token, home).Refresh
		}
	})
	b.Run("replay", func(b *testing.B) {
		w := newEnv(b, testkit.SQLite, nil)
		token := w.signIn(w.user()).Refresh
		w.refreshed(token, home)
		b.ReportAllocs()
		for b.Loop() {
			w.refreshed(token, home)
		}
	})
	b.Run("moves by 64 clients", func(b *testing.B) {
		w := newEnv(b, testkit.SQLite, nil)
		u := w.user()
		b.SetParallelism(32)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			token := w.signIn(u).Refresh
			for pb.Next() {
				token = w.refreshed(token, home).Refresh
			}
		})
	})
}
