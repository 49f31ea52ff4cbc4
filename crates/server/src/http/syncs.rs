//! Runs of discovery: asked for and looked at.

use argosy_domain::{discovery::SyncSource, id::SyncJobId};
use argosy_wire::rest::{
    Page,
    syncs::{StartSync, StartedSyncs, SyncJob, SyncRegion},
};
use axum::{Json as Answered, extract::State, http::StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, From, Id, OptionalJson, Paging, Params},
};
use crate::app::{
    App,
    discovery::{SyncQuery, SyncWanted},
    records::SyncJobRecord,
};

/// Asks an agent, an account or all agents to discover. What an agent has open already is answered.
#[utoipa::path(
    post, path = "/discovery/sync", tag = "discovery", operation_id = "start_sync",
    request_body = Option<StartSync>, security(("api_key" = ["discovery:sync"])),
    responses((status = 202, body = StartedSyncs), Problems)
)]
pub(super) async fn start(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    OptionalJson(body): OptionalJson<StartSync>,
) -> Answer<(StatusCode, Answered<StartedSyncs>)> {
    let wanted =
        SyncWanted { account: body.account_id, agent: body.agent_id, all_agents: body.all_agents };
    let jobs = app.start_sync(&caller, &origin, SyncSource::Api, &wanted).await?;
    let items = jobs.into_iter().map(job).collect();
    Ok((StatusCode::ACCEPTED, Answered(StartedSyncs { items })))
}

/// Which sync jobs to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Of this account.
    account_id: Option<i64>,
    /// Of this agent.
    agent_id: Option<String>,
    /// Such as `running`.
    status: Option<String>,
}

/// Lists sync jobs, newest first.
#[utoipa::path(
    get, path = "/discovery/sync", tag = "discovery", operation_id = "list_syncs", params(Wanted, Paging),
    security(("api_key" = ["discovery:read"])),
    responses((status = 200, body = Page<SyncJob>), Problems)
)]
pub(super) async fn list(
    State(app): State<App>,
    By(caller): By,
    Params(wanted): Params<Wanted>,
    Params(paging): Params<Paging>,
) -> Answer<Answered<Page<SyncJob>>> {
    let query =
        SyncQuery { account: wanted.account_id, agent: wanted.agent_id, status: wanted.status };
    let page = app.list_syncs(&caller, &query, &paging.into()).await?;
    Ok(Answered(convert::page(page, job)))
}

/// Shows a sync job, with what became of each region.
#[utoipa::path(
    get, path = "/discovery/sync/{id}", tag = "discovery", operation_id = "show_sync",
    params(("id" = String, Path)), security(("api_key" = ["discovery:read"])),
    responses((status = 200, body = SyncJob), Problems)
)]
pub(super) async fn show(
    State(app): State<App>,
    By(caller): By,
    Id(id): Id<SyncJobId>,
) -> Answer<Answered<SyncJob>> {
    Ok(Answered(job(app.show_sync(&caller, &id).await?)))
}

fn job(job: SyncJobRecord) -> SyncJob {
    let regions = job.outcomes.into_iter().map(|outcome| {
        let status = if outcome.failure.is_some() { "failed" } else { "read" };
        let (error, call, permission) = match outcome.failure {
            Some(failure) => (Some(failure.error), failure.call, failure.permission),
            None => (None, None, None),
        };
        SyncRegion {
            account_id: outcome.account.0,
            provider: outcome.provider,
            region: outcome.region,
            status: status.to_owned(),
            error,
            call,
            permission,
        }
    });
    SyncJob {
        id: job.id.to_string(),
        account_id: job.account.0,
        agent_id: job.agent.map(|agent| agent.to_string()),
        status: job.status.as_str().to_owned(),
        source: job.source.as_str().to_owned(),
        asked_by: job.asked_by,
        created_at: convert::text(job.created_at),
        begun_at: job.begun_at.map(convert::text),
        heard_at: job.heard_at.map(convert::text),
        finished_at: job.finished_at.map(convert::text),
        chunks: job.chunks,
        resources_found: job.counts.found(),
        resources_created: job.counts.created,
        resources_updated: job.counts.updated,
        resources_deleted: job.stale,
        regions: regions.collect(),
        error: job.error,
    }
}
