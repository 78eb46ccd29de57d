package revocation

import (
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/server/internal/store"
)

// Publish adds revocations that are already in the database to the list of this process and to its
// push, so that they hold before the response is sent.
func Publish(list *revoked.List, written []store.Revocation) {
	for _, r := range written {
		list.Announce(entryOf(r))
	}
}
