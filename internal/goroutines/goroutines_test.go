package goroutines

import (
	"strings"
	"testing"
	"testing/synctest"
)

// recorder keeps the failure of a test.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(_ string, args ...any) { r.failure += args[0].(string) }

func TestRemain(t *testing.T) {
	end := make(chan struct{})
	go func() { <-end }()
	synctest.Test(t, func(t *testing.T) { // its clock makes the wait short
		r := &recorder{TB: t}
		check := Remain(r)
		check()
		if r.failure != "" {
			t.Errorf("an older goroutine: %s", r.failure)
		}
		left := make(chan struct{})
		go leftBehind(left)
		check()
		if !strings.Contains(r.failure, "leftBehind") {
			t.Errorf("a goroutine that stays: got %q, want its stack", r.failure)
		}
		r.failure = ""
		close(left)
		check()
		if r.failure != "" {
			t.Errorf("a goroutine that ended: %s", r.failure)
		}
	})
	close(end)
}

func leftBehind(end chan struct{}) { <-end }
