-- +goose Up

-- The wrong passwords of a session since its last right one, and those under way.
ALTER TABLE sessions ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;
