-- +goose Up

-- The cookies of sessions, by their hashes. One of them is current; one that was
-- replaced lives a moment longer with the rights it had, and is used no further.
CREATE TABLE cookies (
    hash        BYTEA   PRIMARY KEY,
    session_id  TEXT COLLATE "C" NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    scope       TEXT COLLATE "C" NOT NULL,
    auth_time   BIGINT NOT NULL,
    acr         TEXT COLLATE "C" NOT NULL,
    amr         TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    used_at     BIGINT NOT NULL,
    idle_ends   BIGINT NOT NULL,
    replaced_at BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX cookies_of_session ON cookies (session_id);
