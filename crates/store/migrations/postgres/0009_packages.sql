-- Packages of operating systems that agents report as pending, and what was approved of them.

CREATE TABLE update_approvals (
    id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL REFERENCES organisations (id),
    selector TEXT NOT NULL,
    packages TEXT NOT NULL,
    agents BIGINT NOT NULL,
    approved_by TEXT NOT NULL,
    approved_at BIGINT NOT NULL,
    revoked_by TEXT,
    revoked_at BIGINT,
    UNIQUE (org_id, id)
);
CREATE INDEX update_approvals_list ON update_approvals (org_id, approved_at, id);

-- What is approved is the version that stands in the same row: when another one is reported, the
-- approval leaves it, and so does the dry run.
CREATE TABLE pending_packages (
    agent_id TEXT NOT NULL,
    name TEXT NOT NULL,
    architecture TEXT NOT NULL,
    org_id TEXT NOT NULL,
    installed TEXT NOT NULL,
    available TEXT NOT NULL,
    security BOOLEAN NOT NULL,
    repository TEXT NOT NULL,
    approval_id TEXT,
    tried_at BIGINT,
    PRIMARY KEY (agent_id, name, architecture),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, approval_id) REFERENCES update_approvals (org_id, id)
);
CREATE INDEX pending_packages_fleet ON pending_packages (org_id, security, name);
CREATE INDEX pending_packages_list ON pending_packages (org_id, name, agent_id, architecture);
CREATE INDEX pending_packages_approval ON pending_packages (org_id, approval_id)
    WHERE approval_id IS NOT NULL;
