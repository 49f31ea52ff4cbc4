-- Users, their sessions, and what API keys owe their lives to.

ALTER TABLE organisations ADD COLUMN disabled_at BIGINT;

CREATE TABLE users (
    id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL REFERENCES organisations (id),
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    must_change_password BOOLEAN NOT NULL,
    epoch BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_login_at BIGINT,
    disabled_at BIGINT,
    deleted_at BIGINT,
    UNIQUE (org_id, id)
);
CREATE UNIQUE INDEX users_name ON users (org_id, name) WHERE deleted_at IS NULL;
CREATE INDEX users_list ON users (org_id, created_at, id);

CREATE TABLE user_sessions (
    id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    secret_sha256 BLOB NOT NULL,
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    source TEXT,
    UNIQUE (org_id, id),
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id)
);
CREATE INDEX user_sessions_user ON user_sessions (org_id, user_id);
CREATE INDEX user_sessions_expiry ON user_sessions (expires_at);

-- A key that is not here was minted by an older version, and depends on nobody.
CREATE TABLE api_key_owners (
    key_id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL,
    user_id TEXT,
    parent_id TEXT,
    created_by TEXT NOT NULL,
    FOREIGN KEY (org_id, key_id) REFERENCES api_keys (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, user_id) REFERENCES users (org_id, id),
    FOREIGN KEY (org_id, parent_id) REFERENCES api_keys (org_id, id)
);
CREATE INDEX api_key_owners_user ON api_key_owners (org_id, user_id);
CREATE INDEX api_key_owners_parent ON api_key_owners (org_id, parent_id);
