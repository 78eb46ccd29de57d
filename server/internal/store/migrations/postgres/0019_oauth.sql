-- +goose Up

-- Programs that get tokens from the server (RFC 6749 s1.1). Lists are words with spaces between.
-- from_config is 1 for those of the configuration. session_id is the claim sid of a client's own tokens.
CREATE TABLE clients (
    id            TEXT COLLATE "C" PRIMARY KEY,
    name          TEXT COLLATE "C" NOT NULL,
    auth          TEXT COLLATE "C" NOT NULL,
    redirect_uris TEXT COLLATE "C" NOT NULL,
    grants        TEXT COLLATE "C" NOT NULL,
    scopes        TEXT COLLATE "C" NOT NULL,
    resources     TEXT COLLATE "C" NOT NULL,
    introspects   TEXT COLLATE "C" NOT NULL,
    id_token_alg  TEXT COLLATE "C" NOT NULL,
    pkce_optional BIGINT NOT NULL,
    trusted       BIGINT NOT NULL,
    from_config   BIGINT NOT NULL,
    session_id    TEXT COLLATE "C" NOT NULL,
    created_at    BIGINT NOT NULL,
    disabled_at   BIGINT NOT NULL DEFAULT 0
);

-- The SHA-256 of the secrets of confidential clients.
CREATE TABLE client_secrets (
    id         TEXT COLLATE "C" PRIMARY KEY,
    client_id  TEXT COLLATE "C" NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    hash       BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX client_secrets_of_client ON client_secrets (client_id);

-- Authorization requests that wait for a user (RFC 6749 s4.1.1), by the hashes of their ids. browser is the
-- hash of the cookie of the browser that may continue, empty until it has one. step_ends is the end of the
-- time for the next step, ends_at that of the request. progress is what the user has done for it.
CREATE TABLE oauth_requests (
    hash       BYTEA PRIMARY KEY,
    browser    BYTEA NOT NULL,
    client_id  TEXT COLLATE "C" NOT NULL,
    parameters TEXT COLLATE "C" NOT NULL,
    progress   TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    step_ends  BIGINT NOT NULL,
    ends_at    BIGINT NOT NULL
);
CREATE INDEX oauth_requests_by_end ON oauth_requests (step_ends);

-- Authorization codes (RFC 6749 s4.1.2), by their hashes. parent_id is the session of the browser, or empty.
-- A spent code keeps the id of the session that it began, so that its second use ends that session.
CREATE TABLE codes (
    hash         BYTEA PRIMARY KEY,
    client_id    TEXT COLLATE "C" NOT NULL,
    user_id      TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    parent_id    TEXT COLLATE "C" NOT NULL,
    redirect_uri TEXT COLLATE "C" NOT NULL,
    challenge    TEXT COLLATE "C" NOT NULL,
    nonce        TEXT COLLATE "C" NOT NULL,
    scope        TEXT COLLATE "C" NOT NULL,
    resources    TEXT COLLATE "C" NOT NULL,
    claims       TEXT COLLATE "C" NOT NULL,
    jkt          TEXT COLLATE "C" NOT NULL,
    auth_time    BIGINT NOT NULL,
    acr          TEXT COLLATE "C" NOT NULL,
    amr          TEXT COLLATE "C" NOT NULL,
    created_at   BIGINT NOT NULL,
    ends_at      BIGINT NOT NULL,
    tries        BIGINT NOT NULL DEFAULT 0,
    spent_at     BIGINT NOT NULL DEFAULT 0,
    session_id   TEXT COLLATE "C" NOT NULL DEFAULT ''
);
CREATE INDEX codes_by_end ON codes (ends_at);
CREATE INDEX codes_of_user ON codes (user_id);

-- What users allowed to clients. resource is empty for a client's access to the account alone.
CREATE TABLE consents (
    user_id    TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id  TEXT COLLATE "C" NOT NULL,
    resource   TEXT COLLATE "C" NOT NULL,
    scope      TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, client_id, resource)
);
CREATE INDEX consents_of_client ON consents (client_id);

-- parent_id is the session of the browser in which the user allowed an application's session; it ends with it.
ALTER TABLE sessions ADD COLUMN parent_id TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX sessions_of_parent ON sessions (parent_id) WHERE parent_id <> '';
CREATE INDEX sessions_of_client ON sessions (client_id, user_id) WHERE client_id <> 'durward';

-- resources are the audiences that the access tokens of a grant may have, claims the requested claims
-- (OpenID Connect Core s5.5) as JSON.
ALTER TABLE grants ADD COLUMN resources TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN claims TEXT COLLATE "C" NOT NULL DEFAULT '';
