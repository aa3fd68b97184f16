-- The life of plugin versions: whose they are, who changed what, what they decided.

-- What a revision was made by, and why.
ALTER TABLE documents ADD COLUMN action TEXT NOT NULL DEFAULT 'apply';
ALTER TABLE documents ADD COLUMN note TEXT NOT NULL DEFAULT '';

-- The backend that sent a pilot, which can read what the CE calls it.
ALTER TABLE pilots ADD COLUMN sent_by TEXT;

-- Who brought a component: a VO, or, with no name, the installation.
CREATE TABLE component_owners (
    digest TEXT NOT NULL,
    vo TEXT NOT NULL,
    source TEXT NOT NULL,
    pushed_by TEXT NOT NULL,
    added BIGINT NOT NULL,
    PRIMARY KEY (digest, vo)
);
INSERT INTO component_owners (digest, vo, source, pushed_by, added)
    SELECT digest, '', source, source, added FROM components;

-- Signatures over components' digests that were checked when they came in.
CREATE TABLE signatures (
    digest TEXT NOT NULL,
    signer TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (digest, signer)
);

-- What pure policies decided, each different question once, to be asked again of candidates.
CREATE TABLE decisions (
    vo TEXT NOT NULL,
    path TEXT NOT NULL,
    decision_key TEXT NOT NULL,
    decided BIGINT NOT NULL,
    digest TEXT NOT NULL,
    settings TEXT NOT NULL,
    decision TEXT NOT NULL,
    PRIMARY KEY (vo, path, decision_key)
);
CREATE INDEX decisions_time ON decisions (vo, path, decided);

-- What guests wrote, the last of each VO.
CREATE TABLE guest_lines (
    line_id INTEGER PRIMARY KEY,
    vo TEXT NOT NULL,
    plugin TEXT NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    time BIGINT NOT NULL
);
CREATE INDEX guest_lines_vo ON guest_lines (vo, line_id);

-- Append-only: who did what to plugins and bindings, and what plugins did that they should not.
CREATE TABLE audit (
    entry_id INTEGER PRIMARY KEY,
    time BIGINT NOT NULL,
    who TEXT NOT NULL,
    vo TEXT NOT NULL,
    path TEXT NOT NULL,
    action TEXT NOT NULL,
    plugin TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_vo ON audit (vo, entry_id);
