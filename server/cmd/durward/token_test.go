package main

import (
	"context"
	"database/sql"
	"io"
	"path/filepath"
	"testing"
	"time"
)

// No token is issued if the subject cannot be looked up: it would have an address in place of an id.
func TestTokenSubjectUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada@example.com", testPassword)
	e := &environment{Context: context.Background(), stdout: io.Discard, stderr: io.Discard}
	n, err := location{Data: dir}.open(e, writing)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	db, err := sql.Open("sqlite", filepath.Join(dir, "durward.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `ALTER TABLE users RENAME TO gone`); err != nil {
		t.Fatal(err)
	}
	v := tokenIssue{Sub: "ada@example.com", TTL: time.Minute}
	if err := v.Run(e, n); err == nil {
		t.Error("issued a token without a look-up of its subject")
	}
}
