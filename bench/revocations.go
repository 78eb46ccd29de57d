package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/durward-auth/durward/internal/revoked"
)

// revocations measures the list of revocations with a million entries.
func revocations() []row {
	const many = 1_000_000
	name := func(i int) string { return fmt.Sprintf("0190a2c4-7d3e-7000-8000-%012x", i) }
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	held := make(map[string]struct{})
	live, dead := make([]string, 1<<16), make([]string, 1<<16)
	for i := range live {
		live[i], dead[i] = name(many+i*31%many), name(i*31%many)
	}
	before := heap()
	l := revoked.NewList(nil)
	until := time.Now().Add(time.Hour)
	for i := range many {
		l.Add(revoked.Entry{Kind: revoked.Session, Value: name(i), Until: until})
	}
	bytesEach := float64(heap()-before) / many
	for i := range many {
		held[name(i)] = struct{}{}
	}
	var rows []row
	for _, c := range []struct {
		what  string
		names []string
		want  bool
	}{{"a live token", live, false}, {"a revoked token", dead, true}} {
		i, wrong := 0, 0
		ours, allocations := perCall(func() {
			if l.Revoked(revoked.Session, c.names[i&(1<<16-1)]) != c.want {
				wrong++
			}
			i++
		})
		plain, _ := perCall(func() {
			if _, ok := held[c.names[i&(1<<16-1)]]; ok != c.want {
				wrong++
			}
			i++
		})
		if wrong > 0 {
			check(fmt.Errorf("look-up of %s: %d wrong results", c.what, wrong))
		}
		rows = append(rows, row{"look-up of " + c.what + " among a million revocations",
			fmt.Sprintf("%s, %d allocations", rounded(ours), allocations),
			"Go map of the names " + rounded(plain), fmt.Sprintf("%.2f", float64(ours)/float64(plain)), "100 ns"})
	}
	return append(rows,
		row{"memory of a million revocations", fmt.Sprintf("%.0f bytes each", bytesEach), "", "", "100 bytes"})
}
