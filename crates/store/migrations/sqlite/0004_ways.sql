-- Who is shown an agent's key (absent: the machine itself), from where the agent last proved itself,
-- and what about it an operator should look at.
ALTER TABLE agents ADD COLUMN key_delivery TEXT;
ALTER TABLE agents ADD COLUMN last_origin TEXT;
ALTER TABLE agents ADD COLUMN review TEXT;

-- Which agent took over from which. What names an epoch below `epoch` is fenced off.
CREATE TABLE agent_replacements (
    agent_id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL,
    successor_id TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    replaced_at BIGINT NOT NULL,
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, successor_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);
CREATE INDEX agent_replacements_successor ON agent_replacements (org_id, successor_id);

-- Agents of service keys: `called` is the id that the program behind the key chose for itself.
CREATE TABLE service_agents (
    org_id TEXT NOT NULL,
    called TEXT NOT NULL,
    key_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    PRIMARY KEY (org_id, called),
    FOREIGN KEY (org_id, key_id) REFERENCES api_keys (org_id, id),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX service_agents_agent ON service_agents (org_id, agent_id);
CREATE INDEX service_agents_key ON service_agents (org_id, key_id);
