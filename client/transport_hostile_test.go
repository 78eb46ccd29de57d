package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// seen returns a server that records the credentials of each request.
func seen(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) (url string, sent func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var line []string
		for _, name := range []string{"Authorization", "X-API-Key", "DPoP", "Cookie"} {
			if v := r.Header.Get(name); v != "" {
				line = append(line, name+": "+v)
			}
		}
		mu.Lock()
		all = append(all, strings.Join(line, ", "))
		n := len(all)
		mu.Unlock()
		answer(n, w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(all) }
}

func refuse(challenges ...string) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header()["Www-Authenticate"] = challenges
		w.WriteHeader(401)
	}
}

// byCookie is a source of an application, passed by value, of a type that cannot be compared.
type byCookie struct{ next func() string }

func (b byCookie) Authorize(r *http.Request, offered []durward.Challenge) error {
	if offered != nil && offered[0].Scheme != "Session" {
		return ErrNoAnswer
	}
	r.Header.Set("Cookie", b.next())
	return nil
}

// The refused credentials of one source are not sent with the answer of another.
func TestTransportOneAnswerAtATime(t *testing.T) {
	t.Parallel()
	const ada, eve = "Authorization: Basic YWRhOnNlY3JldA==", "Authorization: Basic ZXZlOnNlY3JldA=="
	n := 0
	count := byCookie{func() string { n++; return fmt.Sprint("c=", n) }}
	for name, test := range map[string]struct {
		challenges []string
		sources    func(origin string) []Source
		want       []string
	}{
		"a key, then a password": {[]string{`ApiKey realm="r"`, `Basic realm="r"`}, func(o string) []Source {
			return []Source{Key(KeyConfig{Origin: o, Key: "dk_a"}), Password(PasswordConfig{Origin: o, User: "ada", Password: "secret"})}
		}, []string{"X-API-Key: dk_a", ada}},
		"a bound token, then a password": {[]string{`DPoP realm="r", error="invalid_request"`, `Basic realm="r"`}, func(o string) []Source {
			return []Source{Tokens(TokensConfig{Origins: []string{o}, Store: &MemoryStore{token: Token{Access: "a", Type: "DPoP"}},
				Prove: func(durward.ProofRequest) (string, error) { return "p", nil },
				Next:  func(context.Context, Token) (Token, error) { return Token{}, errors.New("asked") }}),
				Password(PasswordConfig{Origin: o, User: "ada", Password: "secret"})}
		}, []string{"Authorization: DPoP a, DPoP: p", ada}},
		"one person, then another": {[]string{`Basic realm="r"`}, func(o string) []Source {
			return []Source{Password(PasswordConfig{Origin: o, User: "ada", Password: "secret"}), Password(PasswordConfig{Origin: o, User: "eve", Password: "secret"})}
		}, []string{"", ada, eve}},
		"a source of the application's own field": {[]string{`Session realm="r"`}, func(string) []Source { return []Source{count} },
			[]string{"Cookie: c=1", "Cookie: c=2", "Cookie: c=3", "Cookie: c=4", "Cookie: c=5", "Cookie: c=6"}},
		"which is the same again": {[]string{`Session realm="r"`}, func(string) []Source { return []Source{byCookie{func() string { return "c" }}} }, []string{"Cookie: c"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, sent := seen(t, refuse(test.challenges...))
			resp, err := New(test.sources(url)...).Get(url)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got := sent(); !slices.Equal(got, test.want) {
				t.Errorf("sent\n\t%q\nwant\n\t%q", got, test.want)
			}
		})
	}
}

// If two challenges have the same reason, the client answers the one of the scheme that it used.
func TestTransportReasonTwice(t *testing.T) {
	t.Parallel()
	url, sent := seen(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			refuse(`DPoP realm="r", error="invalid_token"`, `Bearer realm="r", error="invalid_token"`)(n, w, r)
		}
	})
	var renewals atomic.Int64
	source, _ := counting(t, url, &renewals)
	resp, err := New(source).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if want := []string{"Authorization: Bearer token-0", "Authorization: Bearer token-1"}; resp.StatusCode != 200 || !slices.Equal(sent(), want) {
		t.Errorf("%d, sent %q", resp.StatusCode, sent())
	}
}

