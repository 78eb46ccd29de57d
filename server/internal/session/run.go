package session

import (
	"context"
	"errors"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/store/backup"
)

// endedKept is the time for which a session is kept after its absolute end, so that a late client is
// told that it ended.
const endedKept = 7 * 24 * time.Hour

// Start records that this node begins to answer, and reads how long no node was up. The grace of
// refresh tokens does not run in that time.
func (m *Manager) Start(ctx context.Context) error {
	outage, err := m.c.DB.Start(ctx, m.c.Now(), m.c.RefreshGrace)
	if err == nil {
		m.outage.Store(&outage)
	}
	return err
}

// RolledBack reports whether the database lost changes that it had acknowledged: a client sent a
// newer refresh token than the database knows, or its history no longer continues the checkpoint.
func (m *Manager) RolledBack() bool { return m.rolledBack.Load() }

// Recorded reports whether the checkpoint is up to date. Without it, a rollback might go unnoticed at the
// next start.
func (m *Manager) Recorded() bool { return !m.unrecorded.Load() }

// Run maintains the sessions until ctx ends. Every second it checks whether the database can be
// reached and whether it was rolled back; every 5 seconds it records that this node is up; every
// minute it deletes revocations, sessions, half-finished sign-ins and spent challenges that are no longer
// needed. A jump of the clock becomes an event of the security log.
func (m *Manager) Run(ctx context.Context) {
	reached := m.c.Now()
	var jump store.Event // the last one, until it is stored
	save := true         // the clocks
	store.EverySecond(ctx, m.c.Log, "maintain sessions in the database", func(n int) error {
		began := m.c.Now()
		err := m.c.DB.Reachable(ctx)
		by := m.c.DB.Jumped()
		if save = save || n%60 == 0 || by != 0; save { // after a jump, new rows have times of another clock
			saved := m.c.DB.SaveClocks(ctx)
			err, save = errors.Join(err, saved), saved != nil
		}
		if n%60 == 0 {
			err = errors.Join(err, m.c.DB.PurgeRevocations(ctx), m.c.DB.PurgeSessions(ctx, endedKept), m.c.DB.PurgeSignIns(ctx), m.c.DB.PurgeCodes(ctx), m.c.DB.PurgeRequests(ctx), m.c.DB.PurgeChallenges(ctx))
		}
		if by != 0 {
			jump = store.Event{ID: store.NewID(), Kind: store.EventClockJumped, At: began, Outcome: "noted", Detail: "by " + by.String()}
			m.c.Log.Error("the clock jumped; if it is wrong now, set it right", "by", by, "now", began)
		}
		if jump.ID != "" {
			added := m.c.DB.AddEvents(ctx, []store.Event{jump})
			if err = errors.Join(err, added); added == nil {
				jump = store.Event{}
			}
		}
		if n%int(store.BeatEvery/time.Second) == 0 {
			err = errors.Join(err, m.c.DB.Beat(ctx, m.c.Now()))
		}
		if away := errors.Is(err, store.ErrUnavailable); away || err == nil {
			m.recordOutage(away, reached)
			if !away {
				reached = began
			}
		}
		// A node goes on after a rollback with its state in memory, but it does not start again with
		// that database.
		saved := m.c.Checkpoint.Save(ctx, m.c.DB)
		m.unrecorded.Store(saved != nil && !errors.Is(saved, store.ErrUnavailable))
		if errors.Is(saved, backup.ErrRollback) {
			m.rolledBack.Store(true)
		}
		return errors.Join(err, saved)
	})
}

// recordOutage records that the database is unavailable since it was last reached, or that it is
// available again.
func (m *Manager) recordOutage(away bool, reached time.Time) {
	last := m.outage.Load()
	lasts := last != nil && last.UpAt.IsZero()
	switch {
	case away && !lasts && last != nil && reached.Sub(last.UpAt) < m.c.RefreshGrace:
		// The grace after the last outage had not ended: both outages count as one.
		m.outage.Store(&store.Outage{DownAt: last.DownAt})
	case away && !lasts:
		m.outage.Store(&store.Outage{DownAt: reached})
	case !away && lasts:
		m.outage.Store(&store.Outage{DownAt: last.DownAt, UpAt: m.c.Now()})
	}
}
