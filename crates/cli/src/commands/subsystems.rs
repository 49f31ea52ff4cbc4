//! `argosy agent subsystems` and `argosy agent schedule`

use argosy_wire::rest::subsystems::{Subsystems, UpdateSubsystem};
use reqwest::Method;

use super::{Context, find};
use crate::{args::Schedule, error::CliError, output::subsystems};

/// Schedules and breakers of an agent.
pub async fn show(context: &Context<'_>, agent: &str) -> Result<(), CliError> {
    let agent = find::agent(&context.client, agent).await?;
    let path = format!("/api/v1/agents/{}/subsystems", agent.agent_id);
    let shown: Subsystems = context.client.get(&path, &[]).await?;
    context.printer.show(&shown, |view| subsystems::subsystems(view, &shown))
}

/// Changes one schedule.
pub async fn schedule(context: &Context<'_>, wanted: Schedule) -> Result<(), CliError> {
    let agent = find::agent(&context.client, &wanted.agent).await?;
    let path = format!("/api/v1/agents/{}/subsystems/{}", agent.agent_id, wanted.subsystem);
    let change = UpdateSubsystem {
        enabled: wanted.enabled,
        auto_run: wanted.auto_run,
        interval_s: wanted.interval.map(|span| span.as_secs()),
        timeout_s: wanted.timeout.map(|span| span.as_secs()),
    };
    context.client.tell(Method::PATCH, &path, Some(&change)).await?;
    show(context, &agent.agent_id).await
}
