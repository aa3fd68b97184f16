-- Varying quantities that a VO's people, or their programs, tell the server.
CREATE TABLE facts (
    vo TEXT NOT NULL,
    name TEXT NOT NULL,
    subject TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    told BIGINT NOT NULL,
    -- From then on it is too old to count.
    until BIGINT NOT NULL,
    PRIMARY KEY (vo, name, subject)
);
