-- +goose Up

-- 1 for a user who registered and has not yet proved to own the address.
ALTER TABLE users ADD COLUMN unverified BIGINT NOT NULL DEFAULT 0;
UPDATE users SET unverified = 1 WHERE id IN (SELECT user_id FROM events WHERE kind = 'registered');
