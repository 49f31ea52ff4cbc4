//! Commands: given, listed, withdrawn, and their receipts.

use argosy_domain::{
    access::{Caller, Permission},
    agent::{Agent, AgentStatus, Assurance},
    audit::AuditAction,
    command::{Command, CommandKind, CommandParams, CommandState, End},
    digest::Sha256,
    id::{AgentId, CommandId, OrgId},
    limits::{
        COMMAND_LIFE_DEFAULT, COMMAND_LIFE_MAX, COMMAND_PARAMS_BYTES_MAX, COMMANDS_OPEN_MAX,
        NAME_CHARS_MAX,
    },
    time::{Timestamp, parse_span},
};
use argosy_store::{CommandFilter, Page, StoreError, Tx};
use argosy_wire::{
    bytes::Fixed, problem::Code, rest::commands::CreateCommand, sign::Signed,
    statement::ReceiptStatement,
};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    paging::PageQuery,
};

/// A command with the identity that its receipt verifies under.
#[derive(Debug, Clone)]
pub struct Receipted {
    /// The command, ended, with a receipt.
    pub command: Command,
    /// The identity key that the agent had when it signed.
    pub identity_key: [u8; 32],
}

/// What is asked for, checked.
struct Order {
    kind: CommandKind,
    params: Vec<u8>,
    expires_at: Timestamp,
    idempotency_key: Option<String>,
}

impl App {
    fn order(&self, request: &CreateCommand) -> AppResult<Order> {
        let kind =
            CommandKind::parse(&request.kind).map_err(|error| AppError::field("kind", error))?;
        let params = argosy_wire::sign::canonical_json(&request.params)
            .map_err(|error| AppError::field("params", error))?;
        if params.len() > COMMAND_PARAMS_BYTES_MAX {
            return Err(AppError::field("params", "must be at most 256 KiB"));
        }
        CommandParams::parse(kind, &params).map_err(|error| AppError::field("params", error))?;
        let life = match request.expires_in.as_deref() {
            None => COMMAND_LIFE_DEFAULT,
            Some(text) => parse_span(text).map_err(|error| AppError::field("expires_in", error))?,
        };
        if life.is_zero() || life > COMMAND_LIFE_MAX {
            return Err(AppError::field("expires_in", "must be between 1s and 30d"));
        }
        let idempotency_key = request.idempotency_key.clone();
        if idempotency_key.as_ref().is_some_and(|key| {
            key.is_empty() || key.len() > NAME_CHARS_MAX || key.chars().any(char::is_control)
        }) {
            return Err(AppError::field("idempotency_key", "must be 1 to 255 plain characters"));
        }
        Ok(Order { kind, params, expires_at: self.now().plus(life), idempotency_key })
    }

    /// Gives a command to one agent.
    pub async fn create_command(
        &self,
        caller: &Caller,
        origin: &Origin,
        agent: &AgentId,
        request: &CreateCommand,
    ) -> AppResult<Command> {
        let org = Self::own_org(caller, Permission::CommandsCreate)?;
        let order = self.order(request)?;
        let mut tx = self.store().write("commands.create").await?;
        let agent =
            tx.agents().get(org, agent).await?.ok_or_else(|| AppError::not_found("agent"))?;
        if let Some(key) = &order.idempotency_key
            && let Some(earlier) = tx.commands().find_by_idempotency_key(org, key).await?
        {
            tx.commit().await?;
            return same_order(earlier, &agent.id, &order);
        }
        check_recipient(&agent)?;
        if tx.commands().count_open(&agent.id).await? >= COMMANDS_OPEN_MAX {
            let detail = format!("the agent has {COMMANDS_OPEN_MAX} commands that have not ended");
            let error = AppError::because(Code::QueueFull, detail);
            return Err(AppError { retry_after_s: Some(30), ..error });
        }
        let command = self.store_command(&mut tx, caller, origin, &agent, order).await?;
        tx.commit().await?;
        self.wake_agent(&agent.id);
        Ok(command)
    }

    async fn store_command(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        origin: &Origin,
        agent: &Agent,
        order: Order,
    ) -> AppResult<Command> {
        let sequence = tx.commands().next_sequence(&agent.id).await?;
        let command = Command {
            id: self.ids().fresh(),
            org: agent.org.clone(),
            agent: agent.id.clone(),
            kind: order.kind,
            params_sha256: Sha256::of(&order.params),
            params: order.params,
            sequence: sequence.ok_or_else(|| AppError::not_found("agent"))?,
            created_by: caller.actor(),
            created_at: self.now(),
            expires_at: order.expires_at,
            idempotency_key: order.idempotency_key,
            state: CommandState::Queued,
            result: None,
        };
        match tx.commands().insert(&command).await {
            Ok(()) => {}
            Err(StoreError::Conflict { what: "command_idempotency_key" }) => {
                let detail = "the same idempotency key is being used just now: try again";
                return Err(AppError::because(Code::IdempotencyConflict, detail));
            }
            Err(error) => return Err(error.into()),
        }
        let event = Event {
            action: AuditAction::CommandCreated,
            org: &agent.org,
            target: Some(format!("command:{}", command.id)),
            detail: json!({
                "agent": agent.id, "kind": command.kind.as_str(),
                "sequence": command.sequence, "expires_at": command.expires_at,
            }),
        };
        self.record(tx, &caller.actor(), origin, event).await?;
        Ok(command)
    }

