//! Approvals of packages: who let which versions be installed where, and what is left of that.
//!
//! *Invariant:* an approval holds for the versions that were pending when it was given. It leaves a
//! package with the next version that is reported, and never comes back.

use argosy_domain::{
    command::Withdrawal,
    id::{AgentId, ApprovalId, OrgId},
    package::{PackageName, PackageStep, PackageVersion},
    time::Timestamp,
};
use serde_json::json;

use crate::{
    agents::AgentFilter,
    dialect::JsonType,
    error::StoreError,
    handle::{ReadWrite, aggregate},
    page::{Page, PageRequest, Select, page_of},
    value::{Row, Value},
};

const TABLE: &str = "update_approvals";
const PENDING: &str = "pending_packages";
const ORDER: (&str, &str) = ("approved_at", "id");

aggregate! {
    /// Approvals of packages.
    UpdateApprovals
}

/// An approval as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRow {
    /// Its id.
    pub id: ApprovalId,
    /// Its tenant.
    pub org: OrgId,
    /// Which agents were asked for, as JSON.
    pub selector: String,
    /// What was approved, as JSON.
    pub packages: String,
    /// Agents that had something of it pending.
    pub agents: u64,
    /// Who approved.
    pub approved_by: String,
    /// When.
    pub approved_at: Timestamp,
    /// Who took it back, and when.
    pub revoked: Option<Withdrawal>,
    /// Packages of agents that wait under it.
    pub waiting: u64,
}

/// What is to be approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovedPackages {
    /// Everything that closes a security hole.
    Security,
    /// These, where a version is named in exactly this one.
    Named(Vec<(PackageName, Option<PackageVersion>)>),
}

/// A version that an approval covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedVersion {
    /// Of this package.
    pub name: PackageName,
    /// The version.
    pub version: PackageVersion,
    /// Agents that have it pending.
    pub agents: u64,
}

/// Agents for which something is approved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovedAgents {
    /// All of them.
    pub agents: Vec<AgentId>,
    /// How many of them have not tried all of it.
    pub untried: u64,
}

fn approval(row: &Row) -> Result<ApprovalRow, StoreError> {
    let revoked = match row.optional("revoked_at")? {
        Some(at) => Some(Withdrawal { by: row.get("revoked_by")?, at }),
        None => None,
    };
    Ok(ApprovalRow {
        id: row.get("id")?,
        org: row.get("org_id")?,
        selector: row.get("selector")?,
        packages: row.get("packages")?,
        agents: row.get("agents")?,
        approved_by: row.get("approved_by")?,
        approved_at: row.get("approved_at")?,
        revoked,
        waiting: row.get("waiting")?,
    })
}

/// Approvals with what waits under each.
macro_rules! view {
    ($condition:literal) => {
        concat!(
            "SELECT v.id, v.org_id, v.selector, v.packages, v.agents, v.approved_by, v.approved_at,
             v.revoked_by, v.revoked_at, (SELECT COUNT(*) FROM pending_packages AS u WHERE u.org_id = v.org_id
             AND u.approval_id = v.id) AS waiting FROM update_approvals AS v WHERE ",
            $condition
        )
    };
}

