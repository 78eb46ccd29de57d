-- +goose Up

-- Mails that are still to be sent. A row with an address and without a user is for the user who has
-- the address when it is sent. due_at is the next attempt, or the end of the lease of a node that sends it.
CREATE TABLE outbox (
    id         TEXT    PRIMARY KEY,
    kind       TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    address    TEXT    NOT NULL,
    language   TEXT    NOT NULL,
    device     TEXT    NOT NULL,
    network    TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_by_due ON outbox (due_at);

-- The tokens in links of mails, by their hashes. purpose is the kind of the mail, address where it was
-- sent, and email_key the address that the user had then.
CREATE TABLE mail_tokens (
    hash       BLOB    PRIMARY KEY,
    purpose    TEXT    NOT NULL,
    user_id    TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    email_key  TEXT    NOT NULL,
    address    TEXT    NOT NULL,
    mail_id    TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX mail_tokens_of_user ON mail_tokens (user_id, purpose);
CREATE INDEX mail_tokens_by_end ON mail_tokens (ends_at);

-- The language of the user's last sign-in, empty if unknown.
ALTER TABLE users ADD COLUMN language TEXT NOT NULL DEFAULT '';
