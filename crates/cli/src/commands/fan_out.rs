//! `argosy command fan-out`, `progress` and `cancel-fan-out`

use std::time::Duration;

use argosy_domain::id::FanOutId;
use argosy_wire::rest::fan_outs::{CreateFanOut, FanOut, Selector};
use reqwest::Method;

use super::{Context, find, instruction::params};
use crate::{
    args::{FanOutOrder, Selected},
    error::CliError,
    output::fan_outs,
};

/// Between two looks at a fan-out that is followed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The selector of the flags; some flag must have been given.
pub async fn selector(context: &Context<'_>, wanted: Selected) -> Result<Selector, CliError> {
    let Selected { all, agents, account, labels, health, q } = wanted;
    let mut ids = Vec::new();
    for name in &agents {
        ids.push(find::agent(&context.client, name).await?.agent_id);
    }
    let labels = labels.into_iter().collect();
    let selector = Selector {
        all,
        agents: ids,
        account_id: account,
        labels,
        health,
        q,
        ..Selector::default()
    };
    let narrowed = Selector { all: false, ..selector.clone() } != Selector::default();
    if !all && !narrowed {
        return Err(CliError::usage("to which agents?", "say --label, --agent or --all"));
    }
    Ok(selector)
}

/// Gives the order, and follows it where that is asked for.
pub async fn begin(context: &Context<'_>, options: FanOutOrder) -> Result<(), CliError> {
    let params = params(options.params.as_deref(), options.param)?;
    let body = CreateFanOut {
        selector: selector(context, options.selector).await?,
        kind: options.kind,
        params,
        expires_in: options.pace.expires_in,
        concurrency: options.pace.concurrency,
        max_errors: options.pace.max_errors,
        idempotency_key: options.pace.idempotency_key,
    };
    let begun: FanOut = context.client.post("/api/v1/commands", &body).await?;
    if !options.wait {
        return context.printer.show(&begun, |view| fan_outs::fan_out(view, &begun));
    }
    let ended = follow(context, begun).await?;
    context.printer.show(&ended, |view| fan_outs::fan_out(view, &ended))?;
    verdict(ended)
}

/// Whether all commands of a fan-out that is over succeeded.
pub fn verdict(ended: FanOut) -> Result<(), CliError> {
    let succeeded = ended.agents.get("succeeded").copied().unwrap_or_default();
    if ended.state == "completed" && succeeded == ended.total {
        return Ok(());
    }
    let detail = format!("{succeeded} of {} succeeded", ended.total);
    Err(CliError::NotSucceeded { state: ended.state, detail: Some(detail) })
}

/// Looks until it has ended, and says on standard error how far it is.
pub async fn follow(context: &Context<'_>, mut fan_out: FanOut) -> Result<FanOut, CliError> {
    let mut told = String::new();
    while fan_out.state == "running" {
        let line = fan_outs::counts(&fan_out);
        if told != line && context.ask.present() {
            context.printer.note(&line);
        }
        told = line;
        tokio::time::sleep(LOOK_EVERY).await;
        fan_out = get(context, &fan_out.id).await?;
    }
    Ok(fan_out)
}

async fn get(context: &Context<'_>, id: &str) -> Result<FanOut, CliError> {
    context.client.get(&format!("/api/v1/fan-outs/{id}"), &[]).await
}

/// How far one is.
pub async fn progress(context: &Context<'_>, id: &FanOutId) -> Result<(), CliError> {
    let fan_out = get(context, id.as_str()).await?;
    context.printer.show(&fan_out, |view| fan_outs::fan_out(view, &fan_out))
}

/// All of them.
pub async fn list(context: &Context<'_>, limit: u32) -> Result<(), CliError> {
    let listed = context.client.list::<FanOut>("/api/v1/fan-outs", &[], limit).await?;
    context.printer.show(&listed.items, |view| fan_outs::fan_outs(view, &listed.items))?;
    context.note_more(&listed);
    Ok(())
}

/// Withdraws one.
pub async fn cancel(context: &Context<'_>, id: &FanOutId) -> Result<(), CliError> {
    let path = format!("/api/v1/fan-outs/{id}/cancel");
    context.client.tell(Method::POST, &path, Some(&serde_json::json!({}))).await?;
    progress(context, id).await
}
