//! Finds an agent by what people call it.

use argosy_domain::id::AgentId;
use argosy_wire::rest::agents::Agent;

use crate::{client::Client, error::CliError};

/// Agents looked through by name.
const LOOK_AT: u32 = 5_000;

/// The agent with this id or this name. A live agent wins over those that are gone; anything else
/// that is not clear is an error that says so.
pub async fn agent(client: &Client, name: &str) -> Result<Agent, CliError> {
    let mut found: Vec<Agent> = Vec::new();
    if let Ok(id) = name.parse::<AgentId>() {
        match client.get::<Agent>(&format!("/api/v1/agents/{id}"), &[]).await {
            // No other agent can take its place by calling itself so.
            Ok(agent) if looks_made(name) => return Ok(agent),
            Ok(agent) => found.push(agent),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    let named = client.list::<Agent>("/api/v1/agents", &[("q", name.to_owned())], LOOK_AT).await?;
    for agent in named.items {
        let known = found.iter().any(|other| other.agent_id == agent.agent_id);
        if agent.name == name && !known {
            found.push(agent);
        }
    }
    choose(name, found)
}

/// Whether Argosy made this id itself (a UUID), in contrast to those that others choose.
fn looks_made(id: &str) -> bool {
    id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// The agent that was let in, where there is only one.
pub async fn only_agent(client: &Client) -> Result<Agent, CliError> {
    let mut admitted = client.list::<Agent>("/api/v1/agents", &[], LOOK_AT).await?.items;
    admitted.retain(|agent| matches!(agent.status.as_str(), "approved" | "quarantined"));
    match <[Agent; 1]>::try_from(admitted) {
        Ok([agent]) => Ok(agent),
        Err(none) if none.is_empty() => Err(CliError::Missing {
            message: "no agent has been let in yet".into(),
            hint: "see who waits with `argosy agent list`, or mint a token with `argosy token \
                   create NAME`"
                .into(),
        }),
        Err(many) => {
            let names: Vec<&str> = many.iter().take(10).map(|a| a.name.as_str()).collect();
            let names = names.join(", ");
            Err(CliError::usage(
                format!("there are {} agents: say which one", many.len()),
                format!("such as {names}; `argosy agent list` shows all"),
            ))
        }
    }
}

fn choose(name: &str, mut found: Vec<Agent>) -> Result<Agent, CliError> {
    if found.len() > 1 && found.iter().any(is_live) {
        found.retain(is_live);
    }
    match <[Agent; 1]>::try_from(found) {
        Ok([agent]) => Ok(agent),
        Err(none) if none.is_empty() => {
            Err(CliError::Unknown { noun: "agent", name: name.to_owned() })
        }
        Err(many) => {
            let ids = many.iter().map(|a| format!("{} ({})", a.agent_id, a.status)).collect();
            Err(CliError::Ambiguous { name: name.to_owned(), ids })
        }
    }
}

fn is_live(agent: &Agent) -> bool {
    matches!(agent.status.as_str(), "pending" | "approved" | "quarantined")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(id: &str, status: &str) -> Agent {
        serde_json::from_value(serde_json::json!({
            "agent_id": id, "name": "web-1", "account_id": 1, "status": status,
            "approval_status": "approved", "health": "healthy", "connected": false,
            "assurance": "api_key", "labels": {}, "machine_bound": false,
            "registered_at": "2026-11-22T11:00:00Z", "breakers": {}
        }))
        .unwrap()
    }

    #[test]
    fn a_live_agent_wins_over_its_predecessors() {
        let found = vec![agent("a", "revoked"), agent("b", "approved")];
        assert_eq!(choose("web-1", found).unwrap().agent_id, "b");
        assert_eq!(choose("web-1", vec![agent("a", "revoked")]).unwrap().agent_id, "a");
    }

    #[test]
    fn what_is_not_clear_is_said_with_the_ids() {
        let found = vec![agent("a", "revoked"), agent("b", "rejected")];
        let error = choose("web-1", found).unwrap_err();
        assert!(error.to_string().contains("ambiguous"), "{error}");
        assert_eq!(error.hints(), ["name it by its id: a (revoked), b (rejected)"]);
        let error = choose("web-9", Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "no agent named \"web-9\"");
    }
}
