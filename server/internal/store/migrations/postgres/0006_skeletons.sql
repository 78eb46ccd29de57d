-- +goose Up

-- The skeletons of a user's address (UTS 39 s4): addresses with a common one look alike.
CREATE TABLE skeletons (
    skeleton TEXT COLLATE "C" NOT NULL,
    user_id  TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (skeleton, user_id)
);
CREATE INDEX skeletons_of_user ON skeletons (user_id);
