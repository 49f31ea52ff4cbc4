//! `argosy security …`

use argosy_wire::rest::security::SecurityEvent;

use super::{Context, admin::since_when, find};
use crate::{args::Security, error::CliError, output::lists};

/// Carries it out.
pub async fn run(context: &Context<'_>, command: Security) -> Result<(), CliError> {
    let Context { client, printer, .. } = context;
    match command {
        Security::Events { kind, agent, since, limit } => {
            let since = since.map(|text| since_when(&text, printer.view().now)).transpose()?;
            let mut query = Vec::new();
            query.extend(kind.map(|kind| ("kind", kind)));
            if let Some(name) = agent {
                query.push(("agent_id", find::agent(client, &name).await?.agent_id));
            }
            query.extend(since.map(|since| ("since", since.to_string())));
            let path = "/api/v1/security/events";
            let listed = client.list::<SecurityEvent>(path, &query, limit.limit).await?;
            printer.show(&listed.items, |view| lists::security(view, &listed.items))?;
            context.note_more(&listed);
            Ok(())
        }
    }
}
