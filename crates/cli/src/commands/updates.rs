//! `argosy updates …`

use std::collections::BTreeMap;

use argosy_domain::id::ApprovalId;
use argosy_wire::rest::{
    commands::Command,
    fan_outs::FanOut,
    updates::{
        Approval, ApproveUpdates, FleetPackage, InstallUpdates, PendingPackage, WantedPackage,
    },
};
use reqwest::Method;

use super::{Context, fan_out, find, instruction::agent_names};
use crate::{
    args::{Updates, UpdatesApprove, UpdatesInstall, UpdatesList},
    error::CliError,
    output::{clean, fan_outs, updates},
};

/// Commands whose results a table shows.
const RESULTS_MAX: u32 = 1_000;

/// Carries it out.
pub async fn run(context: &Context<'_>, command: Updates) -> Result<(), CliError> {
    match command {
        Updates::List(options) => list(context, options).await,
        Updates::Approve(options) => approve(context, options).await,
        Updates::Approvals { limit } => {
            let path = "/api/v1/updates/approvals";
            let listed = context.client.list::<Approval>(path, &[], limit.limit).await?;
            context.printer.show(&listed.items, |view| updates::approvals(view, &listed.items))?;
            context.note_more(&listed);
            Ok(())
        }
        Updates::Revoke { id } => revoke(context, &id).await,
        Updates::Install(options) => install(context, options).await,
    }
}

fn wanted(text: String) -> WantedPackage {
    match text.split_once('=') {
        Some((name, version)) => {
            WantedPackage { name: name.to_owned(), version: Some(version.to_owned()) }
        }
        None => WantedPackage { name: text, version: None },
    }
}

async fn approve(context: &Context<'_>, options: UpdatesApprove) -> Result<(), CliError> {
    let body = ApproveUpdates {
        selector: fan_out::selector(context, options.selector).await?,
        packages: options.packages.into_iter().map(wanted).collect(),
        security: options.security,
    };
    let approval: Approval = context.client.post("/api/v1/updates/approve", &body).await?;
    context.printer.show(&approval, |view| updates::approval(view, &approval))
}

async fn revoke(context: &Context<'_>, id: &ApprovalId) -> Result<(), CliError> {
    let path = format!("/api/v1/updates/approvals/{id}");
    context.client.tell(Method::DELETE, &path, None::<&serde_json::Value>).await?;
    context.printer.show(&serde_json::json!({ "id": id, "revoked": true }), |_| {
        format!("Approval {id} was taken back. What agents were already told to install goes on.")
    })
}

/// Gives the order; where it is waited for, shows what became of each package.
async fn install(context: &Context<'_>, options: UpdatesInstall) -> Result<(), CliError> {
    let body = InstallUpdates {
        selector: fan_out::selector(context, options.selector).await?,
        packages: options.packages,
        dry_run: options.dry_run,
        without_dry_run: options.without_dry_run,
        expires_in: options.pace.expires_in,
        concurrency: options.pace.concurrency,
        max_errors: options.pace.max_errors,
        idempotency_key: options.pace.idempotency_key,
    };
    let begun: FanOut = context.client.post("/api/v1/updates/install", &body).await?;
    if !options.wait {
        return context.printer.show(&begun, |view| fan_outs::fan_out(view, &begun));
    }
    let ended = fan_out::follow(context, begun).await?;
    let path = format!("/api/v1/fan-outs/{}/commands", clean(&ended.id));
    let listed = context.client.list::<Command>(&path, &[], RESULTS_MAX).await?;
    let names: BTreeMap<String, String> = agent_names(context).await;
    context.printer.show(&listed.items, |view| updates::results(view, &listed.items, &names))?;
    context.note_more(&listed);
    fan_out::verdict(ended)
}

/// Packages of the fleet; of one agent, or of one name, each with its agent.
async fn list(context: &Context<'_>, options: UpdatesList) -> Result<(), CliError> {
    let Context { client, printer, .. } = context;
    let mut query = Vec::new();
    if options.security {
        query.push(("security", "true".to_owned()));
    }
    if let Some(name) = &options.agent {
        query.push(("agent_id", find::agent(client, name).await?.agent_id));
    }
    let with_agents = options.agent.is_some() || options.package.is_some();
    query.extend(options.package.map(|name| ("package", name)));
    if with_agents {
        let path = "/api/v1/updates/agents";
        let listed = client.list::<PendingPackage>(path, &query, options.limit.limit).await?;
        printer.show(&listed.items, |view| updates::pending(view, &listed.items))?;
        context.note_more(&listed);
    } else {
        let path = "/api/v1/updates";
        let listed = client.list::<FleetPackage>(path, &query, options.limit.limit).await?;
        printer.show(&listed.items, |view| updates::packages(view, &listed.items))?;
        context.note_more(&listed);
    }
    Ok(())
}
