package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/faults"
	"github.com/durward-auth/durward/internal/services"
)

// On a full disk, where large writes fail and small ones succeed, Ping fails until there is space.
func TestPingOnAFullDisk(t *testing.T) {
	t.Parallel()
	for name, engine := range map[string]func(t *testing.T) (disk, url string){
		"sqlite": func(t *testing.T) (string, string) {
			disk := faults.SmallDisk(t, "8m")
			return disk, "sqlite:" + filepath.Join(disk, "durward.db")
		},
		"postgres": func(t *testing.T) (string, string) {
			disk := faults.SmallDisk(t, "192m")
			return disk, services.NewPostgresIn(t, disk).Database(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk, url := engine(t)
			db := openAt(t, url)
			large := func() error {
				events := make([]Event, 100)
				for i := range events {
					events[i] = anEvent(EventSignedIn, "ada")
					events[i].Detail = strings.Repeat("x", 1000)
				}
				return db.AddEvents(t.Context(), events)
			}
			must(t, errors.Join(large(), db.Ping(t.Context())))
			filler := filepath.Join(disk, "filler")
			faults.Fill(t, filler)
			info, err := os.Stat(filler)
			must(t, err)
			must(t, os.Truncate(filler, info.Size()-32<<10))
			for failures := 0; failures < 3; failures++ {
				if err := large(); err == nil {
					failures = -1
				} else if !errors.Is(err, ErrUnavailable) {
					t.Fatal(err)
				}
			}
			if err := db.Beat(t.Context(), noon.Add(time.Hour)); err != nil {
				t.Errorf("a small write: got %v, want room for it", err)
			}
			for range 3 {
				if err := db.Ping(t.Context()); !errors.Is(err, ErrUnavailable) {
					t.Errorf("Ping on a full disk: got %v, want ErrUnavailable", err)
				}
			}
			must(t, os.Remove(filler))
			must(t, db.Ping(t.Context()))
			must(t, large())
		})
	}
}

// Several Pings after the same failure: one removes it, and the others report none.
func TestPingsAtOnce(t *testing.T) {
	t.Parallel()
	db := openAt(t, "sqlite:"+filepath.Join(t.TempDir(), "durward.db"))
	_ = db.noted(ErrUnavailable)
	for _, err := range atOnce(8, func(int) error { return db.Ping(t.Context()) }) {
		if err != nil {
			t.Errorf("got %v, want no error", err)
		}
	}
	_ = db.noted(ErrUnavailable)
	failure := db.failure.Load()
	if err := db.forget(nil); !errors.Is(err, ErrUnavailable) {
		t.Errorf("another write failed meanwhile: got %v, want its error", err)
	}
	must(t, db.forget(failure))
	must(t, db.forget(failure))
}

// While the disk hangs, Ping fails after its time limit.
func TestPingOfAWriterThatHangs(t *testing.T) {
	t.Parallel()
	db := openAt(t, "sqlite:"+filepath.Join(t.TempDir(), "durward.db"))
	held, release, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		ended <- db.do(context.Background(), func(*tx) error {
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	patient, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	if err := db.Ping(patient); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Ping(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that has gone: got %v, want context.Canceled", err)
	}
	close(release)
	must(t, <-ended)
	must(t, db.Ping(t.Context()))
}
