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

-- What every VO inherits; and each VO's document with that, as it was put in force.
CREATE TABLE installations (
    revision BIGINT PRIMARY KEY,
    document TEXT NOT NULL,
    author TEXT NOT NULL,
    applied BIGINT NOT NULL
);
ALTER TABLE documents ADD COLUMN effective TEXT NOT NULL DEFAULT '';
