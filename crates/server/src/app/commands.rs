//! Commands: given, listed, withdrawn, and their receipts.

use argosy_config::failpoint::failpoint;
use argosy_domain::{
    access::{Caller, Permission},
    agent::{Agent, AgentStatus, Assurance},
    audit::AuditAction,
    command::{Command, CommandKind, CommandParams, CommandState, End, Withdrawal},
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
    configuration::document_of,
    error::{AppError, AppResult},
    paging::PageQuery,
};

/// States that a list names at most: more than there are.
const STATES_NAMED_MAX: usize = 20;

/// The parameters of a kind that has none.
const NOTHING: &[u8] = b"{}";

/// A command with the identity that its receipt verifies under.
#[derive(Debug, Clone)]
pub struct Receipted {
    /// The command, ended, with a receipt.
    pub command: Command,
    /// The identity key that the agent had when it signed.
    pub identity_key: [u8; 32],
}

/// Which commands a list shows.
#[derive(Debug, Clone, Default)]
pub struct CommandQuery {
    /// Of this agent.
    pub agent: Option<AgentId>,
    /// A state or outcome by its public name, or several with commas in between.
    pub state: Option<String>,
    /// Given then or later.
    pub since: Option<Timestamp>,
}

/// What is asked for, checked.
pub(super) struct Order {
    pub(super) kind: CommandKind,
    pub(super) params: Vec<u8>,
    pub(super) expires_at: Timestamp,
    pub(super) idempotency_key: Option<String>,
}

