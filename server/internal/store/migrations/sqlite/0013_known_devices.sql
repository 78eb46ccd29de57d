-- +goose Up

-- The devices on which a user signed in, by the hash of a cookie. seen_at is the last sign-in.
CREATE TABLE devices (
    id         TEXT    PRIMARY KEY,
    user_id    TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash       BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    UNIQUE (user_id, hash)
) STRICT;
CREATE INDEX devices_by_hash ON devices (hash);

-- How often the operator lifted the user's blocks for failed attempts.
ALTER TABLE users ADD COLUMN unlocks INTEGER NOT NULL DEFAULT 0;
