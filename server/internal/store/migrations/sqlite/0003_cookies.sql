-- +goose Up

-- The cookies of sessions, by their hashes. One of them is current; one that was
-- replaced lives a moment longer with the rights it had, and is used no further.
CREATE TABLE cookies (
    hash        BLOB    PRIMARY KEY,
    session_id  TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    scope       TEXT    NOT NULL,
    auth_time   INTEGER NOT NULL,
    acr         TEXT    NOT NULL,
    amr         TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    used_at     INTEGER NOT NULL,
    idle_ends   INTEGER NOT NULL,
    replaced_at INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX cookies_of_session ON cookies (session_id);
