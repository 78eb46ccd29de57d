//go:build race

package store

// raceDetector: the SQLite driver is many times slower under it.
const raceDetector = true
