-- +goose Up

-- The devices on which a user signed in, by the hash of a cookie. seen_at is the last sign-in.
CREATE TABLE devices (
    id         TEXT COLLATE "C" PRIMARY KEY,
    user_id    TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash       BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    UNIQUE (user_id, hash)
);
CREATE INDEX devices_by_hash ON devices (hash);

-- How often the operator lifted the user's blocks for failed attempts.
ALTER TABLE users ADD COLUMN unlocks BIGINT NOT NULL DEFAULT 0;
