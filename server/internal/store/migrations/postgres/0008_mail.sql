-- +goose Up

-- Mails that are still to be sent. A row with an address and without a user is for the user who has
-- the address when it is sent. due_at is the next attempt, or the end of the lease of a node that sends it.
CREATE TABLE outbox (
    id         TEXT COLLATE "C" PRIMARY KEY,
    kind       TEXT COLLATE "C" NOT NULL,
    user_id    TEXT COLLATE "C" NOT NULL,
    address    TEXT COLLATE "C" NOT NULL,
    language   TEXT COLLATE "C" NOT NULL,
    device     TEXT COLLATE "C" NOT NULL,
    network    TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    due_at     BIGINT NOT NULL,
    attempts   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX outbox_by_due ON outbox (due_at);

-- The tokens in links of mails, by their hashes. purpose is the kind of the mail, address where it was
-- sent, and email_key the address that the user had then.
CREATE TABLE mail_tokens (
    hash       BYTEA   PRIMARY KEY,
    purpose    TEXT COLLATE "C" NOT NULL,
    user_id    TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    email_key  TEXT COLLATE "C" NOT NULL,
    address    TEXT COLLATE "C" NOT NULL,
    mail_id    TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    ends_at    BIGINT NOT NULL
);
CREATE INDEX mail_tokens_of_user ON mail_tokens (user_id, purpose);
CREATE INDEX mail_tokens_by_end ON mail_tokens (ends_at);

-- The language of the user's last sign-in, empty if unknown.
ALTER TABLE users ADD COLUMN language TEXT COLLATE "C" NOT NULL DEFAULT '';
