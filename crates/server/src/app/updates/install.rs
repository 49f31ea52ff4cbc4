//! Installing what is approved: a fan-out whose command is filled in for each agent.
//!
//! *Invariant:* a command names what is approved for its agent when the command is given, in the
//! approved versions, and nothing else.

use argosy_domain::{
    access::{Caller, Permission},
    agent::Agent,
    command::{Command, CommandKind, CommandParams, Outcome},
    fan_out::FanOut,
    limits::PACKAGES_PER_COMMAND_MAX,
    package::{PackageName, PackageStep},
};
use argosy_store::{AgentFilter, Tx};
use argosy_wire::{
    problem::Code,
    rest::{fan_outs::CreateFanOut, updates::InstallUpdates},
    sign::canonical_json,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::{
    App, Origin,
    error::{AppError, AppResult},
    fan_outs::Progress,
};

/// What a fan-out of `updates.install` keeps in place of its agents' parameters.
#[derive(Debug, Serialize, Deserialize)]
struct Template {
    dry_run: bool,
    /// Only these of what is approved; none: all of it.
    packages: Vec<PackageName>,
    /// Install also what was not tried.
    without_dry_run: bool,
}

impl App {
    /// Lets the approved agents that the selector names install what is approved for them, or try it.
    pub async fn install_updates(
        &self,
        caller: &Caller,
        origin: &Origin,
        request: &InstallUpdates,
    ) -> AppResult<Progress> {
        let org = Self::own_org(caller, Permission::UpdatesInstall)?;
        let template = template(request)?;
        let order = CreateFanOut {
            selector: request.selector.clone(),
            kind: CommandKind::UpdatesInstall.as_str().to_owned(),
            params: json!(template),
            expires_in: request.expires_in.clone(),
            concurrency: request.concurrency,
            max_errors: request.max_errors,
            idempotency_key: request.idempotency_key.clone(),
        };
        let fan_out = self.planned_fan_out(caller, org, &order)?;
        let filter = self.selected(&request.selector)?;
        let mut tx = self.store().write("updates.install").await?;
        if let Some(earlier) = Self::earlier_fan_out(&mut tx, &fan_out).await? {
            tx.commit().await?;
            return Ok(earlier);
        }
        let names = &template.packages;
        let approved = tx.update_approvals().approved_agents(org, &filter, names).await?;
        if approved.agents.is_empty() {
            return Err(AppError::new(Code::NothingApproved));
        }
        if !template.dry_run && !template.without_dry_run && approved.untried > 0 {
            let (untried, all) = (approved.untried, approved.agents.len());
            let detail = format!(
                "{untried} of {all} agents have not tried all of what is approved for them; \
                 `without_dry_run` installs all the same"
            );
            return Err(AppError::because(Code::DryRunFirst, detail));
        }
        let filter = AgentFilter { ids: Some(approved.agents), ..AgentFilter::default() };
        self.give_fan_out(tx, (caller, origin), fan_out, &filter).await
    }

    /// The parameters of one agent's command; or why it gets none.
    pub(in crate::app) async fn install_params(
        tx: &mut Tx,
        fan_out: &FanOut,
        agent: &Agent,
    ) -> AppResult<Result<Vec<u8>, String>> {
        let template: Template =
            serde_json::from_slice(&fan_out.params).map_err(AppError::internal)?;
        let limit = u32::try_from(PACKAGES_PER_COMMAND_MAX).unwrap_or(u32::MAX);
        let names = &template.packages;
        let mut steps = tx.update_approvals().steps(&agent.id, names, limit).await?;
        if steps.is_empty() {
            return Ok(Err("nothing is approved for it any more".to_owned()));
        }
        if !template.dry_run && !template.without_dry_run {
            steps.retain(|(_, tried)| *tried);
            if steps.is_empty() {
                return Ok(Err("it has not tried what is approved".to_owned()));
            }
        }
        let packages: Vec<PackageStep> = steps.into_iter().map(|(step, _)| step).collect();
        let params = json!({ "dry_run": template.dry_run, "packages": packages });
        canonical_json(&params).map(Ok).map_err(AppError::internal)
    }

    /// A command has ended: where it was a dry run that succeeded, what it tried may be installed.
    pub(in crate::app) async fn note_dry_run(
        &self,
        tx: &mut Tx,
        command: &Command,
        outcome: Outcome,
    ) -> AppResult<()> {
        if command.kind != CommandKind::UpdatesInstall || outcome != Outcome::Succeeded {
            return Ok(());
        }
        if let Ok(CommandParams::UpdatesInstall { dry_run: true, packages }) =
            CommandParams::parse(command.kind, &command.params)
        {
            tx.update_approvals().tried(&command.agent, &packages, self.now()).await?;
        }
        Ok(())
    }
}

fn template(request: &InstallUpdates) -> AppResult<Template> {
    if request.packages.len() > PACKAGES_PER_COMMAND_MAX {
        let why = format!("must be at most {PACKAGES_PER_COMMAND_MAX}");
        return Err(AppError::field("packages", why));
    }
    let names = request.packages.iter().map(|name| name.parse::<PackageName>());
    let packages = names.collect::<Result<Vec<_>, _>>();
    Ok(Template {
        dry_run: request.dry_run,
        packages: packages.map_err(|error| AppError::field("packages", error))?,
        without_dry_run: request.without_dry_run,
    })
}
