-- +goose Up

-- The place of an event in the hash chain of the security log: its number, from 1, and its hash over
-- the row and the hash before. A number of 0 means that it is not sealed yet.
ALTER TABLE events ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN hash BYTEA NOT NULL DEFAULT '';
CREATE INDEX events_unsealed ON events (id) WHERE number = 0;
CREATE UNIQUE INDEX events_by_number ON events (number) WHERE number > 0;

-- Signed checkpoints of the chain. Each covers the events from first_event to last_event; the events
-- before first_kept were deleted because of their age.
CREATE TABLE seals (
    number      BIGINT PRIMARY KEY,
    first_event BIGINT NOT NULL,
    last_event  BIGINT NOT NULL,
    first_kept  BIGINT NOT NULL,
    before      BYTEA   NOT NULL,
    hash        BYTEA   NOT NULL,
    at          BIGINT NOT NULL,
    signed_by   TEXT    NOT NULL,
    signature   BYTEA   NOT NULL
);
CREATE INDEX seals_by_time ON seals (at);
