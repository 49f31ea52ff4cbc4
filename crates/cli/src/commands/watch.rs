//! `argosy agent watch`: changes of agents as they happen.

use std::{collections::BTreeMap, time::Duration};

use argosy_domain::time::Timestamp;
use argosy_wire::rest::agents::Agent;
use serde::Serialize;

use super::{Context, find};
use crate::{
    error::CliError,
    output::{Tone, View, clean, fleet},
};

/// Agents that are watched at most.
const WATCHED_MAX: u32 = 5_000;

/// One thing that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// When it was noticed.
    pub at: Timestamp,
    /// The agent.
    pub agent_id: String,
    /// Its name.
    pub name: String,
    /// `agent`, `status`, `health`, `connected`, `version` or `name`.
    pub field: &'static str,
    /// Before.
    pub from: Option<String>,
    /// Now.
    pub to: Option<String>,
}

/// Shows agents and then every change, until interrupted. A moment without the server is said
/// once and waited out.
pub async fn watch(
    context: &Context<'_>,
    name: Option<&str>,
    every: Duration,
) -> Result<(), CliError> {
    let only = match name {
        Some(name) => Some(find::agent(&context.client, name).await?.agent_id),
        None => None,
    };
    let first = look(context, only.as_deref()).await?;
    if context.printer.format == crate::args::Format::Table {
        context.printer.show(&first, |view| fleet::agents(view, &first, only.is_some()))?;
    }
    let mut before = by_id(first);
    let mut silent = false;
    loop {
        tokio::time::sleep(every).await;
        let now = match look(context, only.as_deref()).await {
            Ok(agents) => by_id(agents),
            Err(error @ (CliError::Silent { .. } | CliError::Foreign { .. })) => {
                if !silent {
                    context.printer.note(&format!("note: {error}; still trying"));
                }
                silent = true;
                continue;
            }
            Err(error) => return Err(error),
        };
        if silent {
            context.printer.note("note: the server answers again");
        }
        silent = false;
        for change in changes(&before, &now, context.printer.view().now) {
            context.printer.event(&change, |view| line(view, &change))?;
        }
        before = now;
    }
}

async fn look(context: &Context<'_>, only: Option<&str>) -> Result<Vec<Agent>, CliError> {
    match only {
        None => {
            let listed = context.client.list("/api/v1/agents", &[], WATCHED_MAX).await?;
            Ok(listed.items)
        }
        Some(id) => match context.client.get(&format!("/api/v1/agents/{id}"), &[]).await {
            Ok(agent) => Ok(vec![agent]),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        },
    }
}

fn by_id(agents: Vec<Agent>) -> BTreeMap<String, Agent> {
    agents.into_iter().map(|agent| (agent.agent_id.clone(), agent)).collect()
}

/// What is different between two looks.
pub fn changes(
    before: &BTreeMap<String, Agent>,
    now: &BTreeMap<String, Agent>,
    at: Timestamp,
) -> Vec<Change> {
    let change = |agent: &Agent, field, from: Option<String>, to: Option<String>| Change {
        at,
        agent_id: agent.agent_id.clone(),
        name: agent.name.clone(),
        field,
        from,
        to,
    };
    let mut found = Vec::new();
    for (id, agent) in now {
        let Some(old) = before.get(id) else {
            found.push(change(agent, "agent", None, Some(agent.status.clone())));
            continue;
        };
        for ((field, from), (_, to)) in watched(old).into_iter().zip(watched(agent)) {
            if from != to {
                found.push(change(agent, field, from, to));
            }
        }
    }
    let gone = before.iter().filter(|(id, _)| !now.contains_key(*id));
    found.extend(gone.map(|(_, old)| change(old, "agent", Some(old.status.clone()), None)));
    found
}

fn watched(agent: &Agent) -> [(&'static str, Option<String>); 5] {
    let connected = if agent.connected { "yes" } else { "no" };
    [
        ("name", Some(agent.name.clone())),
        ("status", Some(agent.status.clone())),
        ("health", Some(agent.health.clone())),
        ("connected", Some(connected.to_owned())),
        ("version", agent.version.clone()),
    ]
}

fn line(view: &View, change: &Change) -> String {
    let text = change.at.to_string();
    let time = text.get(11..19).unwrap_or(&text);
    let name = clean(&change.name);
    let word = |text: &str| view.paint(&clean(text), Tone::of(text));
    match (change.field, &change.from, &change.to) {
        ("agent", None, Some(status)) => format!("{time}Z  {name}  appeared, {}", word(status)),
        ("agent", _, None) => format!("{time}Z  {name}  is gone"),
        (field, from, to) => {
            let from = from.as_deref().unwrap_or("-");
            let to = to.as_deref().unwrap_or("-");
            format!("{time}Z  {name}  {field}: {} → {}", clean(from), word(to))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tests::plain;

    fn agent(id: &str, status: &str, connected: bool) -> (String, Agent) {
        let agent = serde_json::from_value(serde_json::json!({
            "agent_id": id, "name": format!("host-{id}"), "account_id": 1, "status": status,
            "approval_status": "approved", "health": "healthy", "connected": connected,
            "assurance": "api_key", "labels": {}, "machine_bound": false,
            "registered_at": "2026-11-22T11:00:00Z", "breakers": {}
        }))
        .unwrap();
        (id.to_owned(), agent)
    }

    #[test]
    fn every_change_is_a_line_and_nothing_else_is() {
        let before = BTreeMap::from([
            agent("a", "pending", false),
            agent("b", "approved", true),
            agent("c", "approved", true),
        ]);
        let now = BTreeMap::from([
            agent("a", "approved", true),
            agent("b", "approved", true),
            agent("d", "pending", false),
        ]);
        let at = "2026-11-22T12:03:04Z".parse().unwrap();
        let lines: Vec<String> =
            changes(&before, &now, at).iter().map(|change| line(&plain(), change)).collect();
        assert_eq!(
            lines,
            [
                "12:03:04Z  host-a  status: pending → approved",
                "12:03:04Z  host-a  connected: no → yes",
                "12:03:04Z  host-d  appeared, pending",
                "12:03:04Z  host-c  is gone",
            ]
        );
    }
}
