package lab

import "net/http"

// Sites returns the number of origins that a lab keeps in memory.
func Sites(h http.Handler) int {
	l := h.(*lab)
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sites)
}
