//! `argosy command …`

use std::{collections::BTreeMap, time::Duration};

use argosy_domain::{command::Outcome, id::CommandId};
use argosy_wire::rest::{
    agents::Agent,
    commands::{Command, CreateCommand},
};
use reqwest::Method;
use serde_json::{Map, Value};

use super::{Context, fan_out, find, receipt};
use crate::{
    args::{Instruction, Send},
    error::CliError,
    output::{clean, commands},
};

/// Between two looks at a command that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Agents whose names a list of commands looks up.
const NAMES_MAX: u32 = 1_000;

/// Carries out `argosy command …`.
pub async fn run(context: &Context<'_>, command: Instruction) -> Result<(), CliError> {
    match command {
        Instruction::Send(options) => send(context, options).await,
        Instruction::FanOut(options) => fan_out::begin(context, options).await,
        Instruction::Progress { id: Some(id), .. } => fan_out::progress(context, &id).await,
        Instruction::Progress { id: None, limit } => fan_out::list(context, limit.limit).await,
        Instruction::CancelFanOut { id } => fan_out::cancel(context, &id).await,
        Instruction::List { agent, state, limit } => {
            list(context, agent.as_deref(), state, limit.limit).await
        }
        Instruction::Show { id } => {
            let command = get(context, id.as_str()).await?;
            context.printer.show(&command, |view| commands::command(view, &command))
        }
        Instruction::Receipt { id, verify, file, identity_key } => {
            let from = match (id, file) {
                (_, Some(path)) => receipt::From::File(path),
                (Some(id), None) => receipt::From::Server(id),
                (None, None) => {
                    return Err(CliError::usage("which command?", "give its id, or --file"));
                }
            };
            receipt::show(context, from, verify, identity_key.as_deref()).await
        }
        Instruction::Cancel { id } => cancel(context, &id).await,
    }
}

async fn get(context: &Context<'_>, id: &str) -> Result<Command, CliError> {
    context.client.get(&format!("/api/v1/commands/{id}"), &[]).await
}

/// Parameters from a JSON object and from pairs; pairs win.
pub fn params(json: Option<&str>, pairs: Vec<(String, String)>) -> Result<Value, CliError> {
    let mut params: Map<String, Value> = match json {
        None => Map::new(),
        Some(text) => serde_json::from_str(text).map_err(|error| {
            CliError::usage(
                format!("--params is not a JSON object: {error}"),
                r#"such as --params '{"subsystem":"system"}'"#,
            )
        })?,
    };
    params.extend(pairs.into_iter().map(|(key, value)| (key, Value::String(value))));
    Ok(Value::Object(params))
}

async fn send(context: &Context<'_>, options: Send) -> Result<(), CliError> {
    let params = params(options.params.as_deref(), options.param)?;
    let agent = find::agent(&context.client, &options.agent).await?;
    let path = format!("/api/v1/agents/{}/commands", agent.agent_id);
    let body = CreateCommand {
        kind: options.kind,
        params,
        expires_in: options.expires_in,
        idempotency_key: options.idempotency_key,
    };
    let command: Command = context.client.post(&path, &body).await?;
    if !options.wait {
        return context.printer.show(&command, |view| commands::command(view, &command));
    }
    if !agent.connected {
        context.printer.note(&format!(
            "note: {} is not connected; the command waits for it",
            clean(&agent.name)
        ));
    }
    let ended = wait(context, command, options.wait_for).await?;
    context.printer.show(&ended, |view| commands::command(view, &ended))?;
    match Outcome::parse(&ended.state) {
        Some(Outcome::Succeeded) => Ok(()),
        Some(_) | None => Err(CliError::NotSucceeded { state: ended.state, detail: ended.detail }),
    }
}

/// Looks until the command has ended, and says on standard error where it stands.
async fn wait(
    context: &Context<'_>,
    mut command: Command,
    wait_for: Duration,
) -> Result<Command, CliError> {
    let deadline = tokio::time::Instant::now() + wait_for;
    let mut told = String::new();
    while Outcome::parse(&command.state).is_none() {
        if told != command.state && context.ask.present() {
            context.printer.note(&clean(&command.state));
        }
        told.clone_from(&command.state);
        if tokio::time::Instant::now() >= deadline {
            return Err(CliError::StillOpen { id: command.id, state: command.state });
        }
        tokio::time::sleep(LOOK_EVERY).await;
        command = get(context, &command.id).await?;
    }
    Ok(command)
}

async fn list(
    context: &Context<'_>,
    agent: Option<&str>,
    state: Option<String>,
    limit: u32,
) -> Result<(), CliError> {
    let mut query = Vec::new();
    let mut names = BTreeMap::new();
    match agent {
        Some(name) => {
            let agent = find::agent(&context.client, name).await?;
            query.push(("agent_id", agent.agent_id.clone()));
            names.insert(agent.agent_id, agent.name);
        }
        None => names = agent_names(context).await,
    }
    query.extend(state.map(|state| ("state", state)));
    let listed = context.client.list::<Command>("/api/v1/commands", &query, limit).await?;
    let name_of = |id: &str| names.get(id).map_or(id, String::as_str).to_owned();
    context.printer.show(&listed.items, |view| commands::commands(view, &listed.items, name_of))?;
    context.note_more(&listed);
    Ok(())
}

/// Names by id, for people. Without them, ids are shown; programs get ids anyway.
pub async fn agent_names(context: &Context<'_>) -> BTreeMap<String, String> {
    if context.printer.format != crate::args::Format::Table {
        return BTreeMap::new();
    }
    match context.client.list::<Agent>("/api/v1/agents", &[], NAMES_MAX).await {
        Ok(listed) => listed.items.into_iter().map(|a| (a.agent_id, a.name)).collect(),
        Err(_) => BTreeMap::new(),
    }
}

async fn cancel(context: &Context<'_>, id: &CommandId) -> Result<(), CliError> {
    let path = format!("/api/v1/commands/{id}/cancel");
    context.client.tell(Method::POST, &path, Some(&serde_json::json!({}))).await?;
    let command = get(context, id.as_str()).await?;
    context.printer.show(&command, |_| format!("Command {id} is {}.", clean(&command.state)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_text_and_win_over_the_object() {
        let pairs = vec![("subsystem".to_owned(), "system".to_owned())];
        let got = params(Some(r#"{"subsystem":"storage","n":3}"#), pairs).unwrap();
        assert_eq!(got, serde_json::json!({"subsystem": "system", "n": 3}));
        assert_eq!(params(None, Vec::new()).unwrap(), serde_json::json!({}));
    }

    #[test]
    fn parameters_must_be_an_object() {
        for bad in ["[1]", "x", "\"a\""] {
            assert_eq!(params(Some(bad), Vec::new()).unwrap_err().exit_code(), 2, "{bad}");
        }
    }
}