impl App {
    pub(super) fn order(
        &self,
        (kind, params): (&str, &serde_json::Value),
        expires_in: Option<&str>,
        idempotency_key: Option<String>,
    ) -> AppResult<Order> {
        let kind = CommandKind::parse(kind).map_err(|error| AppError::field("kind", error))?;
        let params = argosy_wire::sign::canonical_json(params)
            .map_err(|error| AppError::field("params", error))?;
        if params.len() > COMMAND_PARAMS_BYTES_MAX {
            return Err(AppError::field("params", "must be at most 256 KiB"));
        }
        match kind {
            // Filled in for each agent.
            CommandKind::ConfigApply if params == NOTHING => {}
            CommandKind::ConfigApply => {
                return Err(AppError::field("params", "must be {}: the server fills them in"));
            }
            // Checked by whoever fills them in for each agent.
            CommandKind::UpdatesInstall => {}
            CommandKind::SubsystemRun
            | CommandKind::DiscoverySync
            | CommandKind::AgentRestart
            | CommandKind::KeyRotate => {
                CommandParams::parse(kind, &params)
                    .map_err(|error| AppError::field("params", error))?;
            }
        }
        let life = match expires_in {
            None => COMMAND_LIFE_DEFAULT,
            Some(text) => parse_span(text).map_err(|error| AppError::field("expires_in", error))?,
        };
        if life.is_zero() || life > COMMAND_LIFE_MAX {
            return Err(AppError::field("expires_in", "must be between 1s and 30d"));
        }
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
        check_given_kind(&request.kind)?;
        let order = self.order(
            (&request.kind, &request.params),
            request.expires_in.as_deref(),
            request.idempotency_key.clone(),
        )?;
        let mut tx = self.store().write("commands.create").await?;
        let agent =
            tx.agents().get(org, agent).await?.ok_or_else(|| AppError::not_found("agent"))?;
        if let Some(key) = &order.idempotency_key
            && let Some(earlier) = tx.commands().find_by_idempotency_key(org, key).await?
        {
            tx.commit().await?;
            return same_order(earlier, &agent.id, &order);
        }
        check_recipient(&agent, order.kind)?;
        let command = self.store_command(&mut tx, caller, origin, &agent, order).await?;
        failpoint("command_created", "before_commit");
        tx.commit().await?;
        failpoint("command_created", "after_commit");
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
        let command = self.queue_command(tx, caller.actor(), agent, order).await?;
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

    /// Puts a command at the end of the agent's queue, where there is room.
    pub(super) async fn queue_command(
        &self,
        tx: &mut Tx,
        by: String,
        agent: &Agent,
        order: Order,
    ) -> AppResult<Command> {
        let sequence = tx.commands().next_sequence(&agent.id).await?;
        let sequence = sequence.ok_or_else(|| AppError::not_found("agent"))?;
        // Whoever else gives this agent a command waits for the sequence, so nobody counts beside another.
        check_room(tx.commands().count_open(&agent.id).await?)?;
        let params = match order.kind {
            CommandKind::ConfigApply => configuration_of(tx, agent).await?,
            CommandKind::SubsystemRun
            | CommandKind::DiscoverySync
            | CommandKind::AgentRestart
            | CommandKind::KeyRotate
            | CommandKind::UpdatesInstall => order.params,
        };
        let command = Command {
            id: self.ids().fresh(),
            org: agent.org.clone(),
            agent: agent.id.clone(),
            kind: order.kind,
            params_sha256: Sha256::of(&params),
            params,
            sequence,
            created_by: by,
            created_at: self.now(),
            expires_at: order.expires_at,
            idempotency_key: order.idempotency_key,
            state: CommandState::Queued,
            withdrawn: None,
            result: None,
        };
        match tx.commands().insert(&command).await {
            Ok(()) => {}
            Err(StoreError::Conflict { what: "command_idempotency_key" }) => {
                return Err(key_in_use());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(command)
    }

    /// The commands of the caller's organisation, newest first.
    pub async fn list_commands(
        &self,
        caller: &Caller,
        query: CommandQuery,
        page: &PageQuery,
    ) -> AppResult<Page<Command>> {
        let org = Self::own_org(caller, Permission::CommandsRead)?;
        let CommandQuery { agent, state, since } = query;
        let states = state.as_deref().unwrap_or_default().split(',').map(str::trim);
        let states: Vec<String> = states.filter(|s| !s.is_empty()).map(str::to_owned).collect();
        if states.len() > STATES_NAMED_MAX {
            return Err(AppError::field("state", "names too many states"));
        }
        let filter = CommandFilter { agent, states, since, fan_out: None };
        let mut reader = self.store().read("commands.list").await?;
        Ok(reader.commands().list(org, &filter, &page.request()?).await?)
    }

    /// One command.
    pub async fn show_command(&self, caller: &Caller, id: &CommandId) -> AppResult<Command> {
        let org = Self::own_org(caller, Permission::CommandsRead)?;
        let mut reader = self.store().read("commands.show").await?;
        reader.commands().get(org, id).await?.ok_or_else(|| AppError::not_found("command"))
    }

    /// Withdraws a command. One that was not sent ends at once. Of one that was sent the agent is
    /// told, and says what came of it; to ask again changes nothing.
    pub async fn cancel_command(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &CommandId,
    ) -> AppResult<Command> {
        let org = Self::own_org(caller, Permission::CommandsCancel)?;
        let mut tx = self.store().write("commands.cancel").await?;
        let mut command = find(&mut tx, org, id).await?;
        if command.withdrawn.is_some() && !command.state.is_over() {
            tx.commit().await?;
            return Ok(command);
        }
        self.withdraw(&mut tx, caller.actor(), &mut command).await?;
        let event = Event {
            action: AuditAction::CommandCancelled,
            org,
            target: Some(format!("command:{id}")),
            detail: json!({ "agent": command.agent, "state": command.state.as_str() }),
        };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        tx.commit().await?;
        self.wake_agent(&command.agent);
        Ok(command)
    }

    async fn withdraw(&self, tx: &mut Tx, by: String, command: &mut Command) -> AppResult<()> {
        let now = self.now();
        let moved = || AppError::wrong_state("the command went on just now: look at it again");
        match command.state {
            CommandState::Queued | CommandState::Ended(_) => {
                let before = command.state.as_str();
                let next = command.state.clone().cancel(now, format!("withdrawn by {by}"));
                command.state = next.map_err(AppError::wrong_state)?;
                if !tx.commands().save_state(&command.id, &command.state, before).await? {
                    return Err(moved());
                }
            }
            CommandState::Sent { .. }
            | CommandState::Received { .. }
            | CommandState::Running { .. } => {
                let withdrawal = Withdrawal { by, at: now };
                if !tx.commands().withdraw(&command.id, &withdrawal).await? {
                    return Err(moved());
                }
                command.withdrawn = Some(withdrawal);
            }
        }
        Ok(())
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

/// The parameters of `config.apply`, as the agent is to be configured now.
async fn configuration_of(tx: &mut Tx, agent: &Agent) -> AppResult<Vec<u8>> {
    let generation = tx.configurations().get(&agent.id).await?.wanted;
    let subsystems = tx.subsystems().list(&agent.org, &agent.id).await?;
    let document: serde_json::Value =
        serde_json::from_slice(&document_of(subsystems)).map_err(AppError::internal)?;
    let params = json!({ "generation": generation, "document": document });
    argosy_wire::sign::canonical_json(&params).map_err(AppError::internal)
}

/// Refuses kinds that are not given as they are: packages are installed where they are approved.
pub(super) fn check_given_kind(kind: &str) -> AppResult<()> {
    if CommandKind::parse(kind) == Ok(CommandKind::UpdatesInstall) {
        let why = "is given by POST /api/v1/updates/install, which looks at what is approved";
        return Err(AppError::field("kind", why));
    }
    Ok(())
}

fn same_order(earlier: Command, agent: &AgentId, order: &Order) -> AppResult<Command> {
    let same_params = match order.kind {
        CommandKind::ConfigApply => true,
        CommandKind::SubsystemRun
        | CommandKind::DiscoverySync
        | CommandKind::AgentRestart
        | CommandKind::KeyRotate
        | CommandKind::UpdatesInstall => earlier.params == order.params,
    };
    if earlier.agent == *agent && earlier.kind == order.kind && same_params {
        Ok(earlier)
    } else {
        Err(AppError::new(Code::IdempotencyConflict))
    }
}

/// Somebody else's request with the same key is not over.
pub(super) fn key_in_use() -> AppError {
    let detail = "the same idempotency key is being used just now: try again";
    AppError::because(Code::IdempotencyConflict, detail)
}

/// Whether an agent that has so many commands that have not ended can have one more.
pub(super) fn check_room(open: u32) -> AppResult<()> {
    if open < COMMANDS_OPEN_MAX {
        return Ok(());
    }
    let detail = format!("the agent has {COMMANDS_OPEN_MAX} commands that have not ended");
    let full = AppError::because(Code::QueueFull, detail);
    Err(AppError { retry_after_s: Some(30), ..full })
}

/// Whether the agent can have a command of this kind. One without keys cannot sign what came of it,
/// and nothing that changes a host rests on its bare word.
pub(super) fn check_recipient(agent: &Agent, kind: CommandKind) -> AppResult<()> {
    if agent.state.status() != AgentStatus::Approved {
        let status = agent.state.status().as_str();
        return Err(AppError::wrong_state(format!("the agent is {status}, not approved")));
    }
    match (agent.assurance(), kind) {
        (Assurance::ProofOfPossession, _)
        | (Assurance::ApiKey, CommandKind::SubsystemRun | CommandKind::DiscoverySync) => Ok(()),
        (
            Assurance::ApiKey,
            CommandKind::ConfigApply
            | CommandKind::AgentRestart
            | CommandKind::KeyRotate
            | CommandKind::UpdatesInstall,
        ) => Err(AppError::wrong_state(
            "the agent has no keys: it can be given subsystem.run and discovery.sync only",
        )),
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
