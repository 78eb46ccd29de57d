-- +goose Up

-- The thumbprint of the DPoP key that a grant is bound to, empty where to none.
ALTER TABLE grants ADD COLUMN jkt TEXT NOT NULL DEFAULT '';
