package httpapi

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/durward-auth/durward/internal/services"
	connection "github.com/durward-auth/durward/internal/valkey"
	"github.com/durward-auth/durward/server/internal/limits"
)

// Two nodes with one Redis: a client can use a nonce of one node at the other, and a proof works
// once in total. While Redis hangs, is down or has lost its data, no proof works twice and clients
// still get in.
func TestProofsOfTwoNodes(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	w := newEnv(t, settings{dpop: true})
	key := bytes.Repeat([]byte{7}, 32)
	var nodes []*env
	var links []*connection.Client
	for range 2 {
		link, err := connection.New(connection.Config{URL: r.URL(), Timeout: 2 * time.Second, Probe: 200 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(link.Close)
		config := w.server.c
		if config.Proofs, err = limits.NewProofs(link, key); err != nil {
			t.Fatal(err)
		}
		s, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		listener := httptest.NewServer(s)
		t.Cleanup(listener.Close)
		node := *w
		node.url = listener.URL + testPrefix
		nodes, links = append(nodes, &node), append(links, link)
	}
	reach := func(want bool) {
		t.Helper()
		for _, link := range links {
			for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
				if link.State().Up == want {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("Redis is up: not %v within half a minute", want)
				}
			}
		}
	}
	reach(true)
	h := nodes[0].holder().meet()
	token := h.signIn().AccessToken
	at := func(node int, proof string) reply {
		h.w = nodes[node]
		return h.proven("GET", "/api/profile", "DPoP "+token, "", proof)
	}
	proof := func() string { return h.proof("GET", "/api/profile", token) }
	passes := func(what string, r reply) {
		t.Helper()
		if r.StatusCode != 200 {
			t.Errorf("%s: %d %s", what, r.StatusCode, r.body)
		}
	}
	refused := func(what, code string, r reply) {
		t.Helper()
		w.refused(r, 401, code)
		if t.Failed() {
			t.Fatal(what)
		}
	}

	first := proof()
	passes("at a", at(0, first))
	passes("another with a's nonce at b", at(1, proof()))
	refused("the first again at b", "INVALID_PROOF", at(1, first))

	// Redis hangs.
	nonce := h.nonce
	r.Pause(t)
	began := time.Now()
	refused("a shared nonce while Redis hangs", "NONCE_REQUIRED", at(1, proof()))
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a Redis that hangs costs a request %s", took)
	}
	reach(false)
	alone := proof() // with the nonce that b gave
	passes("a nonce of b alone at b", at(1, alone))
	refused("the same again at b", "INVALID_PROOF", at(1, alone))
	refused("the same at a", "NONCE_REQUIRED", at(0, alone))
	r.Resume(t)
	reach(true)
	refused("what b alone has taken, at a, when Redis goes on", "NONCE_REQUIRED", at(0, alone))
	h.nonce = nonce
	shared := proof()
	passes("a shared nonce of before, at a", at(0, shared))
	refused("and that again at b", "INVALID_PROOF", at(1, shared))

	kept := proof()
	passes("one that b has never seen", at(0, kept))

	// Redis loses its data before the nodes notice.
	if err := links[0].With(t.Context(), func(ctx context.Context, v valkey.Client) error {
		return v.Do(ctx, v.B().Flushall().Build()).Error()
	}); err != nil {
		t.Fatal(err)
	}
	refused("what was spent before, at b", "NONCE_REQUIRED", at(1, kept))
	for i, link := range links { // a node that notices the loss may change the nonces
		for deadline := time.Now().Add(30 * time.Second); link.State().Emptied < 2; time.Sleep(2 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("node %d does not notice", i)
			}
		}
	}
	at(1, proof()) // its response has a nonce of now
	again := proof()
	passes("with a nonce of now", at(1, again))
	refused("and that again at a", "INVALID_PROOF", at(0, again))

	// Redis stops and starts again.
	r.Kill(t)
	reach(false)
	refused("a shared nonce without Redis", "NONCE_REQUIRED", at(0, proof()))
	passes("with a nonce of a", at(0, proof()))
	r.Start(t)
	reach(true)
	refused("a proof of before at b", "NONCE_REQUIRED", at(1, kept))
	passes("with a nonce of now", at(1, proof()))
	passes("at a, too", at(0, proof()))
}
