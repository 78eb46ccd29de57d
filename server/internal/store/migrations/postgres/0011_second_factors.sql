-- +goose Up

-- Since when the user signs in with a second factor; 0 without one.
ALTER TABLE users ADD COLUMN second_factor_at BIGINT NOT NULL DEFAULT 0;

-- A seed counts once it was confirmed with a code. last_step is that of the last accepted code.
CREATE TABLE totp (
    id           TEXT COLLATE "C" PRIMARY KEY,
    user_id      TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    sealed       BYTEA NOT NULL,
    created_at   BIGINT NOT NULL,
    confirmed_at BIGINT NOT NULL DEFAULT 0,
    last_step    BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX totp_of_user ON totp (user_id);

CREATE TABLE recovery_codes (
    user_id    TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash       BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, hash)
);

-- Wrong codes of a factor since its last right one, and the times of those of the last hour.
CREATE TABLE factor_failures (
    user_id TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    factor  TEXT COLLATE "C" NOT NULL,
    total   BIGINT NOT NULL,
    recent  TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, factor)
);

-- Half-finished sign-ins. hash is that of the secret that the client holds.
CREATE TABLE signins (
    hash                BYTEA PRIMARY KEY,
    user_id             TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    stage               TEXT COLLATE "C" NOT NULL,
    methods             TEXT COLLATE "C" NOT NULL,
    password_changed_at BIGINT NOT NULL,
    second_factor_at    BIGINT NOT NULL,
    use_cookies         BIGINT NOT NULL,
    jkt                 TEXT COLLATE "C" NOT NULL,
    started_at          BIGINT NOT NULL,
    ends_at             BIGINT NOT NULL,
    tries               BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX signins_by_end ON signins (ends_at);
