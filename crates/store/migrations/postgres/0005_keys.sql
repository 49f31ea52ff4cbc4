-- How an agent's identity key came to be replaced, and by what it was verified before.

CREATE TABLE agent_key_rotations (
    org_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    serial BIGINT NOT NULL,
    replaced_key BYTEA NOT NULL,
    statement BYTEA NOT NULL,
    signature BYTEA NOT NULL,
    successor_signature BYTEA NOT NULL,
    rotated_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, serial),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);
