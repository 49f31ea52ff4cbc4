-- Sync jobs that wait for an agent, come in chunks, and keep what became of each region; what happened to
-- resources; and indexes for lists of a million of them.

ALTER TABLE sync_jobs ADD COLUMN source TEXT NOT NULL DEFAULT 'api';
ALTER TABLE sync_jobs ADD COLUMN asked_by TEXT NOT NULL DEFAULT '';
ALTER TABLE sync_jobs ADD COLUMN taken_by TEXT;
ALTER TABLE sync_jobs ADD COLUMN begun_at BIGINT;
ALTER TABLE sync_jobs ADD COLUMN heard_at BIGINT;
ALTER TABLE sync_jobs ADD COLUMN chunks BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sync_jobs ADD COLUMN outcomes TEXT NOT NULL DEFAULT '[]';
CREATE UNIQUE INDEX sync_jobs_open ON sync_jobs (org_id, agent_id)
    WHERE status IN ('pending', 'running');
CREATE INDEX sync_jobs_pending ON sync_jobs (org_id, account_id) WHERE status = 'pending';

-- What a run delivered so far: the numbers of resources, as a JSON array, until the run ends.
CREATE TABLE sync_chunks (
    job_id TEXT NOT NULL,
    chunk BIGINT NOT NULL,
    org_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    delivered TEXT NOT NULL,
    found_count BIGINT NOT NULL,
    created_count BIGINT NOT NULL,
    updated_count BIGINT NOT NULL,
    PRIMARY KEY (job_id, chunk),
    FOREIGN KEY (org_id, job_id) REFERENCES sync_jobs (org_id, id) ON DELETE CASCADE
);

-- When a region was last read whole: then everything in it that is active was seen, and no row of an
-- unchanged resource is written for that. `begun_at` says which of two runs is the newer one.
CREATE TABLE sync_regions (
    account_id BIGINT NOT NULL,
    provider TEXT NOT NULL,
    region TEXT NOT NULL,
    org_id TEXT NOT NULL,
    begun_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, provider, region),
    FOREIGN KEY (org_id, account_id) REFERENCES accounts (org_id, id) ON DELETE CASCADE
);

-- What happened to a resource after it appeared; once for each kind in a run.
CREATE TABLE resource_changes (
    row_id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    org_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    fields TEXT NOT NULL,
    PRIMARY KEY (row_id, job_id, kind),
    FOREIGN KEY (org_id, row_id) REFERENCES resources (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, job_id) REFERENCES sync_jobs (org_id, id)
);
CREATE INDEX resource_changes_job ON resource_changes (org_id, job_id);
CREATE INDEX resource_changes_at ON resource_changes (at);

-- The job that saw a resource first.
ALTER TABLE resources ADD COLUMN first_job TEXT;

DROP INDEX resources_scope;
CREATE INDEX resources_scope
    ON resources (org_id, account_id, provider, region, first_seen_at, id);
CREATE INDEX resources_of_account ON resources (org_id, account_id, first_seen_at, id);
CREATE INDEX resources_of_type ON resources (org_id, resource_type, first_seen_at, id);
CREATE INDEX resources_in_region ON resources (org_id, region, first_seen_at, id);
CREATE INDEX resources_children ON resources (org_id, parent_resource_id)
    WHERE parent_resource_id IS NOT NULL;
CREATE INDEX resources_stale ON resources (org_id, first_seen_at, id) WHERE status = 'stale';

-- The account whose agents may deliver for this one: that of a cloud organisation's management account.
ALTER TABLE accounts ADD COLUMN organised_by BIGINT;
