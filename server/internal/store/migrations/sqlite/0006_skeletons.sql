-- +goose Up

-- The skeletons of a user's address (UTS 39 s4): addresses with a common one look alike.
CREATE TABLE skeletons (
    skeleton TEXT NOT NULL,
    user_id  TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (skeleton, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX skeletons_of_user ON skeletons (user_id);
