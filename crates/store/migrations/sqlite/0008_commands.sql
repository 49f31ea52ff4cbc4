-- Commands that are no longer wanted, the journals that remember them, and orders to many agents.

ALTER TABLE commands ADD COLUMN withdrawn_at BIGINT;
ALTER TABLE commands ADD COLUMN withdrawn_by TEXT;
CREATE INDEX commands_under_way ON commands (expires_at)
    WHERE state IN ('sent', 'received', 'running');

-- The journal that an agent had when it was last here.
CREATE TABLE agent_journals (
    agent_id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL,
    journal TEXT NOT NULL,
    since BIGINT NOT NULL,
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);

CREATE TABLE fan_outs (
    id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL REFERENCES organisations (id),
    kind TEXT NOT NULL,
    params BLOB NOT NULL,
    selector TEXT NOT NULL,
    concurrency BIGINT NOT NULL,
    errors_max BIGINT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    idempotency_key TEXT,
    state TEXT NOT NULL,
    ended_at BIGINT,
    UNIQUE (org_id, id)
);
CREATE UNIQUE INDEX fan_outs_idempotency_key ON fan_outs (org_id, idempotency_key);
CREATE INDEX fan_outs_list ON fan_outs (org_id, created_at, id);
CREATE INDEX fan_outs_running ON fan_outs (created_at) WHERE state = 'running';

CREATE TABLE fan_out_targets (
    fan_out_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    org_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    command_id TEXT,
    skipped TEXT,
    PRIMARY KEY (fan_out_id, position),
    FOREIGN KEY (org_id, fan_out_id) REFERENCES fan_outs (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, command_id) REFERENCES commands (org_id, id) ON DELETE CASCADE
);
CREATE INDEX fan_out_targets_agent ON fan_out_targets (org_id, agent_id);
CREATE INDEX fan_out_targets_command ON fan_out_targets (org_id, command_id);
CREATE INDEX fan_out_targets_waiting ON fan_out_targets (fan_out_id, position)
    WHERE command_id IS NULL AND skipped IS NULL;

-- Which configuration each agent is to have, and which it said to have.
CREATE TABLE agent_configurations (
    agent_id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL,
    wanted BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    applied BIGINT NOT NULL,
    applied_at BIGINT,
    refused TEXT,
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);
CREATE INDEX agent_configurations_changed ON agent_configurations (changed_at);
