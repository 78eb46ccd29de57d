-- +goose Up

-- credential is the ID that the authenticator made, sign_count its signature counter of the last response.
CREATE TABLE passkeys (
    id         TEXT COLLATE "C" PRIMARY KEY,
    user_id    TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    credential BYTEA NOT NULL UNIQUE,
    public_key BYTEA NOT NULL,
    flags      BIGINT NOT NULL,
    sign_count BIGINT NOT NULL,
    aaguid     TEXT COLLATE "C" NOT NULL,
    transports TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX passkeys_of_user ON passkeys (user_id, id);

-- Challenges that were answered, by their hashes.
CREATE TABLE spent_challenges (
    hash    BYTEA PRIMARY KEY,
    ends_at BIGINT NOT NULL
);
CREATE INDEX spent_challenges_by_end ON spent_challenges (ends_at);
