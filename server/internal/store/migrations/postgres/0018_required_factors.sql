-- +goose Up

-- Since when an administrator requires a second factor of the user; 0 if none is required.
ALTER TABLE users ADD COLUMN factor_required_at BIGINT NOT NULL DEFAULT 0;

-- Groups whose users need a second factor, and since when.
CREATE TABLE factor_groups (
    name        TEXT   PRIMARY KEY,
    required_at BIGINT NOT NULL
);
