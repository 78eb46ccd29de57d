package client

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/printable"
)

// maxBody bounds how much of a response body is read, in bytes.
const maxBody = 1 << 20

// A ResponseError is a refusal by a server: by a Durward server, by a guard, by an OAuth token
// endpoint or by any other server. The server chose its texts; they are cut and printable.
//
// errors.Is finds Code in it. errors.As finds a [*RetryError] in it if the status is 429 or 5xx.
type ResponseError struct {
	Status     int
	Code       durward.Code // of Durward's problem details; empty if unknown
	Reason     string       // error of an OAuth endpoint (RFC 6749 s5.2) or its like; empty if there is none
	Detail     string       // description for people
	Hint       string       // what to do, for people
	Denial     string       // id for the operator: durward why ID explains the refusal
	Challenges []durward.Challenge
	RetryAfter time.Duration // 0 if the server names none
}

// Error returns status, code, description and challenges.
func (e *ResponseError) Error() string {
	text := fmt.Sprintf("durward: %d %s", e.Status, http.StatusText(e.Status))
	if name := string(e.Code) + e.Reason; name != "" {
		text += " (" + name + ")"
	}
	if e.Detail != "" {
		text += ": " + strings.TrimSuffix(e.Detail, ".")
	}
	if len(e.Challenges) > 0 {
		text += "; it wants " + describe(e.Challenges)
	}
	if e.Denial != "" {
		text += "; denial " + e.Denial
	}
	return text
}

// Unwrap returns Code and, for a status that asks to come back later, a [*RetryError].
func (e *ResponseError) Unwrap() []error {
	var all []error
	if e.Code != "" {
		all = append(all, e.Code)
	}
	if e.Status == http.StatusTooManyRequests || e.Status >= 500 {
		all = append(all, &RetryError{After: e.RetryAfter, Err: errors.New(http.StatusText(e.Status))})
	}
	return all
}

func (e *ResponseError) withReason(reason, description string) *ResponseError {
	e.Reason, e.Detail = printable.Line(reason, maxShown), printable.Line(description, maxShown)
	return e
}

// CheckResponse returns a [*ResponseError] if the status of resp is 400 or more, else nil. It reads
// the body of a refusal.
func CheckResponse(resp *http.Response) error {
	if resp.StatusCode < http.StatusBadRequest {
		return nil
	}
	return newResponseError(resp)
}

func newResponseError(resp *http.Response) *ResponseError {
	e := &ResponseError{
		Status:     resp.StatusCode,
		RetryAfter: retryAfter(resp),
		Denial:     printable.Line(resp.Header.Get("Durward-Denial"), maxShown),
	}
	e.Challenges = parseChallenges(resp.Header[challengeField(resp.StatusCode)])
	var body json.RawMessage
	if json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(&body) != nil {
		return e
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		var problem struct{ Code, Detail, Hint string } // RFC 9457 and Durward's members
		if json.Unmarshal(body, &problem) != nil {
			return e
		}
		if code := durward.Code(problem.Code); slices.Contains(durward.Codes(), code) {
			e.Code = code
		}
		e.Detail, e.Hint = printable.Line(problem.Detail, maxShown), printable.Line(problem.Hint, maxShown)
		return e
	}
	var f failure
	if json.Unmarshal(body, &f) != nil {
		return e
	}
	return e.withReason(f.reason())
}

// failure has the members of a JSON body that name the error: those of RFC 6749 s5.2, those of
// Supabase and of Google's APIs, Firebase among them, and the message of many others.
type failure struct {
	Error       json.RawMessage `json:"error"` // a string, or an object with a message
	Description text            `json:"error_description"`
	ErrorCode   text            `json:"error_code"`
	Msg         text            `json:"msg"`
	Message     text            `json:"message"`
}

func (f failure) reason() (reason, description string) {
	var object struct{ Message text }
	if json.Unmarshal(f.Error, &reason) != nil && json.Unmarshal(f.Error, &object) == nil {
		reason = string(object.Message)
	}
	return cmp.Or(reason, string(f.ErrorCode)), string(cmp.Or(f.Description, f.Msg, f.Message))
}

// text is a JSON string. Another form is the empty string.
type text string

// UnmarshalJSON never fails.
func (t *text) UnmarshalJSON(data []byte) error {
	var s string
	_ = json.Unmarshal(data, &s)
	*t = text(s)
	return nil
}

// retryAfter returns the wait that a response asks for (RFC 9110 s10.2.3).
func retryAfter(resp *http.Response) time.Duration {
	text := resp.Header.Get("Retry-After")
	if n, err := strconv.Atoi(text); err == nil && n >= 0 && n < 1<<31 {
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	from := time.Now()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		from = date // by the server's clock
	}
	return max(at.Sub(from), 0)
}
