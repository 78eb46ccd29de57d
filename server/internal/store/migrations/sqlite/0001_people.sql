-- +goose Up

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE users (
    id                  TEXT    PRIMARY KEY,
    email               TEXT    NOT NULL,
    email_key           TEXT    NOT NULL UNIQUE,
    name                TEXT    NOT NULL,
    password            TEXT    NOT NULL,
    admin               INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    password_changed_at INTEGER NOT NULL,
    locked_at           INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE sessions (
    id         TEXT    PRIMARY KEY,
    user_id    TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id  TEXT    NOT NULL,
    scope      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL DEFAULT 0,
    end_reason TEXT    NOT NULL DEFAULT '',
    auth_time  INTEGER NOT NULL,
    acr        TEXT    NOT NULL,
    amr        TEXT    NOT NULL,
    network    TEXT    NOT NULL,
    device     TEXT    NOT NULL,
    agent      TEXT    NOT NULL
) STRICT;
CREATE INDEX sessions_of_user ON sessions (user_id, ended_at);

-- One row for each grant, however often it is refreshed. moved_0 is when it came
-- to its generation, moved_1 when to the one before, and so on.
CREATE TABLE grants (
    id          TEXT    PRIMARY KEY,
    session_id  TEXT    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    client_id   TEXT    NOT NULL,
    scope       TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    salt        BLOB    NOT NULL,
    key_number  INTEGER NOT NULL,
    moved_0     INTEGER NOT NULL DEFAULT 0,
    moved_1     INTEGER NOT NULL DEFAULT 0,
    moved_2     INTEGER NOT NULL DEFAULT 0,
    moved_3     INTEGER NOT NULL DEFAULT 0,
    replays     INTEGER NOT NULL DEFAULT 0,
    network     TEXT    NOT NULL,
    agent       TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    idle_ends   INTEGER NOT NULL,
    ends        INTEGER NOT NULL,
    ended_at    INTEGER NOT NULL DEFAULT 0,
    end_reason  TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX grants_of_session ON grants (session_id, ended_at);

-- A number that was given is never given again, so that a follower that has
-- seen it misses nothing.
CREATE TABLE revocations (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    kind  TEXT    NOT NULL,
    value TEXT    NOT NULL,
    at    INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT;
CREATE INDEX revocations_by_time ON revocations (at);
CREATE INDEX revocations_by_end ON revocations (until);

CREATE TABLE keys (
    id           TEXT    PRIMARY KEY,
    use_for      TEXT    NOT NULL,
    algorithm    TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    number       INTEGER NOT NULL,
    sealed       BLOB    NOT NULL,
    created_at   INTEGER NOT NULL,
    activated_at INTEGER NOT NULL DEFAULT 0,
    retired_at   INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE places (
    user_id TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    network TEXT    NOT NULL,
    browser TEXT    NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, network, browser)
) STRICT;

CREATE TABLE notifications (
    id      TEXT    PRIMARY KEY,
    user_id TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind    TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    device  TEXT    NOT NULL,
    network TEXT    NOT NULL,
    read    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX notifications_of_user ON notifications (user_id, id);

-- The security log. It outlives the people it speaks of.
CREATE TABLE events (
    id         TEXT    PRIMARY KEY,
    kind       TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    user_id    TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    session_id TEXT    NOT NULL,
    outcome    TEXT    NOT NULL,
    network    TEXT    NOT NULL,
    device     TEXT    NOT NULL,
    denial_id  TEXT    NOT NULL,
    detail     TEXT    NOT NULL
) STRICT;
CREATE INDEX events_by_time ON events (at);
CREATE INDEX events_of_user ON events (user_id, at);

CREATE TABLE denials (
    id         TEXT    PRIMARY KEY,
    code       TEXT    NOT NULL,
    status     INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    method     TEXT    NOT NULL,
    path       TEXT    NOT NULL,
    scheme     TEXT    NOT NULL,
    cause      TEXT    NOT NULL,
    network    TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    request_id TEXT    NOT NULL
) STRICT;
CREATE INDEX denials_by_time ON denials (at);
