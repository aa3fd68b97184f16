-- Nothing read these: jobs know their templates, and what they say of themselves has no time.
ALTER TABLE templates DROP COLUMN first_job;
ALTER TABLE job_parameters DROP COLUMN updated;

-- For whom a robot submitted it.
ALTER TABLE jobs ADD COLUMN person TEXT NOT NULL DEFAULT '';

-- Sandboxes that jobs left, with the content that `name`, which is what clients call one, ends in.
CREATE TABLE left_sandboxes (
    job_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (job_id, name)
);
INSERT INTO left_sandboxes
    SELECT job_id, name, substr(name, instr(name, 'sha256:') + 7, 64) FROM job_sandboxes WHERE kind = 'Output';
DROP TABLE job_sandboxes;
ALTER TABLE left_sandboxes RENAME TO job_sandboxes;
CREATE INDEX job_sandboxes_digest ON job_sandboxes (digest);
