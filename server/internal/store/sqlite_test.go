package store

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Where another process holds the file for longer than a writer waits, all who wait
// are told together: none waits behind the others for as long again.
func TestWaitersShareALongFailure(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "durward.db")
	db := openAt(t, "sqlite:"+path)
	other := openAt(t, "sqlite:"+path)
	held, release := make(chan struct{}), make(chan struct{})
	var holder sync.WaitGroup
	holder.Go(func() {
		_ = other.do(t.Context(), func(*tx) error {
			close(held)
			<-release
			return errors.New("nothing is changed")
		})
	})
	<-held
	began := time.Now()
	const many = 6
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			if err := db.do(t.Context(), func(*tx) error { return nil }); !errors.Is(err, ErrUnavailable) {
				t.Errorf("a write while another holds the file: %v, want ErrUnavailable", err)
			}
		})
	}
	all.Wait()
	// The first request waits alone; the requests that arrived meanwhile share its failure.
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("%d waited %s, want no longer than two of them", many, took)
	}
	close(release)
	holder.Wait()
	if err := db.Ping(t.Context()); err != nil {
		t.Errorf("when it was let go: %v", err)
	}
}
