-- +goose Up

-- The sums of counts of all nodes within the hour from at on, for the overview of a week.
CREATE TABLE hour_counts (
    at     INTEGER NOT NULL,
    name   TEXT    NOT NULL,
    labels TEXT    NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (at, name, labels)
) STRICT, WITHOUT ROWID;
INSERT INTO hour_counts (at, name, labels, n)
    SELECT at - at % 3600000000, name, labels, sum(n) FROM counts GROUP BY at - at % 3600000000, name, labels;
