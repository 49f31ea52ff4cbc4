-- What agents measure and tell of. Batches are remembered so that each counts once.

CREATE TABLE uploaded_batches (
    org_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    batch TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, batch),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);
CREATE INDEX uploaded_batches_age ON uploaded_batches (received_at);

-- The newest value of each series; a series is a metric and the part of the host it is about.
CREATE TABLE telemetry_series (
    org_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    metric TEXT NOT NULL,
    label TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, metric, label),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);

CREATE TABLE telemetry_buckets (
    org_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    metric TEXT NOT NULL,
    label TEXT NOT NULL,
    resolution_s BIGINT NOT NULL,
    bucket_at BIGINT NOT NULL,
    samples BIGINT NOT NULL,
    low DOUBLE PRECISION NOT NULL,
    high DOUBLE PRECISION NOT NULL,
    total DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (agent_id, metric, resolution_s, bucket_at, label),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);
CREATE INDEX telemetry_buckets_age ON telemetry_buckets (resolution_s, bucket_at);

CREATE TABLE agent_events (
    org_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    message TEXT NOT NULL,
    at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, id),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);
CREATE INDEX agent_events_list ON agent_events (org_id, at, id);
CREATE INDEX agent_events_agent ON agent_events (agent_id, at, id);
CREATE INDEX agent_events_age ON agent_events (received_at);
