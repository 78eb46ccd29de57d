package securitylog

import (
	"encoding/hex"
	"regexp"
	"strings"
	"time"

	"github.com/durward-auth/durward/server/internal/explain"
	"github.com/durward-auth/durward/server/internal/store"
)

// EventLine is an event as JSON. Number and Hash are absent until the event is sealed.
type EventLine struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"`
	At        time.Time `json:"at"`
	UserID    string    `json:"user_id,omitzero"`
	Actor     string    `json:"actor,omitzero"`
	SessionID string    `json:"session_id,omitzero"`
	Outcome   string    `json:"outcome,omitzero"`
	Network   string    `json:"network,omitzero"`
	Device    string    `json:"device,omitzero"`
	DenialID  string    `json:"denial_id,omitzero"`
	Detail    string    `json:"detail,omitzero"`
	Number    int64     `json:"number,omitzero"`
	Hash      string    `json:"hash,omitzero"`
}

// EventLineOf returns an event as JSON.
func EventLineOf(e store.Event) EventLine {
	return EventLine{
		ID:        e.ID,
		Kind:      e.Kind,
		At:        e.At.UTC(),
		UserID:    e.UserID,
		Actor:     e.Actor,
		SessionID: e.SessionID,
		Outcome:   e.Outcome,
		Network:   e.Network,
		Device:    e.Device,
		DenialID:  e.DenialID,
		Detail:    e.Detail,
		Number:    e.Number,
		Hash:      hex.EncodeToString(e.Hash),
	}
}

// denialID matches an id of a refusal, a ULID. Its first digit is at most 7.
var denialID = regexp.MustCompile(`(?i)\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b`)

// namedID matches an id after the name of a field or a member that holds one.
var namedID = regexp.MustCompile(`(?i)(?:durward-denial"?:\s*"?|urn:durward:denial:)([0-7][0-9A-HJKMNP-TV-Z]{25})\b`)

// DenialID returns the id of a refusal in a text: an id alone, with the prefix that it has in the member
// instance, or anywhere in a whole response. The field Durward-Denial and the member instance come before other
// text that looks like an id. Without any of them it returns the text without space around it.
func DenialID(text string) string {
	if m := namedID.FindStringSubmatch(text); m != nil {
		return strings.ToUpper(m[1])
	}
	if id := denialID.FindString(text); id != "" {
		return strings.ToUpper(id)
	}
	return strings.TrimSpace(text)
}

// DenialLine is a refusal as JSON, with its true cause.
type DenialLine struct {
	ID          string    `json:"id"`
	Code        string    `json:"code"`
	Status      int       `json:"status"`
	At          time.Time `json:"at"`
	Method      string    `json:"method"`
	Path        string    `json:"path"`
	Scheme      string    `json:"scheme"`
	Cause       string    `json:"cause"`
	Network     string    `json:"network"`
	Subject     string    `json:"subject"`
	RequestID   string    `json:"request_id"`
	Explanation string    `json:"explanation"`
}

// DenialLineOf returns a refusal as JSON. figures are the settings that explanations of codes name.
func DenialLineOf(d store.Denial, figures map[string]string) DenialLine {
	page, _ := explain.Code(d.Code) // a newer program may have written the refusal
	return DenialLine{
		ID:          d.ID,
		Code:        d.Code,
		Status:      d.Status,
		At:          d.At.UTC(),
		Method:      d.Method,
		Path:        d.Path,
		Scheme:      d.Scheme,
		Cause:       d.Cause,
		Network:     d.Network,
		Subject:     d.Subject,
		RequestID:   d.RequestID,
		Explanation: page.With(figures).Summary,
	}
}
