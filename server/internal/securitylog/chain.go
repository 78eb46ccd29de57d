package securitylog

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// sealBatch is the largest number of events that one seal covers.
const sealBatch = 500

// chainKey signs and verifies seals. It is derived from the master key, so all nodes have the same one.
type chainKey struct {
	private ed25519.PrivateKey
	id      string
}

func newChainKey(m *seal.Master) (chainKey, error) {
	seed, err := m.Derive("security log seals")
	if err != nil {
		return chainKey{}, err
	}
	k := chainKey{private: ed25519.NewKeyFromSeed(seed)}
	id := sha256.Sum256(k.public())
	k.id = hex.EncodeToString(id[:8])
	return k, nil
}

func (k chainKey) public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// hashOf returns the hash of an event in the chain: SHA-256 of the hash of the event before (32 zero
// bytes for the first event), the number (8 bytes), and each column after its length (4 bytes), in the
// order of the table with the time as decimal microseconds. Lengths are big-endian.
func hashOf(before []byte, e store.Event) []byte {
	h := sha256.New()
	h.Write(before)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(e.Number)))
	for _, text := range []string{
		e.ID, e.Kind, fmt.Sprint(e.At.UnixMicro()), e.UserID, e.Actor, e.SessionID,
		e.Outcome, e.Network, e.Device, e.DenialID, e.Detail,
	} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(text))))
		h.Write([]byte(text))
	}
	return h.Sum(nil)
}

// signedText is the text that the signature of a seal covers.
func signedText(s store.Seal) []byte {
	return fmt.Appendf(nil, "durward security log seal 1\n%d %d %d %d\n%x\n%x\n%d\n",
		s.Number, s.FirstEvent, s.LastEvent, s.FirstKept, s.Before, s.Hash, s.At.UnixMicro())
}

// next sets Number and Hash of events and returns the signed seal that covers them, after last.
func (k chainKey) next(last store.Seal, events []store.Event, at time.Time) store.Seal {
	if last.Number == 0 {
		last.FirstKept, last.Hash = 1, make([]byte, sha256.Size)
	}
	s := store.Seal{
		Number:     last.Number + 1,
		FirstEvent: last.LastEvent + 1,
		LastEvent:  last.LastEvent + int64(len(events)),
		FirstKept:  last.FirstKept,
		Before:     last.Hash,
		Hash:       last.Hash,
		At:         at,
		SignedBy:   k.id,
	}
	for i := range events {
		events[i].Number = s.FirstEvent + int64(i)
		events[i].Hash = hashOf(s.Hash, events[i])
		s.Hash = events[i].Hash
	}
	return k.sign(s)
}

func (k chainKey) sign(s store.Seal) store.Seal {
	s.Signature = ed25519.Sign(k.private, signedText(s))
	return s
}

// seal appends all unsealed events to the chain.
func (w *Writer) seal(ctx context.Context) error {
	for {
		s, err := w.db.SealEvents(ctx, sealBatch, func(last store.Seal, events []store.Event) store.Seal {
			return w.key.next(last, events, w.now())
		})
		if err != nil || s.Number == 0 {
			return err
		}
		w.log.Info("security log sealed", "seal", s.Number, "last_event", s.LastEvent, "hash", hex.EncodeToString(s.Hash))
		if s.LastEvent-s.FirstEvent+1 < sealBatch {
			return nil
		}
	}
}

// purgeBatch is the largest number of seals that one transaction deletes with their events.
const purgeBatch = 100

// purge deletes the seals that are older than the retention, with their events. The seal that it adds
// states the oldest event that is kept.
func (w *Writer) purge(ctx context.Context) error {
	for {
		s, err := w.db.PurgeEvents(ctx, w.kept, purgeBatch, func(last store.Seal, firstKept int64) store.Seal {
			s := w.key.next(last, nil, w.now())
			s.FirstKept = firstKept
			return w.key.sign(s)
		})
		if err != nil || s.Number == 0 {
			return err
		}
		w.log.Info("old events deleted from the security log", "seal", s.Number, "first_event", s.FirstKept)
	}
}

// maxProblems is the number of problems that Check names; it counts the others.
const maxProblems = 20

// Check verifies the hash chain of the security log and its seals, and names each event that was
// removed, changed or moved after it was sealed. A server may run meanwhile. problems is nil if the
// chain is whole.
func Check(ctx context.Context, db *store.DB, master *seal.Master) (problems []string, err error) {
	key, err := newChainKey(master)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		c := check{db: db, key: key}
		if err := c.run(ctx); err != nil {
			return nil, err
		}
		end, err := db.LastSeal(ctx)
		if err != nil {
			return nil, err
		}
		if len(c.problems) > 0 && end.FirstKept != c.last.FirstKept && try < 3 {
			continue // old events were deleted during the check
		}
		if c.more > 0 {
			c.problems = append(c.problems, fmt.Sprintf("security log: %d more problems", c.more))
		}
		return c.problems, nil
	}
}

