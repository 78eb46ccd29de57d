-- +goose Up

CREATE TABLE user_groups (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name    TEXT NOT NULL,
    PRIMARY KEY (user_id, name)
);
CREATE INDEX user_groups_by_name ON user_groups (name);

-- The addresses of deleted users, as the SHA-256 of the form in which addresses are compared.
CREATE TABLE deleted_addresses (
    hash       BYTEA  PRIMARY KEY,
    deleted_at BIGINT NOT NULL
);
