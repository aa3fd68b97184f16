-- One schema for all. Times are milliseconds since 1970-01-01 UTC; names are those of the model.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- Components by digest; their bytes are blobs.
CREATE TABLE components (
    digest TEXT PRIMARY KEY,
    size BIGINT NOT NULL,
    source TEXT NOT NULL,
    added BIGINT NOT NULL
);

-- Every revision of every VO's document, with what its bindings were resolved to.
CREATE TABLE documents (
    vo TEXT NOT NULL,
    revision BIGINT NOT NULL,
    document TEXT NOT NULL,
    resolutions TEXT NOT NULL,
    author TEXT NOT NULL,
    applied BIGINT NOT NULL,
    PRIMARY KEY (vo, revision)
);

CREATE TABLE classes (
    class_id INTEGER PRIMARY KEY,
    vo TEXT NOT NULL,
    grp TEXT NOT NULL,
    job_type TEXT NOT NULL,
    requirement TEXT NOT NULL,
    UNIQUE (vo, grp, job_type, requirement)
);

-- What one submission stands for; its jobs are rows of `jobs`.
CREATE TABLE templates (
    template_id INTEGER PRIMARY KEY,
    vo TEXT NOT NULL,
    grp TEXT NOT NULL,
    owner TEXT NOT NULL,
    job_type TEXT NOT NULL,
    submission_key TEXT,
    template TEXT NOT NULL,
    plan TEXT NOT NULL,
    requirement TEXT NOT NULL,
    planned_by TEXT NOT NULL,
    jobs BIGINT NOT NULL,
    first_job BIGINT NOT NULL,
    submitted BIGINT NOT NULL,
    UNIQUE (vo, owner, submission_key)
);

CREATE TABLE jobs (
    job_id INTEGER PRIMARY KEY AUTOINCREMENT,
    template_id BIGINT NOT NULL,
    row_number BIGINT NOT NULL,
    parameters TEXT NOT NULL,
    class_id BIGINT NOT NULL,
    vo TEXT NOT NULL,
    grp TEXT NOT NULL,
    owner TEXT NOT NULL,
    job_type TEXT NOT NULL,
    name TEXT NOT NULL,
    priority BIGINT NOT NULL,
    status TEXT NOT NULL,
    minor_status TEXT NOT NULL,
    application_status TEXT NOT NULL DEFAULT '',
    site TEXT NOT NULL DEFAULT 'ANY',
    attempt BIGINT NOT NULL DEFAULT 0,
    -- Attempts before the last reschedule by a person; the VO's limit counts from here.
    attempt_base BIGINT NOT NULL DEFAULT 0,
    reschedules BIGINT NOT NULL DEFAULT 0,
    -- A Received job with a time here becomes Waiting then.
    not_before BIGINT,
    submitted BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    started BIGINT,
    ended BIGINT,
    heartbeat BIGINT
);
CREATE INDEX jobs_queue ON jobs (class_id, owner, priority DESC, job_id) WHERE status = 'Waiting';
CREATE INDEX jobs_due ON jobs (not_before) WHERE not_before IS NOT NULL;
CREATE INDEX jobs_status ON jobs (vo, status, job_id);
CREATE INDEX jobs_owner ON jobs (vo, owner, job_id);
CREATE INDEX jobs_template ON jobs (template_id, row_number);

-- One try at a job. `state`: active (its pilot holds it), killing (its pilot has been told, or will
-- be, to end it), ended (its result was taken), lost (given up; a late result is refused).
CREATE TABLE attempts (
    job_id BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    state TEXT NOT NULL,
    nonce TEXT NOT NULL,
    stamp TEXT NOT NULL,
    site TEXT NOT NULL,
    ce TEXT NOT NULL,
    cores BIGINT NOT NULL,
    decider TEXT NOT NULL,
    score BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    claimed BIGINT NOT NULL,
    started BIGINT,
    ended BIGINT,
    result TEXT,
    stdout_tail TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (job_id, attempt)
);
CREATE INDEX attempts_lease ON attempts (lease_until) WHERE state = 'active';
CREATE INDEX attempts_stamp ON attempts (stamp, state);

-- Append-only.
CREATE TABLE events (
    event_id INTEGER PRIMARY KEY,
    job_id BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    time BIGINT NOT NULL,
    status TEXT NOT NULL,
    minor_status TEXT NOT NULL,
    source TEXT NOT NULL
);
CREATE INDEX events_job ON events (job_id, event_id);

-- Outbox: ended attempts that a handler must still judge.
CREATE TABLE conclusions (
    job_id BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (job_id, attempt)
);

-- What attempts used, in each VO's order; sinks follow by their cursors.
CREATE TABLE usage_records (
    vo TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL,
    PRIMARY KEY (vo, sequence)
);
CREATE TABLE sinks (
    vo TEXT NOT NULL,
    sink TEXT NOT NULL,
    delivered BIGINT NOT NULL,
    -- End of the batch that is being delivered: it is repeated unchanged until it is acked.
    in_flight BIGINT,
    problem TEXT,
    PRIMARY KEY (vo, sink)
);
CREATE TABLE refused_records (
    vo TEXT NOT NULL,
    sink TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    reason TEXT NOT NULL,
    time BIGINT NOT NULL,
    PRIMARY KEY (vo, sink, sequence)
);

CREATE TABLE pilots (
    stamp TEXT PRIMARY KEY,
    vo TEXT NOT NULL,
    site TEXT NOT NULL,
    ce TEXT NOT NULL,
    queue TEXT NOT NULL,
    cores BIGINT NOT NULL,
    status TEXT NOT NULL,
    status_reason TEXT NOT NULL DEFAULT '',
    reference TEXT,
    secret_hash TEXT NOT NULL,
    -- Hash of what the pilot chose when it used its secret; it may use it again with the same.
    start_hash TEXT,
    wall_time BIGINT NOT NULL,
    submitted BIGINT NOT NULL,
    started BIGINT,
    last_seen BIGINT,
    ended BIGINT,
    jobs_run BIGINT NOT NULL DEFAULT 0,
    cleaned BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX pilots_status ON pilots (status);

CREATE TABLE sandboxes (
    vo TEXT NOT NULL,
    digest TEXT NOT NULL,
    size BIGINT NOT NULL,
    -- Empty for what pilots bring.
    owner TEXT NOT NULL,
    uploaded BIGINT NOT NULL,
    PRIMARY KEY (vo, digest, owner)
);
CREATE TABLE template_sandboxes (
    template_id BIGINT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (template_id, digest)
);
