-- Nothing read it: jobs know their templates.
ALTER TABLE templates DROP COLUMN first_job;

-- For whom a robot submitted it.
ALTER TABLE jobs ADD COLUMN person TEXT NOT NULL DEFAULT '';
