package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
)

// Limits on responses of the server.
const (
	maxTokens = 1 << 20  // bytes of a token response
	maxPage   = 32 << 20 // bytes of a page of revocations
	maxItems  = 100_000  // entries of a page
	maxName   = 2 << 10  // bytes of a kind, a value or an epoch
	slack     = 15 * time.Second
)

// News is a response of the feed of revocations.
type News struct {
	Page      RevocationPage
	Unchanged bool      // nothing is newer than the ETag of the request; Page is zero
	ETag      string    // for the request for Page.Next
	AsOf      time.Time // when the page was complete, by this program's clock
}

// Revocations reads the feed after a number; 0 reads it from the start. If nothing is newer than
// etag, the server answers after wait, rounded down to seconds and at most 30 s. A refusal is a
// [*client.ResponseError].
func (a *Client) Revocations(ctx context.Context, after int64, wait time.Duration, etag string) (News, error) {
	if a.c.Token == nil {
		return News{}, errNoToken
	}
	ctx, cancel := context.WithTimeout(ctx, wait+slack)
	defer cancel()
	query := url.Values{
		"after": {strconv.FormatInt(after, 10)},
		"wait":  {strconv.Itoa(int(wait / time.Second))},
	}
	u := a.base.JoinPath("/api/revocations")
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return News{}, fmt.Errorf("api: %w", err)
	}
	token, err := a.c.Token(ctx)
	if err != nil {
		return News{}, fmt.Errorf("api: cannot get credentials for the server: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	sent := time.Now()
	h := a.http
	h.Timeout = 0 // ctx bounds the wait
	res, err := h.Do(r)
	if err != nil {
		if of, ok := errors.AsType[*url.Error](err); ok {
			err = of.Err
		}
		return News{}, fmt.Errorf("api: %w", err)
	}
	defer res.Body.Close()
	n := News{ETag: res.Header.Get("ETag"), AsOf: asOf(sent, res.Header.Get(AsOfField))}
	if res.StatusCode == http.StatusNotModified {
		if etag == "" {
			return News{}, errors.New("api: the server answered 304 to a request without an ETag")
		}
		n.Unchanged, n.ETag = true, etag
		return n, nil
	}
	if err := check(res, http.StatusOK); err != nil {
		return News{}, err
	}
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return News{}, errors.New("api: the response is not application/json; is that a Durward server?")
	}
	body, err := readBounded(res.Body, maxPage)
	if err == nil {
		n.Page, err = readPage(body, after)
	}
	if err != nil {
		return News{}, fmt.Errorf("api: %w", err)
	}
	return n, nil
}

var errNoToken = errors.New("api: no Token: set a function that returns an API key or access token " +
	"with the scope revocations")

// asOf converts the field AsOfField to a time that is not in the future. Without the field the
// response is as old as its request, less the delay that a server may have.
func asOf(sent time.Time, field string) time.Time {
	seconds, err := strconv.ParseFloat(field, 64)
	if err != nil || !(seconds >= -60 && seconds <= 60) {
		return sent.Add(-5 * time.Second)
	}
	at, now := sent.Add(time.Duration(seconds*float64(time.Second))), time.Now()
	if at.After(now) {
		return now
	}
	return at
}

func readBounded(r io.Reader, most int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(body)) > most {
		err = fmt.Errorf("the response has more than %d bytes", most)
	}
	return body, err
}

// readPage parses the page after a number. It ignores unknown members: a newer server may send more.
func readPage(body []byte, after int64) (RevocationPage, error) {
	var p RevocationPage
	if json.Unmarshal(body, &p) != nil { // its error may quote the response
		return RevocationPage{}, errors.New("the page of revocations is not valid JSON of its type")
	}
	bad := func(why string) (RevocationPage, error) {
		return RevocationPage{}, fmt.Errorf("invalid page of revocations: %s", why)
	}
	switch {
	case p.Epoch == "" || len(p.Epoch) > maxName:
		return bad("the epoch is missing or too long")
	case len(p.Items) > maxItems:
		return bad("too many items")
	case p.Next < 0:
		return bad("next is negative")
	case p.More && p.Next <= after:
		return bad("more is set, but next does not advance")
	}
	for _, e := range p.Items {
		if e.Seq <= 0 || e.Kind == "" || e.Value == "" || len(e.Kind) > maxName || len(e.Value) > maxName || e.Until.IsZero() {
			return bad("an item is incomplete or too long")
		}
	}
	return p, nil
}
