-- The attempt that left it, 0 if nobody says: an attempt's outputs take the place of those before.
ALTER TABLE job_sandboxes ADD COLUMN attempt BIGINT NOT NULL DEFAULT 0;
