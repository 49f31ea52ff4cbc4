-- The same text serves both databases but for the types of bytes (BLOB, BYTEA) and of the
-- account number. A test holds the two files together.

CREATE TABLE organisations (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    org_id TEXT NOT NULL REFERENCES organisations (id),
    name TEXT NOT NULL,
    provider TEXT,
    external_id TEXT,
    regions TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (org_id, id)
);
CREATE UNIQUE INDEX accounts_name ON accounts (org_id, name);

CREATE TABLE enrolment_tokens (
    id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL REFERENCES organisations (id),
    account_id BIGINT,
    name TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    seats_used BIGINT NOT NULL,
    seats_max BIGINT NOT NULL,
    auto_approve BOOLEAN NOT NULL,
    require_proof BOOLEAN NOT NULL,
    labels TEXT NOT NULL,
    revoked_at BIGINT,
    secret_hash TEXT NOT NULL,
    sealed_mac_key BLOB NOT NULL,
    UNIQUE (org_id, id),
    CHECK (seats_used <= seats_max),
    FOREIGN KEY (org_id, account_id) REFERENCES accounts (org_id, id)
);
CREATE INDEX enrolment_tokens_list ON enrolment_tokens (org_id, created_at, id);

CREATE TABLE agents (
    id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL REFERENCES organisations (id),
    account_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    status_at BIGINT NOT NULL,
    status_by TEXT,
    status_reason TEXT,
    approved_by TEXT,
    approved_at BIGINT,
    approved_fingerprint TEXT,
    identity_key BLOB,
    encryption_key BLOB,
    fingerprint TEXT,
    statement_sha256 BLOB,
    machine_id TEXT,
    version TEXT,
    platform TEXT,
    hostname TEXT,
    labels TEXT NOT NULL,
    token_id TEXT,
    source TEXT,
    registered_at BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    command_sequence BIGINT NOT NULL DEFAULT 0,
    UNIQUE (org_id, id),
    FOREIGN KEY (org_id, account_id) REFERENCES accounts (org_id, id),
    FOREIGN KEY (org_id, token_id) REFERENCES enrolment_tokens (org_id, id)
);
CREATE UNIQUE INDEX agents_live_name ON agents (org_id, name)
    WHERE status IN ('pending', 'approved', 'quarantined');
CREATE UNIQUE INDEX agents_live_identity_key ON agents (org_id, identity_key)
    WHERE status IN ('pending', 'approved', 'quarantined');
CREATE INDEX agents_list ON agents (org_id, registered_at, id);
CREATE INDEX agents_token ON agents (org_id, token_id, statement_sha256);
CREATE INDEX agents_account ON agents (org_id, account_id);
CREATE INDEX agents_pending ON agents (registered_at) WHERE status = 'pending';

CREATE TABLE agent_presence (
    agent_id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL,
    last_seen BIGINT,
    connected BOOLEAN NOT NULL,
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL REFERENCES organisations (id),
    agent_id TEXT,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    secret_sha256 BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT,
    UNIQUE (org_id, id),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);
CREATE INDEX api_keys_list ON api_keys (org_id, created_at, id);
CREATE INDEX api_keys_agent ON api_keys (org_id, agent_id);

CREATE TABLE handshake_challenges (
    agent_id TEXT NOT NULL,
    challenge_sha256 BLOB NOT NULL,
    org_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, challenge_sha256),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);
CREATE INDEX handshake_challenges_expiry ON handshake_challenges (expires_at);

