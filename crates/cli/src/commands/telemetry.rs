//! `argosy telemetry` and `argosy agent events`: what agents measured and what they tell of.

use argosy_wire::rest::telemetry::{AgentEvent, Telemetry};

use super::{Context, find};
use crate::{args, error::CliError, output::telemetry};

/// The newest values, or the history of one metric.
pub async fn telemetry(context: &Context<'_>, options: args::Telemetry) -> Result<(), CliError> {
    let agent = find::agent(&context.client, &options.agent).await?;
    let mut query = Vec::new();
    if let Some(metric) = options.metric {
        query.extend([("metric", metric), ("since", options.since)]);
        query.extend(options.step.map(|step| ("step", step)));
    }
    let path = format!("/api/v1/agents/{}/telemetry", agent.agent_id);
    let told: Telemetry = context.client.get(&path, &query).await?;
    context.printer.show(&told, |view| telemetry::telemetry(view, &agent.name, &told))
}

/// Events, newest first.
pub async fn events(context: &Context<'_>, options: args::AgentEvents) -> Result<(), CliError> {
    let agent = find::agent(&context.client, &options.agent).await?;
    let mut query = Vec::new();
    query.extend(options.kind.map(|kind| ("kind", kind)));
    query.extend(options.severity.map(|severity| ("severity", severity)));
    query.extend(options.since.map(|since| ("since", since)));
    let path = format!("/api/v1/agents/{}/events", agent.agent_id);
    let listed = context.client.list::<AgentEvent>(&path, &query, options.limit.limit).await?;
    context.printer.show(&listed.items, |view| telemetry::events(view, &listed.items))?;
    context.note_more(&listed);
    Ok(())
}
