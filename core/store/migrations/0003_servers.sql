-- Servers on one database: who is up, who does what only one may do, and how far each is.

CREATE TABLE servers (
    server TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    seen BIGINT NOT NULL,
    -- The revision of each VO's document that it has put in force.
    revisions TEXT NOT NULL,
    -- Why it is not further, if so.
    problem TEXT NOT NULL DEFAULT ''
);

CREATE TABLE duties (
    duty TEXT PRIMARY KEY,
    server TEXT NOT NULL,
    held_until BIGINT NOT NULL
);
