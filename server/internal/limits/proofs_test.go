package limits

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/durward-auth/durward/internal/services"
	connection "github.com/durward-auth/durward/internal/valkey"
)

// Redis restarts from an older snapshot, with the epoch but without some proofs: no node accepts an
// earlier proof, and all nodes use one new epoch.
func TestProofsAfterOlderSnapshot(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	var nodes []*Proofs
	var links []*connection.Client
	for range 2 {
		link := connectWith(t, connection.Config{URL: r.URL(), Timeout: 20 * time.Second, Probe: 20 * time.Millisecond})
		p, err := NewProofs(link, make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		nodes, links = append(nodes, p), append(links, link)
	}
	a, b := nodes[0], nodes[1]
	spend := func(p *Proofs, key []byte, id string) string {
		isNew, err := p.Spend(ctx, key, id, time.Minute)
		return fmt.Sprint(isNew, err)
	}
	key := a.Key()
	if key == nil || string(b.Key()) != string(key) {
		t.Fatal("the nodes have no common key")
	}
	// written returns how often each connection has written its marker.
	written := func() (numbers []int64) {
		err := links[0].With(ctx, func(ctx context.Context, c valkey.Client) error {
			keys, err := c.Do(ctx, c.B().Keys().Pattern("durward:marker:*").Build()).AsStrSlice()
			if err == nil {
				numbers, err = c.Do(ctx, c.B().Mget().Key(slices.Sorted(slices.Values(keys))...).Build()).AsIntSlice()
			}
			return err
		})
		if err != nil || len(numbers) != 2 {
			t.Fatalf("markers %v, %v", numbers, err)
		}
		return numbers
	}
	saved := written()
	err := links[0].With(ctx, func(ctx context.Context, c valkey.Client) error {
		return c.Do(ctx, c.B().Arbitrary("SAVE").Build()).Error()
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := spend(a, key, "proof"); got != "true <nil>" {
		t.Fatal(got)
	}
	if got := spend(b, key, "proof"); got != "false <nil>" {
		t.Fatal(got)
	}
	// Wait until each connection has written a later marker.
	deadline := time.Now().Add(20 * time.Second)
	for later := saved; later[0] < saved[0]+5 || later[1] < saved[1]+5; later = written() {
		if time.Now().After(deadline) {
			t.Fatalf("markers %v, and %v when they were saved", later, saved)
		}
		time.Sleep(time.Millisecond)
	}
	r.Kill(t)
	for _, link := range links {
		waitUp(t, link, false)
	}
	r.Start(t)
	for _, link := range links {
		waitUp(t, link, true)
	}
	for _, id := range []string{"proof", "another proof"} {
		if got, want := spend(b, key, id), fmt.Sprint(false, errForgotten); got != want {
			t.Errorf("%s with an earlier nonce: got %s, want %s", id, got, want)
		}
	}
	fresh := b.Key()
	if fresh == nil || string(fresh) == string(key) || string(a.Key()) != string(fresh) || string(b.Key()) != string(fresh) {
		t.Error("the nodes have no new common key")
	}
	if first, second := spend(a, fresh, "third proof"), spend(b, fresh, "third proof"); first != "true <nil>" || second != "false <nil>" {
		t.Errorf("afterwards: %s, then %s", first, second)
	}
}
