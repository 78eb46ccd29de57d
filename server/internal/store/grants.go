package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Grant is the right of a client to refresh the tokens of a session.
type Grant struct {
	ID             [16]byte
	SessionID      string
	ClientID       string
	Scope          string
	Generation     uint32 // of the current refresh token
	Salt           []byte
	Key            uint8        // number of the refresh key
	Moved          [4]time.Time // when it reached this generation, the one before, and so on
	Replays        int          // repeated answers in this generation
	Network, Agent string       // of the last refresh
	Resources      []string     // audiences that its access tokens may have; empty: that of the server
	Claims         string       // requested claims (OpenID Connect Core s5.5), as JSON; empty for none
	JKT            string       // thumbprint of the DPoP key that it is bound to (RFC 9449 s5); empty for none
	CreatedAt      time.Time
	IdleEnds, Ends time.Time
	EndedAt        time.Time // zero while it is live
	EndReason      string
}

const grantColumns = `grants.id, grants.session_id, grants.client_id, grants.scope, grants.generation, grants.salt, grants.key_number,
	grants.moved_0, grants.moved_1, grants.moved_2, grants.moved_3, grants.replays, grants.network, grants.agent, grants.jkt,
	grants.created_at, grants.idle_ends, grants.ends, grants.ended_at, grants.end_reason, grants.resources, grants.claims`

func (g *Grant) fields() []any {
	return []any{(*idColumn)(&g.ID), &g.SessionID, &g.ClientID, &g.Scope, &g.Generation, &g.Salt, &g.Key,
		into(&g.Moved[0]), into(&g.Moved[1]), into(&g.Moved[2]), into(&g.Moved[3]), &g.Replays, &g.Network, &g.Agent, &g.JKT,
		into(&g.CreatedAt), into(&g.IdleEnds), into(&g.Ends), into(&g.EndedAt), &g.EndReason, (*wordsColumn)(&g.Resources), &g.Claims}
}

// idColumn scans the hexadecimal id of a grant.
type idColumn [16]byte

func (c *idColumn) Scan(value any) error {
	text, _ := value.(string)
	id, err := hex.DecodeString(text)
	if err != nil || len(id) != len(c) {
		return fmt.Errorf("store: malformed grant id %q", text)
	}
	copy(c[:], id)
	return nil
}

func grantID(id [16]byte) string { return hex.EncodeToString(id[:]) }

func (t *tx) insertGrant(g Grant) error {
	return t.exec(`INSERT INTO grants (id, session_id, client_id, scope, generation, salt, key_number, network, agent, jkt, created_at, idle_ends, ends, resources, claims)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
		grantID(g.ID), g.SessionID, g.ClientID, g.Scope, g.Generation, g.Salt, g.Key, g.Network, g.Agent, g.JKT, micros(g.CreatedAt), micros(g.IdleEnds), micros(g.Ends),
		strings.Join(g.Resources, " "), g.Claims)
}

// GrantByID returns a grant with its session and user, or ErrNotFound.
func (db *DB) GrantByID(ctx context.Context, id [16]byte) (g Grant, s Session, u User, err error) {
	err = db.reader(ctx).get([]record{&g, &s, &u}, `SELECT `+grantColumns+`, `+sessionColumns+`, `+userColumns+`
		FROM grants JOIN sessions ON sessions.id = grants.session_id JOIN users ON users.id = sessions.user_id WHERE grants.id = $1`, grantID(id))
	return g, s, u, err
}

// Rotate is the move of a grant to another generation.
type Rotate struct {
	GrantID        [16]byte
	From, To       uint32 // generations
	At             time.Time
	IdleEnds       time.Time
	Network, Agent string
}

// RotateRefresh moves a live grant that is still at r.From. It reports whether this call moved it: of
// several concurrent calls, one does.
func (db *DB) RotateRefresh(ctx context.Context, r Rotate) (moved bool, err error) {
	moved, err = db.engine.update(ctx, query{`UPDATE grants SET generation = $3, moved_3 = moved_2, moved_2 = moved_1, moved_1 = moved_0, moved_0 = $4,
		replays = 0, idle_ends = $5, network = $6, agent = $7 WHERE id = $1 AND generation = $2 AND ended_at = 0`,
		[]any{grantID(r.GrantID), r.From, r.To, micros(r.At), micros(r.IdleEnds), r.Network, r.Agent}},
		query{`SELECT 1 FROM grants WHERE id = $1 AND (generation = $2 AND moved_0 = $3 OR generation = $2 + 1 AND moved_1 = $3
			OR generation = $2 + 2 AND moved_2 = $3 OR generation = $2 + 3 AND moved_3 = $3)`,
			[]any{grantID(r.GrantID), int64(r.To), micros(r.At)}})
	return moved, db.noted(err)
}

// CountReplay counts a repeated answer and returns the count in this generation. It returns ErrNotFound if
// the grant has moved.
func (db *DB) CountReplay(ctx context.Context, id [16]byte, generation uint32) (count int, err error) {
	return write(ctx, db, func(tx *tx) (count int, err error) {
		err = tx.row(`UPDATE grants SET replays = replays + 1 WHERE id = $1 AND generation = $2 AND ended_at = 0 RETURNING replays`,
			grantID(id), generation).Scan(&count)
		// The evidence may be the count of another call, which is harmless.
		tx.setEvidence(`SELECT 1 FROM grants WHERE id = $1 AND (generation <> $2 OR replays >= $3)`, grantID(id), int64(generation), count)
		return count, err
	})
}

// EndGrant ends a grant, and its session if it has no other grant.
func (db *DB) EndGrant(ctx context.Context, id [16]byte, reason string, until time.Time, e Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) (revoked []Revocation, err error) {
		var sessionID string
		// Lock the session before its grants, as endSession does.
		err = tx.row(`SELECT sessions.id FROM grants JOIN sessions ON sessions.id = grants.session_id WHERE grants.id = $1`+tx.forUpdate("sessions"), grantID(id)).Scan(&sessionID)
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		if tx.changed(`UPDATE grants SET ended_at = $2, end_reason = $3 WHERE id = $1 AND ended_at = 0`, grantID(id), micros(e.At), reason) == 0 {
			return nil, nil // it had ended
		}
		if tx.number(`SELECT count(*) FROM grants WHERE session_id = $1 AND ended_at = 0`, sessionID) == 0 {
			revoked = tx.endSession(sessionID, reason, e.At, until)
		}
		return revoked, tx.event(e)
	})
}
