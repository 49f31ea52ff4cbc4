//! What each command does: ask the server, show the answer.

pub mod admin;
pub mod agent;
pub mod audit;
pub mod discovery;
pub mod fan_out;
pub mod find;
pub mod instruction;
pub mod login;
pub mod membership;
pub mod people;
pub mod receipt;
pub mod security;
pub mod subsystems;
pub mod telemetry;
pub mod updates;
pub mod watch;

use argosy_domain::subsystem::Subsystem;
use argosy_wire::rest::{
    agents::Agent,
    inventory::{Inventory, InventoryReport},
    system::FleetStatus,
};

use crate::{
    args::Online,
    client::{Client, Listed},
    commands::login::Desk,
    error::CliError,
    output::{Printer, fleet, inventory},
    target::Target,
    terminal::Ask,
};

/// What every command works with.
pub struct Context<'a> {
    /// The server.
    pub client: Client,
    /// Its address, and what it is shown.
    pub target: &'a Target,
    /// Where logins are kept.
    pub desk: Desk<'a>,
    /// Where answers go.
    pub printer: Printer,
    /// Who can be asked.
    pub ask: &'a dyn Ask,
}

impl Context<'_> {
    /// Says that a list is not complete.
    pub fn note_more<T>(&self, listed: &Listed<T>) {
        if listed.more {
            let shown = listed.items.len();
            self.printer.note(&format!("note: {shown} shown, there are more: raise --limit"));
        }
    }
}

/// Carries out what a server is asked to do.
pub async fn run(context: &Context<'_>, command: Online) -> Result<(), CliError> {
    match command {
        Online::Status => status(context).await,
        Online::Agent(command) => agent::run(context, command).await,
        Online::Inventory { agent, subsystem } => {
            inventory_of(context, agent.as_deref(), subsystem.as_deref()).await
        }
        Online::Telemetry(options) => telemetry::telemetry(context, options).await,
        Online::Command(command) => instruction::run(context, command).await,
        Online::Updates(command) => updates::run(context, command).await,
        Online::Token(command) => admin::token(context, command).await,
        Online::Resources(command) => discovery::resources(context, command).await,
        Online::Sync(command) => discovery::sync(context, command).await,
        Online::Accounts(command) => admin::accounts(context, command).await,
        Online::Key(command) => admin::key(context, command).await,
        Online::Audit(command) => admin::audit(context, command).await,
        Online::Security(command) => security::run(context, command).await,
        Online::User(command) => people::user(context, command).await,
        Online::Organisation(command) => people::organisation(context, command).await,
        Online::Settings(command) => people::settings(context, command).await,
    }
}

/// The agent is known, so what is not found is its report.
fn not_reported(error: CliError, agent: &Agent, subsystem: Subsystem) -> CliError {
    if !error.is_not_found() {
        return error;
    }
    let subsystem = subsystem.as_str();
    CliError::Missing {
        message: format!("{} has not reported {subsystem} yet", agent.name),
        hint: inventory::how_to_get(agent, subsystem),
    }
}

async fn status(context: &Context<'_>) -> Result<(), CliError> {
    let status: FleetStatus = context.client.get("/api/v1/status", &[]).await?;
    context.printer.show(&status, |view| fleet::status(view, &context.client.server(), &status))
}

async fn inventory_of(
    context: &Context<'_>,
    agent: Option<&str>,
    subsystem: Option<&str>,
) -> Result<(), CliError> {
    let agent = match agent {
        Some(name) => find::agent(&context.client, name).await?,
        None => find::only_agent(&context.client).await?,
    };
    let path = format!("/api/v1/agents/{}/inventory", agent.agent_id);
    match subsystem {
        None => {
            let all: Inventory = context.client.get(&path, &[]).await?;
            context.printer.show(&all, |view| inventory::inventory(view, &agent, &all))
        }
        Some(name) => {
            let subsystem = Subsystem::parse(name)
                .map_err(|error| CliError::usage(error.to_string(), "name one of them"))?;
            let path = format!("{path}/{}", subsystem.as_str());
            let one = context.client.get::<InventoryReport>(&path, &[]).await;
            let one = one.map_err(|error| not_reported(error, &agent, subsystem))?;
            context.printer.show(&one, |view| inventory::report(view, &agent.name, &one))
        }
    }
}
