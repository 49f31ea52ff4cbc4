-- What came of writes that carried an idempotency key.

CREATE TABLE idempotent_writes (
    org_id TEXT NOT NULL REFERENCES organisations (id),
    caller TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_sha256 BYTEA NOT NULL,
    attempt BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    carried_out BOOLEAN NOT NULL,
    answer BYTEA,
    PRIMARY KEY (org_id, caller, idempotency_key)
);
CREATE INDEX idempotent_writes_by_start ON idempotent_writes (started_at);