// A scope that no source has causes a step-up, after a 401 as after a 403. Requests to
// AuthEndpoints are sent once.
func TestTransportScopeOfPerson(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status  int
		path    string
		stepUps int64
	}{{401, "/x", 1}, {403, "/x", 1}, {401, "/api/auth/password/change", 0}, {403, "/api/auth/password/change", 0}} {
		url, sent := seen(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "Bearer wider" {
				return
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="r", error="insufficient_scope", scope="read write"`)
			w.WriteHeader(test.status)
		})
		store := &MemoryStore{token: Token{Access: "narrow", Type: "Bearer"}}
		var stepUps atomic.Int64
		tr := &Transport{Sources: []Source{Tokens(TokensConfig{
			Origins: []string{url}, Store: store, Next: noNext, AuthEndpoints: url + "/api/auth/",
		})}, OnStepUp: func(ctx context.Context, s StepUp) error {
			stepUps.Add(1)
			if !slices.Equal(s.Scopes, []string{"read", "write"}) {
				t.Errorf("asked for %q", s.Scopes)
			}
			return store.Update(ctx, func(context.Context, Token) (Token, error) { return Token{Access: "wider", Type: "Bearer"}, nil })
		}}
		resp, err := (&http.Client{Transport: tr}).Post(url+test.path, "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if good := resp.StatusCode == 200; good != (test.stepUps == 1) || stepUps.Load() != test.stepUps || int64(len(sent())) != 1+test.stepUps {
			t.Errorf("%d %s: status %d, asked %d times, sent %q", test.status, test.path, resp.StatusCode, stepUps.Load(), sent())
		}
	}
}

// Many requests that need a step-up cause one call of OnStepUp.
func TestTransportStepUpTogether(t *testing.T) {
	t.Parallel()
	const many = 20
	var arrived sync.WaitGroup
	arrived.Add(many)
	url, _ := seen(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer stronger" {
			arrived.Done()
			arrived.Wait()
			refuse(`Bearer realm="r", error="insufficient_user_authentication", acr_values="aal2"`)(0, w, r)
		}
	})
	store := &MemoryStore{token: Token{Access: "weak", Type: "Bearer"}}
	var asked, good atomic.Int64
	tr := &Transport{Base: &http.Transport{}, Sources: []Source{Tokens(TokensConfig{
		Origins: []string{url}, Store: store, Next: noNext, AuthEndpoints: url + "/api/auth/",
	})}, OnStepUp: func(ctx context.Context, _ StepUp) error {
		asked.Add(1)
		return store.Update(ctx, func(context.Context, Token) (Token, error) { return Token{Access: "stronger", Type: "Bearer"}, nil })
	}}
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			resp, err := (&http.Client{Transport: tr}).Get(url)
			if err == nil && resp.Body.Close() == nil && resp.StatusCode == 200 {
				good.Add(1)
			}
		})
	}
	all.Wait()
	if asked.Load() != 1 || good.Load() != many {
		t.Errorf("asked %d times, %d of %d got through", asked.Load(), good.Load(), many)
	}
}

// A request that waits for another request's step-up ends with its own context.
func TestTransportStepUpWaits(t *testing.T) {
	t.Parallel()
	url, _ := seen(t, refuse(`Bearer realm="r", error="insufficient_user_authentication"`))
	asked, release := make(chan struct{}), make(chan struct{})
	var renewals atomic.Int64
	source, _ := counting(t, url, &renewals)
	tr := &Transport{Sources: []Source{source}, OnStepUp: func(context.Context, StepUp) error {
		close(asked)
		<-release
		return errors.New("not now")
	}}
	first := make(chan error)
	go func() {
		_, err := (&http.Client{Transport: tr}).Get(url)
		first <- err
	}()
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := tr.RoundTrip(r); !errors.Is(err, context.Canceled) {
		t.Errorf("the waiter: %v", err)
	}
	close(release)
	if err := <-first; err == nil || !strings.Contains(err.Error(), "insufficient_user_authentication") || !strings.Contains(err.Error(), "not now") {
		t.Errorf("the first: %v", err)
	}
}

// A refresh that began before a step-up does not undo it.
func TestTransportStepUpDuringRenewal(t *testing.T) {
	t.Parallel()
	began, release := make(chan struct{}), make(chan struct{})
	now := time.Now()
	store := &concurrentStore{token: Token{Access: "weak", Type: "Bearer", Received: now.Add(-95 * time.Minute), Expires: now.Add(5 * time.Minute)}}
	source := Tokens(TokensConfig{Origins: []string{"https://h"}, Store: store, Next: func(context.Context, Token) (Token, error) {
		close(began)
		<-release
		return Token{Access: "weak too", Type: "Bearer"}, nil
	}}).(own).source.(*tokens)
	get := func() string {
		t.Helper()
		h, err := source.get(t.Context(), demand{})
		if err != nil {
			t.Fatal(err)
		}
		return h.Access
	}
	get()
	get() // begins an early refresh
	<-began
	f := source.refresh
	store.set(Token{Access: "stronger", Type: "Bearer"})
	source.reload()
	if got := get(); got != "stronger" {
		t.Errorf("after the step-up: %q", got)
	}
	close(release)
	<-f.done
	if got := get(); got != "stronger" {
		t.Errorf("after the renewal that began before it: %q", got)
	}
}

// concurrentStore is a store with concurrent updates.
type concurrentStore struct {
	mu    sync.Mutex
	token Token
}

func (s *concurrentStore) set(token Token) { s.mu.Lock(); defer s.mu.Unlock(); s.token = token }

func (s *concurrentStore) Load(context.Context) (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, nil
}

func (s *concurrentStore) Update(ctx context.Context, change func(context.Context, Token) (Token, error)) error {
	stored, _ := s.Load(ctx)
	_, err := change(ctx, stored)
	return err
}

// A refusal with an endless body does not block the request.
func TestTransportEndlessRefusal(t *testing.T) {
	t.Parallel()
	for _, version := range []int{1, 2} {
		done := make(chan struct{})
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
				w.WriteHeader(401)
				_ = http.NewResponseController(w).Flush()
				<-done
			}
		}))
		s.EnableHTTP2 = version == 2
		s.StartTLS()
		tr := &Transport{Base: s.Client().Transport, Sources: []Source{Password(PasswordConfig{Origin: s.URL, User: "ada", Password: "secret"})}}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		r, err := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(r)
		if err != nil || resp.StatusCode != 200 || resp.ProtoMajor != version {
			t.Errorf("HTTP/%d: %v, %v", version, resp, err)
		}
		cancel()
		close(done)
		s.Close()
	}
}

// A Base that breaks the contract of RoundTripper causes an error, not a panic.
func TestTransportBrokenBase(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		base roundTripper
		want string
	}{
		"neither":        {func(*http.Request) (*http.Response, error) { return nil, nil }, "neither a response nor an error"},
		"no body":        {func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200}, nil }, ""},
		"refused barely": {func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 401}, nil }, ""},
		"refused": {func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": {`Basic realm="r"`}}}, nil
		}, ""},
		"the header kept": {func(r *http.Request) (*http.Response, error) {
			r.Header["Accept"] = append(r.Header["Accept"], "mine")
			r.Header.Set("Other", "mine")
			return &http.Response{StatusCode: 200}, nil
		}, ""},
	} {
		body := &closes{Reader: strings.NewReader("body")}
		r, err := http.NewRequest("POST", "https://h", body)
		if err != nil {
			t.Fatal(err)
		}
		accept := append(make([]string, 0, 5), "text/plain")
		r.Header["Accept"] = accept
		tr := &Transport{Base: test.base, Sources: []Source{Password(PasswordConfig{Origin: "https://h", User: "ada", Password: "secret"})}}
		resp, err := tr.RoundTrip(r)
		if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) || test.want == "" && (err != nil || resp.Body == nil || resp.Request != r) {
			t.Errorf("%s: %v, %v", name, resp, err)
		}
		if len(r.Header) != 1 || accept[:2][1] != "" {
			t.Errorf("%s: the caller's header is %q, and behind it %q", name, r.Header, accept[:2])
		}
	}
	body := &closes{Reader: strings.NewReader("body")}
	if _, err := new(Transport).RoundTrip(&http.Request{Method: "POST", Body: body}); err == nil || !body.closed.Load() {
		t.Errorf("no URL: %v, body closed %t", err, body.closed.Load())
	}
}

type closes struct {
	io.Reader
	closed atomic.Bool
}

func (c *closes) Close() error { c.closed.Store(true); return nil }

// The Request of a response is the caller's own, without credentials.
func TestTransportRequestOfResponse(t *testing.T) {
	t.Parallel()
	url, sent := seen(t, func(int, http.ResponseWriter, *http.Request) {})
	resp, err := New(Key(KeyConfig{Origin: url, Key: "dk_a", AsBearer: true})).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.Request.Header.Get("Authorization") != "" || !slices.Equal(sent(), []string{"Authorization: Bearer dk_a"}) {
		t.Errorf("%v, sent %q", resp.Request.Header, sent())
	}
}

// The error of a failed answer names the challenges and is short.
func TestTransportErrorSaysWhatIsWanted(t *testing.T) {
	t.Parallel()
	many := make([]string, 200)
	for i := range many {
		many[i] = fmt.Sprintf(`Other%d realm="%s"`, i, strings.Repeat("long ", 500))
	}
	for name, challenges := range map[string][]string{
		"one":  {`Bearer realm="notes", error="invalid_token"`},
		"many": append([]string{`Bearer realm="notes", error="invalid_token"`}, many...),
	} {
		url, _ := seen(t, refuse(challenges...))
		source := Tokens(TokensConfig{Origins: []string{url}, Store: &MemoryStore{token: Token{Access: "a", Type: "Bearer"}},
			Next: func(context.Context, Token) (Token, error) { return Token{}, errors.New("out of order") }})
		client := &http.Client{Transport: &Transport{Base: &http.Transport{MaxResponseHeaderBytes: 2 << 20, DisableKeepAlives: true}, Sources: []Source{source}}}
		_, err := client.Get(url)
		if text := fmt.Sprint(err); !strings.Contains(text, `the server wants Bearer (realm "notes", error "invalid_token")`) || !strings.Contains(text, "out of order") || len(text) > 8000 {
			t.Errorf("%s: %d octets: %.2000s", name, len(text), text)
		}
	}
}

// offlineDigest is a Digest source without a network.
type offlineDigest struct {
	*testing.T
	*password
}

func (d offlineDigest) attempt(path string) *attempt {
	r := httptest.NewRequest("GET", "https://h"+path, nil)
	return &attempt{r: r, origin: originOf(r.URL)}
}

// step answers a challenge and observes the response.
func (d offlineDigest) step(a *attempt, offered *durward.Challenge, status int, fields ...string) {
	d.Helper()
	var challenges []durward.Challenge
	if offered != nil {
		challenges = []durward.Challenge{*offered}
	}
	err := d.answer(a, challenges)
	if err == nil && status > 0 {
		err = d.observe(a, &http.Response{StatusCode: status, Header: http.Header{"Www-Authenticate": fields}})
	}
	if err != nil {
		d.Error(err)
	}
}

func asksDigest(params ...durward.Param) *durward.Challenge {
	return &durward.Challenge{Scheme: "Digest", Params: append(params, durward.Param{Name: "qop", Value: "auth"}, durward.Param{Name: "algorithm", Value: "SHA-256"})}
}

// A late response does not bring back a replaced nonce.
func TestTransportLateAnswer(t *testing.T) {
	t.Parallel()
	d := offlineDigest{t, Password(PasswordConfig{Origin: "https://h", User: "ada", Password: "secret"}).(own).source.(*password)}
	d.step(d.attempt("/1"), asksDigest(durward.Param{Name: "realm", Value: "r"}, durward.Param{Name: "nonce", Value: "old"}), 200)
	slow, second := d.attempt("/slow"), d.attempt("/2")
	d.step(slow, nil, 0)
	stale := asksDigest(durward.Param{Name: "realm", Value: "r"}, durward.Param{Name: "nonce", Value: "new"}, durward.Param{Name: "stale", Value: "true"})
	d.step(second, nil, 401, stale.String())
	d.step(second, stale, 200)
	if err := d.observe(slow, &http.Response{StatusCode: 200}); err != nil {
		t.Error(err)
	}
	next := d.attempt("/3")
	if d.step(next, nil, 0); !strings.Contains(next.r.Header.Get("Authorization"), `nonce="new"`) {
		t.Errorf("answers %s", next.r.Header.Get("Authorization"))
	}
}

// The client sends the answer of the nearest protection space, whichever was used last.
func TestTransportNearestSpace(t *testing.T) {
	t.Parallel()
	d := offlineDigest{t, Password(PasswordConfig{Origin: "https://h", User: "ada", Password: "secret"}).(own).source.(*password)}
	d.step(d.attempt("/inner/a"), asksDigest(durward.Param{Name: "realm", Value: "inner"}, durward.Param{Name: "nonce", Value: "i"}, durward.Param{Name: "domain", Value: "/inner/"}), 200)
	d.step(d.attempt("/a"), asksDigest(durward.Param{Name: "realm", Value: "all"}, durward.Param{Name: "nonce", Value: "a"}), 200)
	for path, realm := range map[string]string{"/inner/b": "inner", "/b": "all", "/inner": "all"} {
		a := d.attempt(path)
		if d.step(a, nil, 0); !strings.Contains(a.r.Header.Get("Authorization"), `realm="`+realm+`"`) {
			t.Errorf("%s: answers %s", path, a.r.Header.Get("Authorization"))
		}
	}
}

// The server answers before it has read the body, cuts connections, sends 1xx responses and
// trailers, and the caller cancels: each request ends, with its whole body or an error.
func TestTransportRoughServer(t *testing.T) {
	t.Parallel()
	body := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
	g, err := durward.New(durward.Config{Realm: "r", Schemes: []durward.Scheme{durward.Digest(durward.DigestConfig{HA1: adaHA1})}})
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprint("HTTP/", version), func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			s := httptest.NewUnstartedServer(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Link", "</style>; rel=preload")
				w.WriteHeader(http.StatusEarlyHints)
				got, err := io.ReadAll(r.Body)
				if err == nil && !bytes.Equal(got, body) {
					t.Errorf("%d octets of the body came", len(got))
				}
				w.Header().Set("Trailer", "Sum")
				w.WriteHeader(200)
				_, _ = w.Write(got[:min(len(got), 1000)])
				if n.Add(1)%5 == 0 {
					panic(http.ErrAbortHandler) // the connection is cut
				}
				w.Header().Set("Sum", "1000")
			})))
			s.EnableHTTP2 = version == 2
			s.StartTLS()
			defer s.Close()
			tr := &Transport{Base: s.Client().Transport, Sources: []Source{Password(PasswordConfig{Origin: s.URL, User: "ada", Password: "secret"})}}
			var all sync.WaitGroup
			var good, hints atomic.Int64
			for i := range 40 {
				all.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					if i%4 == 3 {
						time.AfterFunc(time.Duration(i)*time.Millisecond, cancel)
					}
					ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error { hints.Add(1); return nil }})
					r, err := http.NewRequestWithContext(ctx, "POST", s.URL+"/x", bytes.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					if i%2 == 0 {
						r.Header.Set("Expect", "100-continue")
					}
					resp, err := tr.RoundTrip(r)
					if err != nil {
						return // cut or cancelled
					}
					defer resp.Body.Close()
					got, err := io.ReadAll(resp.Body)
					if err == nil && (resp.StatusCode != 200 || len(got) != 1000 || resp.Trailer.Get("Sum") != "1000") {
						t.Errorf("%d, %d octets, trailer %v", resp.StatusCode, len(got), resp.Trailer)
					}
					if err == nil {
						good.Add(1)
					}
					if i%10 == 0 {
						tr.CloseIdleConnections()
					}
				})
			}
			all.Wait()
			if good.Load() < 10 || hints.Load() == 0 {
				t.Errorf("%d of 40 got through, %d early hints", good.Load(), hints.Load())
			}
		})
	}
}

// The client answers a server that closes each connection in the middle of its refusal.
func TestTransportRefusalCut(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r, err := http.ReadRequest(bufio.NewReader(conn))
			switch {
			case err != nil:
			case r.Header.Get("Authorization") == "":
				fmt.Fprint(conn, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\nContent-Length: 100000\r\n\r\npart")
			default:
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
			}
			conn.Close()
		}
	}()
	url := "http://" + l.Addr().String()
	resp, err := New(Password(PasswordConfig{Origin: url, User: "ada", Password: "secret"})).Post(url, "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "good" {
		t.Errorf("%q, %v", got, err)
	}
}

// A client certificate works with HTTP/1.1 and HTTP/2.
func TestTransportCertificateHTTP2(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto, " ", len(r.TLS.PeerCertificates))
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	defer s.Close()
	roots := s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	for name, base := range map[string]*http.Transport{
		"of its own": {TLSClientConfig: &tls.Config{RootCAs: roots}}, "HTTP/2": {TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true},
		"as a server's": s.Client().Transport.(*http.Transport),
	} {
		tr := &Transport{Base: base, Sources: []Source{Certificate(CertificateConfig{Origin: s.URL, Get: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &s.TLS.Certificates[0], nil
		}})}}
		want := "HTTP/2.0 1"
		if name == "of its own" {
			want = "HTTP/1.1 1" // as package net/http has it
		}
		for range 2 {
			resp, err := (&http.Client{Transport: tr}).Get(s.URL)
			if err != nil {
				t.Fatal(name, err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		tr.CloseIdleConnections()
	}
}
