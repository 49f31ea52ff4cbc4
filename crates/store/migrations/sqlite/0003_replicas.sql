-- What deserves a guard's eye. Repeats within a while are one row with a count: `fold_key` is the
-- same for all of them. `agent_id` names no row, for an event outlives its agent.

CREATE TABLE security_events (
    id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL REFERENCES organisations (id),
    fold_key TEXT NOT NULL,
    kind TEXT NOT NULL,
    agent_id TEXT,
    source TEXT,
    detail TEXT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    times BIGINT NOT NULL,
    UNIQUE (org_id, id)
);
CREATE UNIQUE INDEX security_events_fold ON security_events (org_id, fold_key);
CREATE INDEX security_events_list ON security_events (org_id, last_at, id);
CREATE INDEX security_events_agent ON security_events (org_id, agent_id, last_at);
CREATE INDEX security_events_age ON security_events (last_at);

-- Several servers on one database. These tables belong to the installation.
--
-- What changed in what somebody may do: servers read it instead of asking for every call. The one
-- row of `authority_sequence` is held until the commit, so numbers become visible in their order.

CREATE TABLE authority_sequence (
    name TEXT PRIMARY KEY NOT NULL,
    n BIGINT NOT NULL
);
INSERT INTO authority_sequence (name, n) VALUES ('last', 0);

CREATE TABLE authority_changes (
    n BIGINT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL
);

-- Servers that run, and who of them does what only one may do. Times are the database's own.

CREATE TABLE replicas (
    id TEXT PRIMARY KEY NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);

CREATE TABLE leases (
    name TEXT PRIMARY KEY NOT NULL,
    holder TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Which server holds an agent's stream. `stream` rises with each that is opened anywhere.

ALTER TABLE agent_presence ADD COLUMN replica TEXT;
ALTER TABLE agent_presence ADD COLUMN stream BIGINT NOT NULL DEFAULT 0;

CREATE INDEX commands_waiting ON commands (created_at) WHERE state = 'queued';
CREATE INDEX commands_changed ON commands (org_id, state_at);
