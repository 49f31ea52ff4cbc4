//! Packages that agents have pending: what the fleet could install, as its hosts report it.
//!
//! A row is one package of one agent, written in the transaction that takes the report. A page of the
//! fleet's packages reads the rows of its own packages and no others.

use std::collections::BTreeMap;

use argosy_domain::{
    id::{AgentId, ApprovalId, OrgId},
    package::{Architecture, PackageName, PackageVersion},
    time::Timestamp,
};
use serde_json::json;

use crate::{
    dialect::JsonType,
    error::StoreError,
    handle::{ReadWrite, aggregate},
    page::{Cursor, Page, PageRequest, Select},
    value::{Row, Value, storable},
};

const TABLE: &str = "pending_packages";

aggregate! {
    /// Pending packages.
    PendingPackages
}

/// A package as an agent reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedPackage {
    /// Its name.
    pub name: PackageName,
    /// What it is built for.
    pub architecture: Architecture,
    /// The installed version.
    pub installed: PackageVersion,
    /// The version that would be installed.
    pub available: PackageVersion,
    /// The step closes a security hole.
    pub security: bool,
    /// Where the new version comes from.
    pub repository: String,
}

/// A pending package of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRow {
    /// Whose host it is pending on.
    pub agent: AgentId,
    /// The agent's name.
    pub agent_name: String,
    /// The package.
    pub package: ReportedPackage,
    /// The approval of exactly this version.
    pub approval: Option<ApprovalId>,
    /// When a dry run of exactly this version succeeded.
    pub tried_at: Option<Timestamp>,
}

/// A version that is available somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedVersion {
    /// The version.
    pub version: PackageVersion,
    /// Whether it closes a security hole on some agent.
    pub security: bool,
    /// Agents that have it pending.
    pub agents: u64,
    /// Those of them for which it is approved.
    pub approved: u64,
}

/// A package that is pending somewhere in the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetPackage {
    /// Its name.
    pub name: PackageName,
    /// Whether it closes a security hole on some agent.
    pub security: bool,
    /// Agents that have it pending.
    pub agents: u64,
    /// The versions that are available, by name of version.
    pub versions: Vec<OfferedVersion>,
    /// The first agents that have it pending.
    pub pending: Vec<PendingRow>,
}

/// Conditions on pending packages; absent ones let everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PendingFilter {
    /// Of this agent.
    pub agent: Option<AgentId>,
    /// Of this name.
    pub package: Option<PackageName>,
    /// Only what closes a security hole.
    pub security: bool,
}

fn pending(row: &Row) -> Result<PendingRow, StoreError> {
    Ok(PendingRow {
        agent: row.get("agent_id")?,
        agent_name: row.get("agent_name")?,
        package: ReportedPackage {
            name: row.get("name")?,
            architecture: row.get("architecture")?,
            installed: row.get("installed")?,
            available: row.get("available")?,
            security: row.get("security")?,
            repository: row.get("repository")?,
        },
        approval: row.optional("approval_id")?,
        tried_at: row.optional("tried_at")?,
    })
}

impl PendingFilter {
    fn conditions(&self, select: Select) -> Select {
        select
            .and_if("u.agent_id = ?", self.agent.as_ref())
            .and_if("u.name = ?", self.package.as_ref())
            .and_if("u.security = ?", self.security.then_some(true))
    }
}

