-- Runs by agent and by account, newest first, and those that ended lately.

DROP INDEX sync_jobs_agent;
CREATE INDEX sync_jobs_of_agent ON sync_jobs (org_id, agent_id, created_at, id);
CREATE INDEX sync_jobs_of_account ON sync_jobs (org_id, account_id, created_at, id);
CREATE INDEX sync_jobs_ended ON sync_jobs (finished_at) WHERE finished_at IS NOT NULL;
