-- People who log in with their VO's provider, and what DiracX's clients ask of jobs and pilots.

CREATE TABLE users (
    vo TEXT NOT NULL,
    -- How the VO's provider numbers them.
    sub TEXT NOT NULL,
    user_name TEXT NOT NULL,
    -- What the provider last said of their memberships, and when.
    entitlements TEXT NOT NULL,
    checked BIGINT NOT NULL,
    -- Lets the provider be asked again; sealed.
    provider_token TEXT,
    registered BIGINT NOT NULL,
    PRIMARY KEY (vo, sub),
    UNIQUE (vo, user_name)
);
CREATE TABLE bans (
    vo TEXT NOT NULL,
    user_name TEXT NOT NULL,
    reason TEXT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (vo, user_name)
);

-- Logins under way. `flow` is the hash of the secret that its client holds.
CREATE TABLE flows (
    flow TEXT PRIMARY KEY,
    user_code TEXT UNIQUE,
    -- Hash of what goes to the provider and comes back.
    state TEXT UNIQUE,
    stage TEXT NOT NULL,
    body TEXT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX flows_over ON flows (expires);
CREATE TABLE refresh_tokens (
    jti TEXT PRIMARY KEY,
    vo TEXT NOT NULL,
    sub TEXT NOT NULL,
    scope TEXT NOT NULL,
    revoked BIGINT NOT NULL DEFAULT 0,
    expires BIGINT NOT NULL
);
CREATE INDEX refresh_tokens_over ON refresh_tokens (expires);
CREATE INDEX refresh_tokens_of ON refresh_tokens (vo, sub);

ALTER TABLE jobs ADD COLUMN job_group TEXT NOT NULL DEFAULT '00000000';
ALTER TABLE jobs ADD COLUMN rescheduled BIGINT;
ALTER TABLE events ADD COLUMN application_status TEXT NOT NULL DEFAULT '';
-- What was sent, if it was not a description of ours, and the logical files that it names.
ALTER TABLE templates ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE templates ADD COLUMN input_data TEXT NOT NULL DEFAULT '[]';

-- What jobs and their pilots say of themselves; values are JSON.
CREATE TABLE job_parameters (
    job_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    updated BIGINT NOT NULL,
    PRIMARY KEY (job_id, name)
);
-- Told once, with the next heartbeat.
CREATE TABLE job_commands (
    command_id INTEGER PRIMARY KEY,
    job_id BIGINT NOT NULL,
    command TEXT NOT NULL
);
CREATE INDEX job_commands_of ON job_commands (job_id);

-- Sandboxes given to jobs by name. `name` is what clients call one.
CREATE TABLE job_sandboxes (
    job_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (job_id, kind, name)
);
CREATE INDEX job_sandboxes_name ON job_sandboxes (name);
CREATE INDEX template_sandboxes_digest ON template_sandboxes (digest);
CREATE INDEX sandboxes_age ON sandboxes (vo, uploaded);
CREATE INDEX sandboxes_digest ON sandboxes (digest);
ALTER TABLE sandboxes ADD COLUMN grp TEXT NOT NULL DEFAULT '';
ALTER TABLE sandboxes ADD COLUMN format TEXT NOT NULL DEFAULT 'tar.gz';

-- Numbers of pilots, ours and others'.
CREATE TABLE pilot_numbers (
    pilot_id INTEGER PRIMARY KEY,
    stamp TEXT NOT NULL UNIQUE
);
INSERT INTO pilot_numbers (stamp) SELECT stamp FROM pilots ORDER BY submitted, stamp;
-- Pilots that somebody else sends and only tells us of.
CREATE TABLE registered_pilots (
    stamp TEXT PRIMARY KEY,
    vo TEXT NOT NULL,
    reference TEXT NOT NULL,
    destination_site TEXT NOT NULL,
    queue TEXT NOT NULL,
    grid_site TEXT NOT NULL,
    grid_type TEXT NOT NULL,
    benchmark DOUBLE PRECISION NOT NULL DEFAULT 0,
    status TEXT NOT NULL,
    status_reason TEXT NOT NULL DEFAULT 'Unknown',
    accounting_sent BIGINT NOT NULL DEFAULT 0,
    current_job BIGINT NOT NULL DEFAULT 0,
    submitted BIGINT NOT NULL,
    updated BIGINT NOT NULL
);