impl<A> PendingPackages<'_, A> {
    /// The organisation's packages that the filter lets through, those that close a security hole
    /// first, then by name; of each the first `shown` agents.
    pub async fn packages(
        &mut self,
        org: &OrgId,
        filter: &PendingFilter,
        page: &PageRequest,
        shown: u32,
    ) -> Result<Page<FleetPackage>, StoreError> {
        let mut names = self.names(org, filter, page).await?;
        let limit = usize::try_from(page.items()).unwrap_or(usize::MAX);
        let more = names.len() > limit;
        names.truncate(limit);
        let next = names.last().filter(|_| more);
        let next = next.map(|(rank, name)| Cursor::ranked(*rank, name.to_string()));
        let list = Value::from_iter(names.iter().map(|(_, name)| name.as_str()));
        let mut versions = self.versions(org, filter, list.clone()).await?;
        let agents = self.agents(org, filter, list).await?;
        let mut items = Vec::new();
        for (security, name) in names {
            let of_one = PendingFilter { package: Some(name.clone()), ..filter.clone() };
            items.push(FleetPackage {
                security,
                agents: agents.get(&name).copied().unwrap_or_default(),
                versions: versions.remove(&name).unwrap_or_default(),
                pending: self.first(org, &of_one, shown).await?,
                name,
            });
        }
        Ok(Page { items, next })
    }

    /// One more than the page holds, each with whether it closes a security hole.
    async fn names(
        &mut self,
        org: &OrgId,
        filter: &PendingFilter,
        page: &PageRequest,
    ) -> Result<Vec<(bool, PackageName)>, StoreError> {
        let wanted = page.items() + 1;
        let (rank, after) = match page.after.as_ref().map(Cursor::rank) {
            Some((rank, after)) => (rank, Some(after)),
            None => (true, None),
        };
        let mut names = Vec::new();
        if rank {
            names = self.names_of((org, filter), true, after, wanted).await?;
        }
        let left = wanted.saturating_sub(u32::try_from(names.len()).unwrap_or(u32::MAX));
        if left > 0 && !filter.security {
            let after = after.filter(|_| !rank);
            names.extend(self.names_of((org, filter), false, after, left).await?);
        }
        Ok(names)
    }

    async fn names_of(
        &mut self,
        (org, filter): (&OrgId, &PendingFilter),
        security: bool,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(bool, PackageName)>, StoreError> {
        let base = match (security, &filter.agent) {
            (true, _) => {
                "SELECT u.name FROM pending_packages AS u
                 WHERE u.org_id = $1 AND u.security = TRUE"
            }
            (false, None) => {
                "SELECT u.name FROM pending_packages AS u
                 WHERE u.org_id = $1 AND u.security = FALSE AND NOT EXISTS (SELECT 1
                 FROM pending_packages AS s WHERE s.org_id = u.org_id AND s.security = TRUE
                 AND s.name = u.name)"
            }
            (false, Some(_)) => {
                "SELECT u.name FROM pending_packages AS u
                 WHERE u.org_id = $1 AND u.security = FALSE AND NOT EXISTS (SELECT 1
                 FROM pending_packages AS s WHERE s.agent_id = u.agent_id AND s.name = u.name
                 AND s.security = TRUE)"
            }
        };
        let select = filter
            .conditions(Select::new(base, [org.into()]))
            .and_if("u.name > ?", after)
            .ending(" GROUP BY u.name ORDER BY u.name")
            .limit(limit);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        rows.iter().map(|row| Ok((security, row.get("name")?))).collect()
    }

    async fn versions(
        &mut self,
        org: &OrgId,
        filter: &PendingFilter,
        names: Value,
    ) -> Result<BTreeMap<PackageName, Vec<OfferedVersion>>, StoreError> {
        let base = "SELECT u.name, u.available, COUNT(DISTINCT u.agent_id) AS agents,
            COUNT(DISTINCT CASE WHEN u.security THEN u.agent_id END) AS holes,
            COUNT(DISTINCT CASE WHEN u.approval_id IS NOT NULL THEN u.agent_id END) AS approved
            FROM pending_packages AS u WHERE u.org_id = $1";
        let in_list = self.conn.dialect().package_in_list();
        let select = filter
            .conditions(Select::new(base, [org.into()]))
            .and(in_list, names)
            .ending(" GROUP BY u.name, u.available ORDER BY u.name, u.available");
        let mut versions: BTreeMap<PackageName, Vec<OfferedVersion>> = BTreeMap::new();
        for row in self.conn.select(TABLE, select).fetch_all().await? {
            let holes: u64 = row.get("holes")?;
            versions.entry(row.get("name")?).or_default().push(OfferedVersion {
                version: row.get("available")?,
                security: holes > 0,
                agents: row.get("agents")?,
                approved: row.get("approved")?,
            });
        }
        Ok(versions)
    }

    async fn agents(
        &mut self,
        org: &OrgId,
        filter: &PendingFilter,
        names: Value,
    ) -> Result<BTreeMap<PackageName, u64>, StoreError> {
        let base = "SELECT u.name, COUNT(DISTINCT u.agent_id) AS agents
            FROM pending_packages AS u WHERE u.org_id = $1";
        let in_list = self.conn.dialect().package_in_list();
        let select = filter
            .conditions(Select::new(base, [org.into()]))
            .and(in_list, names)
            .ending(" GROUP BY u.name");
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        rows.iter().map(|row| Ok((row.get("name")?, row.get("agents")?))).collect()
    }

    fn list_base(org: &OrgId) -> Select {
        let base =
            "SELECT u.agent_id, u.name, u.architecture, u.installed, u.available, u.security,
            u.repository, u.approval_id, u.tried_at, a.name AS agent_name
            FROM pending_packages AS u
            JOIN agents AS a ON a.id = u.agent_id WHERE u.org_id = $1";
        Select::new(base, [org.into()])
    }

    async fn first(
        &mut self,
        org: &OrgId,
        filter: &PendingFilter,
        limit: u32,
    ) -> Result<Vec<PendingRow>, StoreError> {
        let select = filter
            .conditions(Self::list_base(org))
            .ending(" ORDER BY u.name, u.agent_id, u.architecture")
            .limit(limit);
        self.conn.select(TABLE, select).fetch_all().await?.iter().map(pending).collect()
    }

    /// The organisation's pending packages that the filter lets through, each with its agent: by
    /// name, then by agent.
    pub async fn list(
        &mut self,
        org: &OrgId,
        filter: &PendingFilter,
        page: &PageRequest,
    ) -> Result<Page<PendingRow>, StoreError> {
        let mut select = filter.conditions(Self::list_base(org));
        if let Some(cursor) = &page.after {
            let parts: Vec<&str> = cursor.rank().1.splitn(3, ' ').collect();
            let [name, agent, architecture] = <[&str; 3]>::try_from(parts).unwrap_or_default();
            let columns = "(u.name, u.agent_id, u.architecture)";
            select = select.after(columns, [name, agent, architecture]);
        }
        let select =
            select.ending(" ORDER BY u.name, u.agent_id, u.architecture").limit(page.items() + 1);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        let limit = usize::try_from(page.items()).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        let items: Vec<_> = rows.iter().take(limit).map(pending).collect::<Result<_, _>>()?;
        let next = items.last().filter(|_| more).map(|last| {
            let PendingRow { agent, package: ReportedPackage { name, architecture, .. }, .. } =
                last;
            Cursor::ranked(false, format!("{name} {agent} {architecture}"))
        });
        Ok(Page { items, next })
    }
}

