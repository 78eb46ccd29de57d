// Package goroutines finds goroutines that a test leaves behind.
package goroutines

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// Remain remembers the goroutines of the process. The function that it returns waits until all later ones have
// ended, and fails the test with their stacks if they have not ended after 20 seconds. The test must not run in
// parallel with others.
func Remain(t testing.TB) (check func()) {
	before := stacks()
	return func() {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			left := ""
			for id, stack := range stacks() {
				if _, old := before[id]; !old {
					left += stack + "\n\n"
				}
			}
			if left == "" {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("goroutines that do not end:\n%s", left)
				return
			}
		}
	}
}

// stacks returns the stack of each goroutine by its number, which is never used again.
func stacks() map[string]string {
	text := make([]byte, 1<<16)
	for {
		n := runtime.Stack(text, true)
		if n < len(text) {
			text = text[:n]
			break
		}
		text = make([]byte, 2*len(text))
	}
	all := make(map[string]string)
	for stack := range strings.SplitSeq(string(text), "\n\n") {
		id, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		all[id] = stack
	}
	return all
}
