//! `argosy-agent repin`: the conversation with the person who says that the server has a new key.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    process::ExitCode,
};

use super::say;
use crate::{
    cli::RepinArgs,
    config::AgentSettings,
    credentials::Credentials,
    deps::Deps,
    error::AgentError,
    repin::{Proposal, RepinError},
    run::{Home, server_of},
    transport::Link,
};

/// Shows the known and the new pin, asks unless the new one was given, and keeps it.
pub(super) async fn repin(
    settings: AgentSettings,
    deps: Deps,
    arguments: &RepinArgs,
) -> Result<ExitCode, AgentError> {
    let config = settings.check()?;
    // Whoever holds the directory is running: it would go on with what it knows.
    let home = Home::open(&config, &deps)?;
    let Credentials::Registered(registered) = Credentials::load(&home.dir)? else {
        return Err(RepinError::NotRegistered.into());
    };
    // Whoever answers: what it shows is for a person to judge.
    let link = Link::new(server_of(&config, &registered)?, config.ca_file.as_deref(), None)?;
    let keys = link.server_keys().await.map_err(RepinError::from)?;
    let proposal = Proposal::new(&registered, &keys, config.pin.as_ref())?;
    say(&format!(
        "server       {}\n  pin of old   {}\n  pin of new   {}",
        link.url(),
        proposal.known,
        proposal.shown.thumbprint()
    ));
    if proposal.proved {
        say("It is the identity that this agent knows, or one that it signed over to.");
    } else if config.pin.is_none() && !arguments.yes && !confirmed() {
        return Err(RepinError::Unconfirmed.into());
    }
    Credentials::Registered(proposal.accept(registered)).save(&home.dir)?;
    say(
        "Kept. Start the agent: argosy-agent run\nWhere the server says then that it does not know \
         this agent, ask for a fresh token and run `argosy-agent enroll --start-over`.",
    );
    Ok(ExitCode::SUCCESS)
}

/// Whether a person at a terminal says yes.
fn confirmed() -> bool {
    if !io::stdin().is_terminal() {
        return false;
    }
    // Where standard output is closed there is nobody to ask.
    let _ = write!(
        io::stdout(),
        "\nNothing vouches for the new pin. Compare it with `thumbprint` of `argosy status`, told to \
         you by\nsomebody who runs the server. Trust it? [y/N] "
    );
    let _ = io::stdout().flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