/// The columns that a report carries for each package.
const REPORT: &[(&str, JsonType)] = &[
    ("name", JsonType::Text),
    ("architecture", JsonType::Text),
    ("installed", JsonType::Text),
    ("available", JsonType::Text),
    ("security", JsonType::Int),
    ("repository", JsonType::Text),
];

/// Each package once, in the order of their names, so that two reports never wait for each other.
fn rows_of(packages: &[ReportedPackage]) -> String {
    let mut rows = BTreeMap::new();
    for package in packages {
        let row = json!({
            "name": package.name,
            "architecture": package.architecture,
            "installed": package.installed,
            "available": package.available,
            "security": i64::from(package.security),
            "repository": storable(package.repository.clone()),
        });
        rows.insert((&package.name, &package.architecture), row);
    }
    rows.into_values().collect::<serde_json::Value>().to_string()
}

impl PendingPackages<'_, ReadWrite> {
    /// What the agent has pending now, in two statements, however much that is. Rows that say the
    /// same as before are left alone.
    pub async fn replace(
        &mut self,
        org: &OrgId,
        agent: &AgentId,
        packages: &[ReportedPackage],
    ) -> Result<(), StoreError> {
        let rows = rows_of(packages);
        let table = self.conn.dialect().rows_of_json(1, REPORT);
        let gone = Select::dynamic([
            "DELETE FROM pending_packages WHERE agent_id = $2
             AND (name, architecture) NOT IN (SELECT r.name, r.architecture FROM ",
            &table,
            ")",
        ]);
        let query = self.conn.select(TABLE, gone).bind(rows.as_str()).bind(agent);
        query.execute().await?;
        let upsert = Select::dynamic([
            "INSERT INTO pending_packages (org_id, agent_id, name, architecture, installed,
             available, security, repository) SELECT $2, $3, r.name, r.architecture, r.installed,
             r.available, r.security = 1, r.repository FROM ",
            &table,
            " WHERE TRUE ON CONFLICT (agent_id, name, architecture) DO UPDATE SET
             installed = excluded.installed, available = excluded.available,
             security = excluded.security, repository = excluded.repository,
             approval_id = CASE WHEN pending_packages.available = excluded.available
             THEN pending_packages.approval_id END,
             tried_at = CASE WHEN pending_packages.available = excluded.available
             THEN pending_packages.tried_at END
             WHERE pending_packages.available <> excluded.available
             OR pending_packages.installed <> excluded.installed
             OR pending_packages.security <> excluded.security
             OR pending_packages.repository <> excluded.repository",
        ]);
        let query = self.conn.select(TABLE, upsert).bind(rows).bind(org).bind(agent);
        query.execute().await?;
        Ok(())
    }
}
