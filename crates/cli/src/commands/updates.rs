//! `argosy updates …`

use argosy_wire::rest::updates::{FleetPackage, PendingPackage};

use super::{Context, find};
use crate::{
    args::{Updates, UpdatesList},
    error::CliError,
    output::updates,
};

/// Carries it out.
pub async fn run(context: &Context<'_>, command: Updates) -> Result<(), CliError> {
    match command {
        Updates::List(options) => list(context, options).await,
    }
}

/// Packages of the fleet; of one agent, or of one name, each with its agent.
async fn list(context: &Context<'_>, options: UpdatesList) -> Result<(), CliError> {
    let Context { client, printer, .. } = context;
    let mut query = Vec::new();
    if options.security {
        query.push(("security", "true".to_owned()));
    }
    if let Some(name) = &options.agent {
        query.push(("agent_id", find::agent(client, name).await?.agent_id));
    }
    let with_agents = options.agent.is_some() || options.package.is_some();
    query.extend(options.package.map(|name| ("package", name)));
    if with_agents {
        let path = "/api/v1/updates/agents";
        let listed = client.list::<PendingPackage>(path, &query, options.limit.limit).await?;
        printer.show(&listed.items, |view| updates::pending(view, &listed.items))?;
        context.note_more(&listed);
    } else {
        let path = "/api/v1/updates";
        let listed = client.list::<FleetPackage>(path, &query, options.limit.limit).await?;
        printer.show(&listed.items, |view| updates::packages(view, &listed.items))?;
        context.note_more(&listed);
    }
    Ok(())
}
