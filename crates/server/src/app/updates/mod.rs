//! Operating system packages over the fleet: what agents report as pending, what operators approve of
//! it, and what is installed.

mod approvals;
mod install;

use argosy_domain::{
    access::{Caller, Permission},
    id::{AgentId, OrgId},
    package::PackageName,
};
use argosy_store::{FleetPackage, Page, PendingFilter, PendingRow, ReportedPackage, Tx};
use argosy_wire::report::{PendingPackage, UpdatesReport};

use super::{
    App,
    error::{AppError, AppResult},
    paging::PageQuery,
};

/// Agents that a package of the fleet shows by itself.
pub const AGENTS_SHOWN: u32 = 20;

/// Which pending packages, as they are asked for.
#[derive(Debug, Clone, Default)]
pub struct UpdatesQuery {
    /// Of this agent.
    pub agent: Option<String>,
    /// Of this name.
    pub package: Option<String>,
    /// Only what closes a security hole.
    pub security: bool,
}

impl UpdatesQuery {
    fn filter(&self) -> AppResult<PendingFilter> {
        let agent = self.agent.as_ref().map(|id| id.parse::<AgentId>()).transpose();
        let package = self.package.as_ref().map(|name| name.parse::<PackageName>()).transpose();
        Ok(PendingFilter {
            agent: agent.map_err(|error| AppError::field("agent_id", error))?,
            package: package.map_err(|error| AppError::field("package", error))?,
            security: self.security,
        })
    }
}

impl App {
    /// The packages that are pending in the caller's organisation, those that close a security hole
    /// first, then by name.
    pub async fn list_updates(
        &self,
        caller: &Caller,
        query: &UpdatesQuery,
        page: &PageQuery,
    ) -> AppResult<Page<FleetPackage>> {
        let org = Self::own_org(caller, Permission::UpdatesRead)?;
        let (filter, page) = (query.filter()?, page.request()?);
        let mut reader = self.store().read("updates.list").await?;
        Ok(reader.pending_packages().packages(org, &filter, &page, AGENTS_SHOWN).await?)
    }

    /// The pending packages of the caller's organisation, each with its agent: by name of package,
    /// then by agent.
    pub async fn list_pending_updates(
        &self,
        caller: &Caller,
        query: &UpdatesQuery,
        page: &PageQuery,
    ) -> AppResult<Page<PendingRow>> {
        let org = Self::own_org(caller, Permission::UpdatesRead)?;
        let (filter, page) = (query.filter()?, page.request()?);
        let mut reader = self.store().read("updates.pending").await?;
        Ok(reader.pending_packages().list(org, &filter, &page).await?)
    }
}

/// Takes what an agent has pending into the fleet's list.
pub(super) async fn take_pending(
    tx: &mut Tx,
    (org, agent): (&OrgId, &AgentId),
    report: &UpdatesReport,
) -> AppResult<()> {
    let packages: Vec<_> = report.packages.iter().filter_map(reported).collect();
    Ok(tx.pending_packages().replace(org, agent, &packages).await?)
}

/// A package as it can be installed; none where its name or version is one that no manager has.
fn reported(package: &PendingPackage) -> Option<ReportedPackage> {
    Some(ReportedPackage {
        name: package.name.parse().ok()?,
        architecture: package.architecture.parse().ok()?,
        installed: package.current.parse().ok()?,
        available: package.available.parse().ok()?,
        security: package.security,
        repository: package.repository.clone(),
    })
}
