//! `argosy security …`

use std::time::Duration;

use argosy_wire::rest::security::SecurityEvent;

use super::{Context, admin::since_when, find};
use crate::{
    args::Security,
    error::CliError,
    feed::{FeedEvent, Parser},
    output::lists,
};

/// A feed that ended is asked for again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Carries it out.
pub async fn run(context: &Context<'_>, command: Security) -> Result<(), CliError> {
    let Context { client, printer, .. } = context;
    match command {
        Security::Events { kind, agent, since, follow: goes_on, limit } => {
            let since = since.map(|text| since_when(&text, printer.view().now)).transpose()?;
            let agent = match agent {
                Some(name) => Some(find::agent(client, &name).await?.agent_id),
                None => None,
            };
            let mut query = Vec::new();
            query.extend(kind.clone().map(|kind| ("kind", kind)));
            query.extend(agent.clone().map(|agent| ("agent_id", agent)));
            query.extend(since.map(|since| ("since", since.to_string())));
            let path = "/api/v1/security/events";
            let listed = client.list::<SecurityEvent>(path, &query, limit.limit).await?;
            printer.show(&listed.items, |view| lists::security(view, &listed.items))?;
            context.note_more(&listed);
            if goes_on { follow(context, kind, agent).await } else { Ok(()) }
        }
    }
}

/// Shows what comes, until interrupted. A moment without the server is said once and waited out.
async fn follow(
    context: &Context<'_>,
    kind: Option<String>,
    agent: Option<String>,
) -> Result<(), CliError> {
    let fits = |event: &SecurityEvent| {
        kind.as_ref().is_none_or(|kind| *kind == event.kind)
            && agent.as_ref().is_none_or(|agent| Some(agent) == event.agent_id.as_ref())
    };
    let (mut after, mut silent) = (None::<String>, false);
    let query = [("kinds", "security".to_owned())];
    loop {
        let mut parser = Parser::default();
        let mut last = after.clone();
        let watched =
            context.client.watch("/api/v1/events/stream", &query, after.as_deref(), |bytes| {
                if std::mem::take(&mut silent) {
                    context.printer.note("note: the server answers again");
                }
                for FeedEvent { id, kind, data } in parser.take(bytes)? {
                    last = id.or(last.take());
                    if kind != "security" {
                        continue;
                    }
                    let event: SecurityEvent = serde_json::from_str(&data)
                        .map_err(|error| CliError::Local(error.to_string()))?;
                    if fits(&event) {
                        context.printer.event(&event, |view| lists::sighting(view, &event))?;
                    }
                }
                Ok(())
            });
        match watched.await {
            Ok(()) => {}
            Err(error @ CliError::Silent { .. }) => {
                if !std::mem::replace(&mut silent, true) {
                    context.printer.note(&format!("note: {error}; still trying"));
                }
            }
            Err(error) => return Err(error),
        }
        after = last;
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}
