package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/testkit"
)

func TestNewEpoch(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		for _, keep := range []bool{false, true} {
			t.Run(fmt.Sprintf("keep sessions: %t", keep), func(t *testing.T) {
				t.Parallel()
				address := fresh(t)
				db := openAt(t, address)
				furnish(t, db)
				must(t, db.AddKey(t.Context(), aKey("key-refresh", UseRefresh, KeyActive, 1), anEvent(EventKeyCreated, "")))
				first := db.Epoch()
				ended, err := write(t.Context(), db, func(tx *tx) (Ended, error) {
					return tx.BeginEpoch(NewEpoch{
						KeepSessions: keep,
						Past:         []string{"OTHER", first},
						At:           noon,
						Until:        later,
						Event:        anEvent(EventEpochBegun, ""),
					})
				})
				must(t, err)
				count := func(query string) (n int64) {
					must(t, db.reader(t.Context()).row(query).Scan(&n))
					return n
				}
				alive := map[string]int64{
					"signing keys": count(`SELECT count(*) FROM keys WHERE use_for = 'signing' AND (state <> 'gone' OR length(sealed) > 0)`),
					"API keys":     count(`SELECT count(*) FROM api_keys WHERE revoked_at = 0`),
					"sessions":     count(`SELECT count(*) FROM sessions WHERE ended_at = 0`),
					"grants":       count(`SELECT count(*) FROM grants WHERE ended_at = 0`),
					"cookies":      count(`SELECT count(*) FROM cookies`),
				}
				for what, n := range alive {
					if (n > 0) != keep {
						t.Errorf("%d valid %s, want them kept: %t", n, what, keep)
					}
				}
				if n := count(`SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM mail_tokens)`); n != 0 {
					t.Errorf("%d mails and tokens of mails, want none, since they may have been used", n)
				}
				if (ended.SigningKeys > 0) == keep || (ended.APIKeys > 0) == keep || (ended.Sessions > 0) == keep {
					t.Errorf("ended %+v", ended)
				}
				if n := count(`SELECT count(*) FROM revocations WHERE kind = 'kid'`); n != ended.SigningKeys {
					t.Errorf("%d keys revoked, %d ended", n, ended.SigningKeys)
				}
				if n := count(`SELECT count(*) FROM keys WHERE use_for = 'refresh' AND state = 'active' AND length(sealed) > 0`); n == 0 {
					t.Error("the refresh key ended, want it kept: the epoch is mixed into it")
				}
				again := openAt(t, address)
				sessions := ended.Epoch
				if keep {
					sessions = first
				}
				p, err := again.Position(t.Context(), 0)
				must(t, err)
				if again.Epoch() != ended.Epoch || again.SessionEpoch() != sessions || strings.Join(p.Past, " ") != "OTHER "+first {
					t.Errorf("epoch %s, of sessions %s, past %v", again.Epoch(), again.SessionEpoch(), p.Past)
				}
			})
		}
	})
}