impl<A> UpdateApprovals<'_, A> {
    /// The organisation's approval of that id.
    pub async fn get(
        &mut self,
        org: &OrgId,
        id: &ApprovalId,
    ) -> Result<Option<ApprovalRow>, StoreError> {
        let sql = view!("v.org_id = $1 AND v.id = $2");
        let row = self.conn.query(TABLE, sql).bind(org).bind(id).fetch_optional().await?;
        row.as_ref().map(approval).transpose()
    }

    /// The organisation's approvals, newest first.
    pub async fn list(
        &mut self,
        org: &OrgId,
        page: &PageRequest,
    ) -> Result<Page<ApprovalRow>, StoreError> {
        let select = Select::new(view!("v.org_id = $1"), [org.into()]).page(ORDER, page);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        page_of(rows, page, ORDER, approval)
    }

    /// The versions that an approval covers.
    pub async fn versions(&mut self, id: &ApprovalId) -> Result<Vec<ApprovedVersion>, StoreError> {
        let sql = "SELECT name, available, COUNT(DISTINCT agent_id) AS agents
            FROM pending_packages WHERE approval_id = $1
            GROUP BY name, available ORDER BY name, available";
        let version = |row: &Row| {
            Ok(ApprovedVersion {
                name: row.get("name")?,
                version: row.get("available")?,
                agents: row.get("agents")?,
            })
        };
        let rows = self.conn.query(PENDING, sql).bind(id).fetch_all().await?;
        rows.iter().map(version).collect()
    }

    /// How many agents have something pending that an approval covers.
    pub async fn agents(&mut self, id: &ApprovalId) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(DISTINCT agent_id) AS n FROM pending_packages
            WHERE approval_id = $1";
        self.conn.query(PENDING, sql).bind(id).fetch_one().await?.get("n")
    }

    /// The approved agents that the filter lets through and for which something is approved, of these
    /// names where any are given.
    pub async fn approved_agents(
        &mut self,
        org: &OrgId,
        filter: &AgentFilter,
        names: &[PackageName],
    ) -> Result<ApprovedAgents, StoreError> {
        let base = "SELECT a.id, COUNT(*) AS approved, COUNT(u.tried_at) AS tried
            FROM agents AS a LEFT JOIN agent_presence AS p ON p.agent_id = a.id
            JOIN pending_packages AS u ON u.agent_id = a.id
            WHERE a.org_id = $1 AND a.status = 'approved' AND u.approval_id IS NOT NULL";
        let dialect = self.conn.dialect();
        let select = filter.conditions(Select::new(base, [org.into()]), dialect);
        let select = select.and_if(dialect.package_in_list(), list_of(names));
        let select =
            select.ending(" GROUP BY a.id, a.registered_at ORDER BY a.registered_at, a.id");
        let mut found = ApprovedAgents::default();
        for row in self.conn.select(PENDING, select).fetch_all().await? {
            let (approved, tried): (u64, u64) = (row.get("approved")?, row.get("tried")?);
            found.untried += u64::from(tried < approved);
            found.agents.push(row.get("id")?);
        }
        Ok(found)
    }

    /// What is approved for an agent, of these names where any are given: what closes a security hole
    /// first; with whether it was tried.
    pub async fn steps(
        &mut self,
        agent: &AgentId,
        names: &[PackageName],
        limit: u32,
    ) -> Result<Vec<(PackageStep, bool)>, StoreError> {
        let base = "SELECT u.name, u.architecture, u.available, u.tried_at
            FROM pending_packages AS u WHERE u.agent_id = $1 AND u.approval_id IS NOT NULL";
        let in_list = self.conn.dialect().package_in_list();
        let select = Select::new(base, [agent.into()])
            .and_if(in_list, list_of(names))
            .ending(" ORDER BY u.security DESC, u.name, u.architecture")
            .limit(limit);
        let step = |row: &Row| {
            let tried: Option<Timestamp> = row.optional("tried_at")?;
            let step = PackageStep {
                name: row.get("name")?,
                architecture: row.get("architecture")?,
                version: row.get("available")?,
            };
            Ok((step, tried.is_some()))
        };
        self.conn.select(PENDING, select).fetch_all().await?.iter().map(step).collect()
    }
}

fn list_of(names: &[PackageName]) -> Option<Value> {
    (!names.is_empty()).then(|| Value::from_iter(names.iter().map(PackageName::as_str)))
}

