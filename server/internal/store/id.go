package store

import "github.com/google/uuid"

// NewID returns a new id for a row: a UUID of version 7, so that ids sort by the time they were made.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }
