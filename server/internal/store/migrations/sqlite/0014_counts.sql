-- +goose Up

-- How often something happened at a node within the five minutes from at on.
CREATE TABLE counts (
    at     INTEGER NOT NULL,
    node   TEXT    NOT NULL,
    name   TEXT    NOT NULL,
    labels TEXT    NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (at, node, name, labels)
) STRICT, WITHOUT ROWID;
