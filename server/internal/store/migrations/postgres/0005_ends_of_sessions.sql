-- +goose Up

-- Sessions that ended long ago are found without reading the others.
CREATE INDEX sessions_by_end ON sessions (ends_at);