impl UpdateApprovals<'_, ReadWrite> {
    /// Keeps an approval, and puts it on what the approved agents that the filter lets through have
    /// pending, in place of what was there; answers on how many packages.
    pub async fn insert(
        &mut self,
        row: &ApprovalRow,
        filter: &AgentFilter,
        what: &ApprovedPackages,
    ) -> Result<u64, StoreError> {
        let sql = "INSERT INTO update_approvals
            (id, org_id, selector, packages, agents, approved_by, approved_at)
            VALUES ($1, $2, $3, $4, 0, $5, $6)";
        let query = self.conn.query(TABLE, sql).bind(&row.id).bind(&row.org);
        let query = query.bind(row.selector.as_str()).bind(row.packages.as_str());
        query.bind(row.approved_by.as_str()).bind(row.approved_at).execute().await?;

        let dialect = self.conn.dialect();
        let columns = [("name", JsonType::Text), ("version", JsonType::Text)];
        let named = dialect.rows_of_json(3, &columns);
        let named = format!(
            "EXISTS (SELECT 1 FROM {named} WHERE r.name = u.name
             AND (r.version IS NULL OR r.version = u.available))"
        );
        let (condition, list) = match what {
            ApprovedPackages::Security => ("u.security = TRUE", None),
            ApprovedPackages::Named(packages) => (
                named.as_str(),
                Some(json!(
                    packages
                        .iter()
                        .map(|(name, version)| json!({ "name": name, "version": version }))
                        .collect::<Vec<_>>()
                )),
            ),
        };
        let mut select = Select::dynamic([
            "UPDATE pending_packages AS u SET approval_id = $2 WHERE u.org_id = $1 AND ",
            condition,
            " AND u.agent_id IN (SELECT a.id FROM agents AS a
             LEFT JOIN agent_presence AS p ON p.agent_id = a.id
             WHERE a.org_id = $1 AND a.status = 'approved'",
        ]);
        select.values.extend([(&row.org).into(), (&row.id).into()]);
        select.values.extend(list.map(|list| Value::from(list.to_string())));
        let select = filter.conditions(select, dialect).ending(")");
        self.conn.select(PENDING, select).execute().await
    }

    /// Notes what an approval came to cover.
    pub async fn save_content(
        &mut self,
        id: &ApprovalId,
        packages: &str,
        agents: u64,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE update_approvals SET packages = $2, agents = $3 WHERE id = $1";
        let agents = i64::try_from(agents).unwrap_or(i64::MAX);
        self.conn.query(TABLE, sql).bind(id).bind(packages).bind(agents).execute().await?;
        Ok(())
    }

    /// Takes an approval back from everything that still waits under it; false when that was done
    /// before.
    pub async fn revoke(
        &mut self,
        org: &OrgId,
        id: &ApprovalId,
        by: &Withdrawal,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE pending_packages SET approval_id = NULL
            WHERE org_id = $1 AND approval_id = $2";
        self.conn.query(PENDING, sql).bind(org).bind(id).execute().await?;
        let sql = "UPDATE update_approvals SET revoked_by = $3, revoked_at = $4
            WHERE org_id = $1 AND id = $2 AND revoked_at IS NULL";
        let query = self.conn.query(TABLE, sql).bind(org).bind(id);
        query.bind(by.by.as_str()).bind(by.at).changed().await
    }

    /// A dry run of these succeeded on an agent.
    pub async fn tried(
        &mut self,
        agent: &AgentId,
        steps: &[PackageStep],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let columns = [
            ("name", JsonType::Text),
            ("architecture", JsonType::Text),
            ("version", JsonType::Text),
        ];
        let table = self.conn.dialect().rows_of_json(1, &columns);
        let update = Select::dynamic([
            "UPDATE pending_packages SET tried_at = $3 WHERE agent_id = $2
             AND (name, architecture, available) IN
             (SELECT r.name, r.architecture, r.version FROM ",
            &table,
            ")",
        ]);
        let query = self.conn.select(PENDING, update).bind(json!(steps).to_string());
        query.bind(agent).bind(at).execute().await?;
        Ok(())
    }
}
