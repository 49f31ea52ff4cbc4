//! `argosy resources …` and `argosy sync …`

use std::{
    io::{self, Write as _},
    time::Duration,
};

use argosy_wire::rest::{
    discovery::{NetworkInsight, Resource, ResourceDetail, ResourceNode},
    syncs::{StartSync, StartedSyncs, SyncJob},
};

use super::{Context, find};
use crate::{
    args::{ExportFormat, Resources, Sync, Which},
    error::CliError,
    output::{clean, discovery},
};

const RESOURCES: &str = "/api/v1/discovery/resources";
const SYNC: &str = "/api/v1/discovery/sync";
/// How often jobs that are waited for are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Carries out `argosy resources …`.
pub async fn resources(context: &Context<'_>, command: Resources) -> Result<(), CliError> {
    let Context { client, printer, .. } = context;
    match command {
        Resources::List { which, limit } => {
            let listed = client.list::<Resource>(RESOURCES, &which.query(), limit.limit).await?;
            printer.show(&listed.items, |view| discovery::resources(view, &listed.items))?;
            context.note_more(&listed);
            Ok(())
        }
        Resources::Show { id } => {
            let detail: ResourceDetail = client.get(&format!("{RESOURCES}/{id}"), &[]).await?;
            printer.show(&detail, |view| discovery::resource(view, &detail))
        }
        Resources::Tree { which, limit } => {
            let path = "/api/v1/discovery/tree";
            let listed = client.list::<ResourceNode>(path, &which.query(), limit.limit).await?;
            printer.show(&listed.items, |view| discovery::tree(view, &listed.items))?;
            context.note_more(&listed);
            Ok(())
        }
        Resources::Insight { account } => {
            let query: Vec<_> =
                account.map(|id| ("account_id", id.to_string())).into_iter().collect();
            let insight: NetworkInsight = client.get("/api/v1/discovery/insight", &query).await?;
            printer.show(&insight, |view| discovery::insight(view, &insight))
        }
        Resources::Export { which, format } => export(context, which, format).await,
    }
}

async fn export(context: &Context<'_>, which: Which, format: ExportFormat) -> Result<(), CliError> {
    let format = match format {
        ExportFormat::Csv => "csv",
        ExportFormat::Json => "json",
    };
    let mut query = which.query();
    query.push(("format", format.to_owned()));
    let mut out = io::stdout().lock();
    let path = "/api/v1/discovery/export";
    context
        .client
        .download(path, &query, |piece| out.write_all(piece).map_err(CliError::Output))
        .await
}

/// Carries out `argosy sync …`.
pub async fn sync(context: &Context<'_>, command: Sync) -> Result<(), CliError> {
    let Context { client, printer, .. } = context;
    match command {
        Sync::Start { agent, account, all_agents, wait } => {
            let agent_id = match agent {
                Some(name) => Some(find::agent(client, &name).await?.agent_id),
                None => None,
            };
            let body = StartSync { account_id: account, agent_id, all_agents };
            let started: StartedSyncs = client.post(SYNC, &body).await?;
            if wait {
                return follow(context, started.items).await;
            }
            printer.show(&started.items, |view| discovery::jobs(view, &started.items))
        }
        Sync::List { agent, account, status, limit } => {
            let mut query = Vec::new();
            if let Some(name) = agent {
                query.push(("agent_id", find::agent(client, &name).await?.agent_id));
            }
            query.extend(account.map(|id| ("account_id", id.to_string())));
            query.extend(status.map(|text| ("status", text)));
            let listed = client.list::<SyncJob>(SYNC, &query, limit.limit).await?;
            printer.show(&listed.items, |view| discovery::jobs(view, &listed.items))?;
            context.note_more(&listed);
            Ok(())
        }
        Sync::Show { id } => {
            let job: SyncJob = client.get(&format!("{SYNC}/{id}"), &[]).await?;
            printer.show(&job, |view| discovery::job(view, &job))
        }
    }
}

/// Looks until every job has ended.
async fn follow(context: &Context<'_>, mut jobs: Vec<SyncJob>) -> Result<(), CliError> {
    while jobs.iter().any(|job| job.finished_at.is_none()) {
        tokio::time::sleep(LOOK_EVERY).await;
        for job in jobs.iter_mut().filter(|job| job.finished_at.is_none()) {
            *job = context.client.get(&format!("{SYNC}/{}", clean(&job.id)), &[]).await?;
        }
    }
    context.printer.show(&jobs, |view| discovery::jobs(view, &jobs))?;
    let bad = jobs.iter().filter(|job| job.status != "completed").count();
    if bad == 0 {
        return Ok(());
    }
    let detail = format!("{} of {} completed", jobs.len() - bad, jobs.len());
    let state = jobs.iter().map(|job| job.status.clone()).find(|status| status != "completed");
    Err(CliError::NotSucceeded { state: state.unwrap_or_default(), detail: Some(detail) })
}
