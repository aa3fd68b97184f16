-- Since when a pilot's CE says nothing of it that is understood.
ALTER TABLE pilots ADD COLUMN unknown_since BIGINT;

-- The ends of what failed pilots wrote, kept when their CE is told to forget them.
CREATE TABLE pilot_outputs (
    stamp TEXT NOT NULL,
    stream TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (stamp, stream)
);