    /// The commands of the caller's organisation, newest first.
    pub async fn list_commands(
        &self,
        caller: &Caller,
        agent: Option<AgentId>,
        state: Option<String>,
        page: &PageQuery,
    ) -> AppResult<Page<Command>> {
        let org = Self::own_org(caller, Permission::CommandsRead)?;
        let filter = CommandFilter { agent, state };
        let mut reader = self.store().read("commands.list").await?;
        Ok(reader.commands().list(org, &filter, &page.request()?).await?)
    }

    /// One command.
    pub async fn show_command(&self, caller: &Caller, id: &CommandId) -> AppResult<Command> {
        let org = Self::own_org(caller, Permission::CommandsRead)?;
        let mut reader = self.store().read("commands.show").await?;
        reader.commands().get(org, id).await?.ok_or_else(|| AppError::not_found("command"))
    }

    /// Withdraws a command that was not sent yet.
    pub async fn cancel_command(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &CommandId,
    ) -> AppResult<Command> {
        let org = Self::own_org(caller, Permission::CommandsCancel)?;
        let mut tx = self.store().write("commands.cancel").await?;
        let mut command = find(&mut tx, org, id).await?;
        let before = command.state.as_str();
        let detail = format!("withdrawn by {}", caller.actor());
        command.state = command.state.cancel(self.now(), detail).map_err(AppError::wrong_state)?;
        if !tx.commands().save_state(id, &command.state, before).await? {
            return Err(AppError::wrong_state("the command was sent just now"));
        }
        let event = Event {
            action: AuditAction::CommandCancelled,
            org,
            target: Some(format!("command:{id}")),
            detail: json!({ "agent": command.agent }),
        };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        tx.commit().await?;
        Ok(command)
    }

    /// The signed receipt of a command, with what is needed to verify it offline.
    pub async fn show_receipt(&self, caller: &Caller, id: &CommandId) -> AppResult<Receipted> {
        let org = Self::own_org(caller, Permission::CommandsRead)?;
        let mut reader = self.store().read("commands.receipt").await?;
        let none = || AppError::not_found("receipt of this command yet");
        let command = reader.commands().get(org, id).await?;
        let command = command.ok_or_else(|| AppError::not_found("command"))?;
        if command.result.as_ref().is_none_or(|result| result.receipt.is_none()) {
            return Err(none());
        }
        let agent = reader.agents().get(org, &command.agent).await?;
        let agent = agent.ok_or_else(none)?;
        let present = agent.identity.as_ref().ok_or_else(none)?.identity_key;
        drop(reader);
        let signed = signed_receipt(&command).ok_or_else(none)?;
        let found = self.signed_by_agent::<ReceiptStatement>(&agent, &signed).await?;
        let identity_key = found.map_or(present, |(key, _)| key.0);
        Ok(Receipted { command, identity_key })
    }

    /// Ends commands whose time was over before they were ever sent. Returns how many.
    pub async fn expire_commands(&self) -> AppResult<usize> {
        let mut tx = self.store().write("commands.expire").await?;
        let expired = tx.commands().expire_queued(self.now()).await?;
        tx.commit().await?;
        Ok(expired.len())
    }
}

pub(crate) async fn find(tx: &mut Tx, org: &OrgId, id: &CommandId) -> AppResult<Command> {
    tx.commands().get(org, id).await?.ok_or_else(|| AppError::not_found("command"))
}

fn same_order(earlier: Command, agent: &AgentId, order: &Order) -> AppResult<Command> {
    if earlier.agent == *agent && earlier.kind == order.kind && earlier.params == order.params {
        Ok(earlier)
    } else {
        Err(AppError::new(Code::IdempotencyConflict))
    }
}

fn check_recipient(agent: &Agent) -> AppResult<()> {
    if agent.state.status() != AgentStatus::Approved {
        let status = agent.state.status().as_str();
        return Err(AppError::wrong_state(format!("the agent is {status}, not approved")));
    }
    match agent.assurance() {
        Assurance::ProofOfPossession => Ok(()),
        Assurance::ApiKey => {
            let why = "the agent has no keys and so no stream that commands could reach it by";
            Err(AppError::wrong_state(why))
        }
    }
}

/// The receipt as the agent signed it.
fn signed_receipt(command: &Command) -> Option<Signed> {
    let result = command.result.as_ref()?;
    let signature = Fixed::from_slice(result.receipt_signature.as_ref()?).ok()?;
    Some(Signed { payload: result.receipt.clone()?, signature })
}

/// How and when a command ended, if it has.
pub fn end_of(command: &Command) -> Option<&End> {
    match &command.state {
        CommandState::Ended(end) => Some(end),
        CommandState::Queued
        | CommandState::Sent { .. }
        | CommandState::Received { .. }
        | CommandState::Running { .. } => None,
    }
}
