-- +goose Up

-- The place of an event in the hash chain of the security log: its number, from 1, and its hash over
-- the row and the hash before. A number of 0 means that it is not sealed yet.
ALTER TABLE events ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN hash BLOB NOT NULL DEFAULT x'';
CREATE INDEX events_unsealed ON events (id) WHERE number = 0;
CREATE UNIQUE INDEX events_by_number ON events (number) WHERE number > 0;

-- Signed checkpoints of the chain. Each covers the events from first_event to last_event; the events
-- before first_kept were deleted because of their age.
CREATE TABLE seals (
    number      INTEGER PRIMARY KEY,
    first_event INTEGER NOT NULL,
    last_event  INTEGER NOT NULL,
    first_kept  INTEGER NOT NULL,
    before      BLOB    NOT NULL,
    hash        BLOB    NOT NULL,
    at          INTEGER NOT NULL,
    signed_by   TEXT    NOT NULL,
    signature   BLOB    NOT NULL
) STRICT;
CREATE INDEX seals_by_time ON seals (at);