CREATE TABLE continuations (
    agent_id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL,
    current_sha256 BLOB NOT NULL,
    previous_sha256 BLOB,
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    jkt TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    UNIQUE (org_id, id),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);
CREATE INDEX sessions_agent ON sessions (org_id, agent_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE dpop_proofs (
    jti_sha256 BLOB PRIMARY KEY NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX dpop_proofs_expiry ON dpop_proofs (expires_at);

CREATE TABLE commands (
    id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    params BLOB NOT NULL,
    params_sha256 BLOB NOT NULL,
    sequence BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    idempotency_key TEXT,
    state TEXT NOT NULL,
    state_at BIGINT,
    end_detail TEXT,
    result_payload BLOB,
    receipt BLOB,
    receipt_signature BLOB,
    UNIQUE (org_id, id),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX commands_sequence ON commands (agent_id, sequence);
CREATE UNIQUE INDEX commands_idempotency_key ON commands (org_id, idempotency_key);
CREATE INDEX commands_list ON commands (org_id, created_at, id);
CREATE INDEX commands_agent ON commands (org_id, agent_id, created_at, id);
CREATE INDEX commands_open ON commands (agent_id, sequence)
    WHERE state IN ('queued', 'sent', 'received', 'running');
CREATE INDEX commands_queued ON commands (expires_at) WHERE state = 'queued';

CREATE TABLE inventory (
    agent_id TEXT NOT NULL,
    subsystem TEXT NOT NULL,
    org_id TEXT NOT NULL,
    report BLOB NOT NULL,
    captured_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    command_id TEXT,
    duration_ms BIGINT NOT NULL,
    PRIMARY KEY (agent_id, subsystem),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, command_id) REFERENCES commands (org_id, id) ON DELETE CASCADE
);
CREATE INDEX inventory_command ON inventory (org_id, command_id);

CREATE TABLE subsystems (
    agent_id TEXT NOT NULL,
    subsystem TEXT NOT NULL,
    org_id TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    auto_run BOOLEAN NOT NULL,
    interval_s BIGINT NOT NULL,
    timeout_s BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    breaker TEXT NOT NULL,
    last_run_at BIGINT,
    last_error TEXT,
    PRIMARY KEY (agent_id, subsystem),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
);

CREATE TABLE sync_jobs (
    id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL REFERENCES organisations (id),
    account_id BIGINT NOT NULL,
    agent_id TEXT,
    status TEXT NOT NULL,
    provider TEXT,
    regions TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    found_count BIGINT NOT NULL,
    created_count BIGINT NOT NULL,
    updated_count BIGINT NOT NULL,
    stale_count BIGINT NOT NULL,
    error TEXT,
    UNIQUE (org_id, id),
    FOREIGN KEY (org_id, account_id) REFERENCES accounts (org_id, id),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id)
);
CREATE INDEX sync_jobs_list ON sync_jobs (org_id, created_at, id);
CREATE INDEX sync_jobs_agent ON sync_jobs (org_id, agent_id);

CREATE TABLE resources (
    id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL REFERENCES organisations (id),
    account_id BIGINT NOT NULL,
    job_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    region TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    name TEXT NOT NULL,
    cidr TEXT,
    parent_resource_id TEXT,
    metadata TEXT NOT NULL,
    content_sha256 TEXT NOT NULL,
    status TEXT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    UNIQUE (org_id, id),
    FOREIGN KEY (org_id, account_id) REFERENCES accounts (org_id, id),
    FOREIGN KEY (org_id, job_id) REFERENCES sync_jobs (org_id, id)
);
CREATE INDEX resources_list ON resources (org_id, first_seen_at, id);
CREATE INDEX resources_scope ON resources (org_id, account_id, provider, region);
CREATE INDEX resources_job ON resources (org_id, job_id);

-- `ordinal` is the order of insertion, `position` and `link` the place in the organisation's chain:
-- absent until the sealer has been there. No two entries of an organisation share a position.
CREATE TABLE audit_entries (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    org_id TEXT NOT NULL REFERENCES organisations (id),
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT,
    detail TEXT NOT NULL,
    source TEXT,
    trace_id TEXT,
    position BIGINT,
    link TEXT
);
CREATE INDEX audit_entries_list ON audit_entries (org_id, at, id);
CREATE UNIQUE INDEX audit_entries_position ON audit_entries (org_id, position);
CREATE INDEX audit_entries_unsealed ON audit_entries (org_id, ordinal) WHERE position IS NULL;

CREATE TABLE audit_chains (
    org_id TEXT NOT NULL REFERENCES organisations (id),
    position BIGINT NOT NULL,
    link TEXT NOT NULL,
    checkpoint_position BIGINT NOT NULL,
    checkpoint_at BIGINT,
    PRIMARY KEY (org_id)
);

CREATE TABLE audit_checkpoints (
    org_id TEXT NOT NULL REFERENCES organisations (id),
    position BIGINT NOT NULL,
    at BIGINT NOT NULL,
    checkpoint BLOB NOT NULL,
    checkpoint_signature BLOB NOT NULL,
    certificate BLOB NOT NULL,
    certificate_signature BLOB NOT NULL,
    PRIMARY KEY (org_id, position)
);

CREATE TABLE server_keys (
    key_use TEXT NOT NULL,
    serial BIGINT NOT NULL,
    public_key BLOB NOT NULL,
    sealed_private BLOB NOT NULL,
    certificate BLOB,
    certificate_signature BLOB,
    not_before BIGINT NOT NULL,
    not_after BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (key_use, serial)
);

CREATE TABLE settings (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
);

CREATE TABLE org_settings (
    org_id TEXT NOT NULL REFERENCES organisations (id),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (org_id, name)
);
