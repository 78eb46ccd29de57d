-- +goose Up

-- Programs that get tokens from the server (RFC 6749 s1.1). Lists are words with spaces between.
-- from_config is 1 for those of the configuration. session_id is the claim sid of a client's own tokens.
CREATE TABLE clients (
    id            TEXT    PRIMARY KEY,
    name          TEXT    NOT NULL,
    auth          TEXT    NOT NULL,
    redirect_uris TEXT    NOT NULL,
    grants        TEXT    NOT NULL,
    scopes        TEXT    NOT NULL,
    resources     TEXT    NOT NULL,
    introspects   TEXT    NOT NULL,
    id_token_alg  TEXT    NOT NULL,
    pkce_optional INTEGER NOT NULL,
    trusted       INTEGER NOT NULL,
    from_config   INTEGER NOT NULL,
    session_id    TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    disabled_at   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The SHA-256 of the secrets of confidential clients.
CREATE TABLE client_secrets (
    id         TEXT    PRIMARY KEY,
    client_id  TEXT    NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    hash       BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX client_secrets_of_client ON client_secrets (client_id);

-- Authorization requests that wait for a user (RFC 6749 s4.1.1), by the hashes of their ids. browser is the
-- hash of the cookie of the browser that may continue, empty until it has one. step_ends is the end of the
-- time for the next step, ends_at that of the request. progress is what the user has done for it.
CREATE TABLE oauth_requests (
    hash       BLOB    PRIMARY KEY,
    browser    BLOB    NOT NULL,
    client_id  TEXT    NOT NULL,
    parameters TEXT    NOT NULL,
    progress   TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    step_ends  INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX oauth_requests_by_end ON oauth_requests (step_ends);

-- Authorization codes (RFC 6749 s4.1.2), by their hashes. parent_id is the session of the browser, or empty.
-- A spent code keeps the id of the session that it began, so that its second use ends that session.
CREATE TABLE codes (
    hash         BLOB    PRIMARY KEY,
    client_id    TEXT    NOT NULL,
    user_id      TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    parent_id    TEXT    NOT NULL,
    redirect_uri TEXT    NOT NULL,
    challenge    TEXT    NOT NULL,
    nonce        TEXT    NOT NULL,
    scope        TEXT    NOT NULL,
    resources    TEXT    NOT NULL,
    claims       TEXT    NOT NULL,
    jkt          TEXT    NOT NULL,
    auth_time    INTEGER NOT NULL,
    acr          TEXT    NOT NULL,
    amr          TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    ends_at      INTEGER NOT NULL,
    tries        INTEGER NOT NULL DEFAULT 0,
    spent_at     INTEGER NOT NULL DEFAULT 0,
    session_id   TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX codes_by_end ON codes (ends_at);
CREATE INDEX codes_of_user ON codes (user_id);

-- What users allowed to clients. resource is empty for a client's access to the account alone.
CREATE TABLE consents (
    user_id    TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id  TEXT    NOT NULL,
    resource   TEXT    NOT NULL,
    scope      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, client_id, resource)
) STRICT, WITHOUT ROWID;
CREATE INDEX consents_of_client ON consents (client_id);

-- parent_id is the session of the browser in which the user allowed an application's session; it ends with it.
ALTER TABLE sessions ADD COLUMN parent_id TEXT NOT NULL DEFAULT '';
CREATE INDEX sessions_of_parent ON sessions (parent_id) WHERE parent_id <> '';
CREATE INDEX sessions_of_client ON sessions (client_id, user_id) WHERE client_id <> 'durward';

-- resources are the audiences that the access tokens of a grant may have, claims the requested claims
-- (OpenID Connect Core s5.5) as JSON.
ALTER TABLE grants ADD COLUMN resources TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN claims TEXT NOT NULL DEFAULT '';
