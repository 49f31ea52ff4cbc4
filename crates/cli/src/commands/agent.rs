//! `argosy agent …`: looking at agents. Membership stands in [`super::membership`].

use argosy_wire::rest::agents::Agent;

use super::{Context, find, membership, subsystems, telemetry, watch};
use crate::{
    args::{self, AgentList},
    error::CliError,
    output::fleet,
};

/// Carries out `argosy agent …`.
pub async fn run(context: &Context<'_>, command: args::Agent) -> Result<(), CliError> {
    use membership::Step;
    match command {
        args::Agent::List(options) => list(context, options).await,
        args::Agent::Show(one) => {
            let agent = find::agent(&context.client, &one.agent).await?;
            context.printer.show(&agent, |view| fleet::agent(view, &agent))
        }
        args::Agent::Approve { agent, fingerprint, yes } => {
            membership::approve(context, &agent, fingerprint, yes).await
        }
        args::Agent::Reject(to) => {
            membership::step(context, Step::Reject, &to.agent, to.reason).await
        }
        args::Agent::Quarantine(to) => {
            membership::step(context, Step::Quarantine, &to.agent, to.reason).await
        }
        args::Agent::Restore(to) => {
            membership::step(context, Step::Restore, &to.agent, to.reason).await
        }
        args::Agent::Rebind { agent, reason, yes } => {
            membership::rebind(context, &agent, reason, yes).await
        }
        args::Agent::Replace(to) => membership::replace(context, to).await,
        args::Agent::Revoke(to) => membership::revoke(context, to).await,
        args::Agent::Delete { agent, yes } => membership::delete(context, &agent, yes).await,
        args::Agent::Rename { agent, new_name } => {
            membership::rename(context, &agent, new_name).await
        }
        args::Agent::Label { agent, changes } => membership::label(context, &agent, changes).await,
        args::Agent::Subsystems(one) => subsystems::show(context, &one.agent).await,
        args::Agent::Schedule(change) => subsystems::schedule(context, change).await,
        args::Agent::Events(options) => telemetry::events(context, options).await,
        args::Agent::Watch { agent, every } => {
            watch::watch(context, agent.as_deref(), std::time::Duration::from_secs(every)).await
        }
    }
}

async fn list(context: &Context<'_>, options: AgentList) -> Result<(), CliError> {
    let mut query = Vec::new();
    query.extend(options.status.map(|status| ("status", status)));
    query.extend(options.health.map(|health| ("health", health)));
    query.extend(options.account_id.map(|id| ("account_id", id.to_string())));
    query.extend(options.label.map(|(key, value)| ("label", format!("{key}={value}"))));
    query.extend(options.q.map(|text| ("q", text)));
    let limit = options.limit.limit;
    let listed = context.client.list::<Agent>("/api/v1/agents", &query, limit).await?;
    let filtered = !query.is_empty();
    context.printer.show(&listed.items, |view| fleet::agents(view, &listed.items, filtered))?;
    context.note_more(&listed);
    Ok(())
}
