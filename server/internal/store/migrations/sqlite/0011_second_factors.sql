-- +goose Up

-- Since when the user signs in with a second factor; 0 without one.
ALTER TABLE users ADD COLUMN second_factor_at INTEGER NOT NULL DEFAULT 0;

-- A seed counts once it was confirmed with a code. last_step is that of the last accepted code.
CREATE TABLE totp (
    id           TEXT    PRIMARY KEY,
    user_id      TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    sealed       BLOB    NOT NULL,
    created_at   INTEGER NOT NULL,
    confirmed_at INTEGER NOT NULL DEFAULT 0,
    last_step    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX totp_of_user ON totp (user_id);

CREATE TABLE recovery_codes (
    user_id    TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash       BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, hash)
) STRICT;

-- Wrong codes of a factor since its last right one, and the times of those of the last hour.
CREATE TABLE factor_failures (
    user_id TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    factor  TEXT    NOT NULL,
    total   INTEGER NOT NULL,
    recent  TEXT    NOT NULL,
    PRIMARY KEY (user_id, factor)
) STRICT;

-- Half-finished sign-ins. hash is that of the secret that the client holds.
CREATE TABLE signins (
    hash                BLOB    PRIMARY KEY,
    user_id             TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    stage               TEXT    NOT NULL,
    methods             TEXT    NOT NULL,
    password_changed_at INTEGER NOT NULL,
    second_factor_at    INTEGER NOT NULL,
    use_cookies         INTEGER NOT NULL,
    jkt                 TEXT    NOT NULL,
    started_at          INTEGER NOT NULL,
    ends_at             INTEGER NOT NULL,
    tries               INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX signins_by_end ON signins (ends_at);
