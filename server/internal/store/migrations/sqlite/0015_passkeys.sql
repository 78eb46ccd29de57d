-- +goose Up

-- credential is the ID that the authenticator made, sign_count its signature counter of the last response.
CREATE TABLE passkeys (
    id         TEXT    PRIMARY KEY,
    user_id    TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    credential BLOB    NOT NULL UNIQUE,
    public_key BLOB    NOT NULL,
    flags      INTEGER NOT NULL,
    sign_count INTEGER NOT NULL,
    aaguid     TEXT    NOT NULL,
    transports TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX passkeys_of_user ON passkeys (user_id, id);

-- Challenges that were answered, by their hashes.
CREATE TABLE spent_challenges (
    hash    BLOB    PRIMARY KEY,
    ends_at INTEGER NOT NULL
) STRICT;
CREATE INDEX spent_challenges_by_end ON spent_challenges (ends_at);
