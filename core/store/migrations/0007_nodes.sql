-- The machine that a pilot is on, as it calls itself; empty if it did not say.
ALTER TABLE pilots ADD COLUMN node TEXT NOT NULL DEFAULT '';
CREATE INDEX pilots_node ON pilots (vo, ce, node) WHERE node <> '';
CREATE INDEX pilots_up_on_node ON pilots (vo, ce, node) WHERE node <> '' AND ended IS NULL;
CREATE INDEX pilots_ended ON pilots (vo, ended);

-- Machines whose pilots get no jobs, by whoever or whatever saw that jobs fail there.
CREATE TABLE node_bans (
    vo TEXT NOT NULL,
    ce TEXT NOT NULL,
    node TEXT NOT NULL,
    since BIGINT NOT NULL,
    -- Nothing: until somebody allows it again.
    until BIGINT,
    reason TEXT NOT NULL,
    PRIMARY KEY (vo, ce, node)
);
