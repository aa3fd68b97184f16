-- Nothing read it: jobs know their templates.
ALTER TABLE templates DROP COLUMN first_job;
