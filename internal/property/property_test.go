package property

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// recorder keeps the failure of a test.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) { r.failure = fmt.Sprintf(format, args...) }

func TestCheck(t *testing.T) {
	t.Parallel()
	sum := func(t *T) (all []int) {
		for range IntRange(0, 20).Draw(t, "length") {
			all = append(all, IntRange(-5, 1000).Draw(t, "n"))
		}
		return all
	}
	for _, c := range []struct {
		name string
		f    func(*T)
		want []string // in the failure; none if there is no failure
	}{
		{"holds", func(t *T) { sum(t); SampledFrom([]string{"a"}).Draw(t, "s") }, nil},
		{"a large number: the smallest one", func(t *T) {
			if all := sum(t); slices.ContainsFunc(all, func(n int) bool { return n >= 100 }) {
				t.Fatalf("numbers %v", all)
			}
		}, []string{"numbers [100]\n", "length: 1\n", "n: 100"}},
		{"a panic", func(t *T) {
			if Bool().Draw(t, "b") {
				panic("broken")
			}
		}, []string{"panic: broken", "b: true"}},
		{"three actions of one kind: no others", func(t *T) {
			n, skipped := 0, 0
			t.Repeat(map[string]func(*T){
				"add":  func(*T) { n++ },
				"idle": func(t *T) { Int64Range(0, 9).Draw(t, "time") },
				"skip": func(t *T) { skipped++; t.Skip(); skipped += 100 },
				"": func(t *T) {
					if n == 3 || skipped >= 100 {
						t.Error("n is", n)
					}
				},
			})
		}, []string{"n is 3\n", ":\naction: add\naction: add\naction: add"}},
	} {
		r := &recorder{TB: t}
		Check(r, c.f)
		if (r.failure == "") != (c.want == nil) {
			t.Errorf("%s: got %q", c.name, r.failure)
		}
		for _, want := range c.want {
			if !strings.Contains(r.failure, want) {
				t.Errorf("%s: got %q, want %q in it", c.name, r.failure, want)
			}
		}
	}
}

func TestGenerators(t *testing.T) {
	t.Parallel()
	seen := make(map[int64]bool)
	for range 10 {
		Check(t, func(t *T) {
			if n := Int64Range(-3, 3).Draw(t, "n"); n < -3 || n > 3 {
				t.Fatal("out of range", n)
			} else {
				seen[n] = true
			}
			n := IntRange(-1_000_000, 1_000_000).Draw(t, "far")
			if n < -1_000_000 || n > 1_000_000 {
				t.Fatal("out of range", n)
			}
			seen[int64(n)] = true
		})
	}
	for _, n := range []int64{-3, 0, 3, -1_000_000, 1_000_000} {
		if !seen[n] { // once in 10^28 tests
			t.Errorf("%d never came", n)
		}
	}
}