// check is the state of one pass over the chain.
type check struct {
	db  *store.DB
	key chainKey

	last     store.Seal // the newest one at the start
	previous store.Seal
	number   int64  // of the event before
	link     []byte // its hash; nil if it is unknown
	problems []string
	more     int // problems that are not in problems
}

func (c *check) problem(format string, args ...any) {
	if len(c.problems) == maxProblems {
		c.more++
		return
	}
	c.problems = append(c.problems, fmt.Sprintf("security log: "+format, args...))
}

func (c *check) run(ctx context.Context) (err error) {
	if c.last, err = c.db.LastSeal(ctx); err != nil {
		return err
	}
	for c.previous.Number < c.last.Number {
		seals, err := c.db.Seals(ctx, c.previous.Number, 1000)
		if err != nil {
			return err
		}
		if len(seals) == 0 {
			break // deleted meanwhile; Check runs again
		}
		for _, s := range seals {
			if s.Number > c.last.Number {
				break // sealed meanwhile
			}
			if err := c.seal(ctx, s); err != nil {
				return err
			}
		}
		c.previous = seals[len(seals)-1]
	}
	return c.beyond(ctx)
}

// fault returns why the signature of a seal is not valid, empty if it is.
func (k chainKey) fault(s store.Seal) string {
	switch {
	case s.SignedBy != k.id:
		return fmt.Sprintf("seal %d is signed by the key %s, not by %s of this master key",
			s.Number, printable.Line(s.SignedBy, 40), k.id)
	case !ed25519.Verify(k.public(), signedText(s), s.Signature):
		return fmt.Sprintf("seal %d of the events %d to %d was changed: its signature is wrong",
			s.Number, s.FirstEvent, s.LastEvent)
	}
	return ""
}

// seal checks one seal and the events that it covers.
func (c *check) seal(ctx context.Context, s store.Seal) error {
	fault := c.key.fault(s)
	if fault != "" {
		c.problem("%s", fault)
	}
	switch {
	case c.previous.Number == 0: // the oldest one
		if s.FirstEvent > c.last.FirstKept && c.key.fault(c.last) == "" {
			c.problem("the events %d to %d and their seals were removed", c.last.FirstKept, s.FirstEvent-1)
		}
		c.number = s.FirstEvent - 1
		if fault == "" {
			c.link = s.Before
		}
	case s.Number != c.previous.Number+1:
		c.problem("the seals %d to %d were removed", c.previous.Number+1, s.Number-1)
	}
	c.previous = s
	for {
		events, err := c.db.SealedEvents(ctx, c.number, 1000)
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.Number > s.LastEvent {
				break
			}
			c.event(e)
		}
		if len(events) == 0 || events[len(events)-1].Number >= s.LastEvent {
			break
		}
	}
	if c.number < s.LastEvent {
		c.missing(s.LastEvent + 1)
		c.number = s.LastEvent
	}
	if fault != "" {
		return nil
	}
	if c.link != nil && !bytes.Equal(c.link, s.Hash) {
		c.problem("the events %d to %d were changed together with their hashes: they do not match seal %d",
			s.FirstEvent, s.LastEvent, s.Number)
	}
	c.link = s.Hash
	return nil
}

// event checks the next event of the chain.
func (c *check) event(e store.Event) {
	after := ""
	if e.Number > c.number+1 {
		c.missing(e.Number)
		after = ", or the missing one before it"
	}
	switch {
	case c.link == nil: // cannot be checked
	case !bytes.Equal(hashOf(c.link, e), e.Hash):
		c.problem("event %d (%s, %s, %s) was changed or moved after it was sealed%s", e.Number,
			printable.Line(e.ID, 40), printable.Line(e.Kind, 40), e.At.Format(time.RFC3339), after)
	}
	c.number, c.link = e.Number, e.Hash
}

// missing names the events between the last one and number.
func (c *check) missing(number int64) {
	first, last := c.number+1, number-1
	if first == last {
		c.problem("event %d was removed", first)
	} else {
		c.problem("the events %d to %d were removed", first, last)
	}
	c.link = nil
}

// beyond looks for events with numbers that no seal covers.
func (c *check) beyond(ctx context.Context) error {
	events, err := c.db.SealedEvents(ctx, c.last.LastEvent, 1)
	if err != nil || len(events) == 0 {
		return err
	}
	newest, err := c.db.LastSeal(ctx)
	if err == nil && events[0].Number > newest.LastEvent {
		c.problem("no seal covers event %d (%s): the newest seals were removed",
			events[0].Number, printable.Line(events[0].ID, 40))
	}
	return err
}
