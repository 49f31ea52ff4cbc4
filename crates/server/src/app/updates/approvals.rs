//! Approving packages, and taking that back.
//!
//! *Invariant:* what is approved is written down with the versions that were pending at that moment,
//! in the transaction that approves; nothing else is ever installed under it.

use argosy_domain::{
    access::{Caller, Permission},
    audit::AuditAction,
    command::Withdrawal,
    id::ApprovalId,
    limits::PACKAGES_APPROVED_MAX,
    package::{PackageName, PackageVersion},
};
use argosy_store::{ApprovalRow, ApprovedPackages, Page};
use argosy_wire::{
    problem::Code,
    rest::updates::{ApproveUpdates, ApprovedPackage},
};
use serde_json::json;

use crate::app::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    paging::PageQuery,
};

fn wanted(request: &ApproveUpdates) -> AppResult<ApprovedPackages> {
    if request.security && request.packages.is_empty() {
        return Ok(ApprovedPackages::Security);
    }
    if request.security || request.packages.is_empty() {
        let why = "must name packages, or security must be true, and not both";
        return Err(AppError::field("packages", why));
    }
    if request.packages.len() > PACKAGES_APPROVED_MAX {
        return Err(AppError::field(
            "packages",
            format!("must be at most {PACKAGES_APPROVED_MAX}"),
        ));
    }
    let mut named = Vec::new();
    for package in &request.packages {
        let name = package.name.parse::<PackageName>();
        let version = package.version.as_ref().map(|text| text.parse::<PackageVersion>());
        named.push((
            name.map_err(|error| AppError::field("packages.name", error))?,
            version.transpose().map_err(|error| AppError::field("packages.version", error))?,
        ));
    }
    Ok(ApprovedPackages::Named(named))
}

impl App {
    /// Approves packages for every approved agent that the selector names, in the versions that are
    /// pending now. What was approved there before is superseded.
    pub async fn approve_updates(
        &self,
        caller: &Caller,
        origin: &Origin,
        request: &ApproveUpdates,
    ) -> AppResult<ApprovalRow> {
        let org = Self::own_org(caller, Permission::UpdatesApprove)?;
        let (what, filter) = (wanted(request)?, self.selected(&request.selector)?);
        let id: ApprovalId = self.ids().fresh();
        let row = ApprovalRow {
            id: id.clone(),
            org: org.clone(),
            selector: json!(request.selector).to_string(),
            packages: "[]".to_owned(),
            agents: 0,
            approved_by: caller.actor(),
            approved_at: self.now(),
            revoked: None,
            waiting: 0,
        };
        let mut tx = self.store().write("updates.approve").await?;
        if tx.update_approvals().insert(&row, &filter, &what).await? == 0 {
            let why = "nothing of it is pending, in that version, on an approved agent";
            return Err(AppError::because(Code::Invalid, why));
        }
        let versions = tx.update_approvals().versions(&id).await?;
        let agents = tx.update_approvals().agents(&id).await?;
        let versions = versions.into_iter().map(|version| ApprovedPackage {
            name: version.name.into(),
            version: version.version.into(),
            agents: version.agents,
        });
        let versions: Vec<_> = versions.collect();
        tx.update_approvals().save_content(&id, &json!(versions).to_string(), agents).await?;
        let event = Event {
            action: AuditAction::UpdatesApproved,
            org,
            target: Some(format!("approval:{id}")),
            detail: json!({
                "selector": request.selector, "security": request.security, "agents": agents,
                "packages": versions.iter().take(PACKAGES_APPROVED_MAX).collect::<Vec<_>>(),
                "packages_total": versions.len(),
            }),
        };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        let approval = tx.update_approvals().get(org, &id).await?;
        tx.commit().await?;
        approval.ok_or_else(|| AppError::not_found("approval"))
    }

    /// The approvals of the caller's organisation, newest first.
    pub async fn list_approvals(
        &self,
        caller: &Caller,
        page: &PageQuery,
    ) -> AppResult<Page<ApprovalRow>> {
        let org = Self::own_org(caller, Permission::UpdatesRead)?;
        let mut reader = self.store().read("updates.approvals").await?;
        Ok(reader.update_approvals().list(org, &page.request()?).await?)
    }

    /// Takes an approval back. What agents were already told to install goes on.
    pub async fn revoke_approval(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &ApprovalId,
    ) -> AppResult<ApprovalRow> {
        let org = Self::own_org(caller, Permission::UpdatesApprove)?;
        let mut tx = self.store().write("updates.revoke").await?;
        let approval = tx.update_approvals().get(org, id).await?;
        let approval = approval.ok_or_else(|| AppError::not_found("approval"))?;
        let by = Withdrawal { by: caller.actor(), at: self.now() };
        if !tx.update_approvals().revoke(org, id, &by).await? {
            return Err(AppError::wrong_state("the approval was taken back before"));
        }
        let event = Event {
            action: AuditAction::UpdatesApprovalRevoked,
            org,
            target: Some(format!("approval:{id}")),
            detail: json!({ "waiting": approval.waiting }),
        };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        tx.commit().await?;
        Ok(ApprovalRow { revoked: Some(by), waiting: 0, ..approval })
    }
}
