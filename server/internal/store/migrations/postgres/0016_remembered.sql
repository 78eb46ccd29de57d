-- +goose Up

-- Whether the user of a sign-in with a cookie wants to stay signed in after the browser ends.
ALTER TABLE sessions ADD COLUMN remembered BIGINT NOT NULL DEFAULT 0;
ALTER TABLE signins ADD COLUMN remembered BIGINT NOT NULL DEFAULT 0;
