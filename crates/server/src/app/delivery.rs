//! Delivery: signed commands out, signed results in.
//!
//! A stream's delivery re-reads what is due each time it is woken; nothing depends on a wake-up
//! that was lost. *Invariant:* commands of one agent are sent in the order of their sequence.

use std::collections::HashSet;

use argosy_domain::{
    agent::{Agent, AgentStatus},
    audit::AuditAction,
    command::{Command, CommandResult, CommandSeq, CommandState, End, Outcome},
    digest::Sha256,
    id::CommandId,
    limits::{ERROR_TEXT_CHARS_MAX, PAYLOAD_BYTES_MAX},
    security::SecurityKind,
    text::clip,
};
use argosy_store::Tx;
use argosy_wire::{
    bytes::Bytes32,
    problem::Code,
    sign::Signed,
    statement::{CommandStatement, ReceiptStatement, ResultAckStatement, digest},
};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    keyring::Certified,
    security::Sighting,
};

/// Commands of one agent that are on their way at once: sent, and not acknowledged.
const WINDOW: u32 = 32;

/// A command as it goes out.
#[derive(Debug, Clone)]
pub struct OutgoingCommand {
    /// The signed statement, and the certificate of its key.
    pub signed: Certified,
    /// The parameters whose digest it holds.
    pub params: Vec<u8>,
}

/// A result as it came in.
#[derive(Debug, Clone)]
pub struct IncomingResult {
    /// The command.
    pub command: CommandId,
    /// How it ended, in the agent's word.
    pub outcome: String,
    /// The result document.
    pub payload: Vec<u8>,
    /// The signed receipt.
    pub receipt: Option<Signed>,
}

impl App {
    /// What is to be sent now: everything queued or sent and not acknowledged, but for what is on
    /// its way on this stream already.
    pub(crate) async fn due_commands(
        &self,
        agent: &Agent,
        on_the_way: &mut HashSet<CommandId>,
    ) -> AppResult<Vec<OutgoingCommand>> {
        let standing = self.standing(&agent.id).await?;
        let approved = |standing: &Agent| {
            standing.state.status() == AgentStatus::Approved
                && standing.epoch == agent.epoch
                && !self.is_outdated(standing.version.as_deref())
        };
        if !standing.is_some_and(|standing| approved(&standing)) {
            return Ok(Vec::new());
        }
        let mut reader = self.store().read("delivery.due").await?;
        let due = reader.commands().due_for(&agent.id, WINDOW).await?;
        drop(reader);
        let due: Vec<Command> =
            due.into_iter().filter(|command| !on_the_way.contains(&command.id)).collect();
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.now();
        let mut tx = self.store().write("delivery.send").await?;
        let mut outgoing = Vec::new();
        for command in due {
            let before = command.state.as_str();
            let overdue = before == "queued" && now >= command.expires_at;
            let state = command.state.clone();
            let next = if overdue { state.expire(now) } else { state.sent(now) };
            let next = next.map_err(AppError::wrong_state)?;
            if tx.commands().save_state(&command.id, &next, before).await? && !overdue {
                outgoing.push(command);
            }
        }
        tx.commit().await?;
        Ok(outgoing
            .into_iter()
            .map(|command| {
                on_the_way.insert(command.id.clone());
                self.sign_order(command)
            })
            .collect())
    }

    fn sign_order(&self, command: Command) -> OutgoingCommand {
        let keyring = self.keyring();
        let signed = keyring.sign_command(&CommandStatement {
            server: keyring.thumbprint(),
            org: command.org,
            agent: command.agent,
            command_id: command.id,
            kind: command.kind.as_str().to_owned(),
            params_sha256: digest(command.params_sha256),
            sequence: command.sequence,
            not_before: command.created_at,
            expires_at: command.expires_at,
            server_time: self.now(),
        });
        OutgoingCommand { signed, params: command.params }
    }

    /// The agent has a command durably, or started it.
    pub(crate) async fn advance_command(
        &self,
        agent: &Agent,
        id: &CommandId,
        started: bool,
    ) -> AppResult<()> {
        let now = self.now();
        let mut tx = self.store().write("delivery.advance").await?;
        let command = own_command(&mut tx, agent, id).await?;
        let before = command.state.as_str();
        let next = if started { command.state.running(now) } else { command.state.received(now) };
        // An acknowledgment that comes after the end changes nothing.
        if let Ok(next) = next {
            tx.commands().save_state(id, &next, before).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The agent's journal is ahead of this server: the counter is raised and the command is
    /// numbered anew under its own id.
    pub(crate) async fn renumber_command(&self, agent: &Agent, id: &CommandId) -> AppResult<()> {
        let mut tx = self.store().write("delivery.renumber").await?;
        let command = own_command(&mut tx, agent, id).await?;
        if matches!(command.state, CommandState::Queued | CommandState::Sent { .. })
            && let Some(sequence) = tx.commands().next_sequence(&agent.id).await?
        {
            tx.commands().resequence(id, sequence).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Makes room above an agent's high-water mark, for a server that was restored from a backup.
    pub(crate) async fn catch_up(&self, agent: &Agent, high_water: CommandSeq) -> AppResult<()> {
        let mut tx = self.store().write("delivery.catch_up").await?;
        if tx.commands().raise_sequence(&agent.id, high_water).await? {
            let open = tx.commands().open_for(&agent.id, u32::MAX).await?;
            for command in open {
                let unsent =
                    matches!(command.state, CommandState::Queued | CommandState::Sent { .. });
                if unsent
                    && command.sequence <= high_water
                    && let Some(next) = tx.commands().next_sequence(&agent.id).await?
                {
                    tx.commands().resequence(&command.id, next).await?;
                }
            }
        }
        Ok(tx.commit().await?)
    }

    /// Takes a result: verifies its receipt, keeps both, and acknowledges with a signature once
    /// they are durable. A repeated result is acknowledged again.
    pub(crate) async fn take_result(
        &self,
        origin: &Origin,
        agent: &Agent,
        result: IncomingResult,
    ) -> AppResult<Option<Certified>> {
        if result.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(AppError::because(Code::TooLarge, "a result is at most 1 MiB"));
        }
        let receipt = match &result.receipt {
            Some(receipt) => self.signed_by_agent(agent, receipt).await?,
            None => None,
        };
        let mut tx = self.store().write("delivery.result").await?;
        let command = tx.commands().get(&agent.org, &result.command).await?;
        let verdict = match &command {
            Some(command) if command.agent != agent.id => {
                Err((SecurityKind::CrossAgent, "the command is another agent's"))
            }
            Some(command) => check_receipt(agent, command, &result, receipt.map(|(_, it)| it))
                .map_err(|reason| (SecurityKind::ReceiptForged, reason)),
            // Nothing is kept of it any more: the agent may forget it too.
            None => Ok(digest(Sha256::of(&result.payload))),
        };
        let result_sha256 = match verdict {
            Ok(result_sha256) => result_sha256,
            Err((kind, reason)) => {
                let detail = json!({ "reason": reason, "command": result.command });
                let seen = Sighting::of_agent(kind, (&agent.org, &agent.id), origin, detail);
                self.record_sighting(&mut tx, seen).await?;
                let event = Event {
                    action: AuditAction::ReceiptRefused,
                    org: &agent.org,
                    target: Some(format!("command:{}", result.command)),
                    detail: json!({ "reason": reason }),
                };
                self.record(&mut tx, &format!("agent:{}", agent.id), origin, event).await?;
                tx.commit().await?;
                return Ok(None);
            }
        };
        if let Some(command) = command {
            self.end_command(&mut tx, command, &result).await?;
        }
        tx.commit().await?;
        let keyring = self.keyring();
        Ok(Some(keyring.sign_command(&ResultAckStatement {
            server: keyring.thumbprint(),
            agent: agent.id.clone(),
            command_id: result.command,
            result_sha256,
        })))
    }

    async fn end_command(
        &self,
        tx: &mut Tx,
        command: Command,
        result: &IncomingResult,
    ) -> AppResult<()> {
        let Some(outcome) = Outcome::parse(&result.outcome) else { return Ok(()) };
        let end = End { outcome, at: self.now(), detail: detail_of(&result.payload) };
        let before = command.state.as_str();
        // An end stands: a result that comes twice or late changes nothing.
        if let Ok(CommandState::Ended(end)) = command.state.clone().ended(end) {
            let kept = CommandResult {
                payload: result.payload.clone(),
                receipt: result.receipt.as_ref().map(|receipt| receipt.payload.clone()),
                receipt_signature: result
                    .receipt
                    .as_ref()
                    .map(|receipt| receipt.signature.0.to_vec()),
            };
            if !tx.commands().save_end(&command.id, &end, &kept, before).await? {
                // Another stream of the agent moved the command meanwhile: nothing is acknowledged
                // that is not kept, and the agent sends the result again.
                return Err(AppError::new(Code::Unavailable));
            }
        }
        Ok(())
    }
}

async fn own_command(tx: &mut Tx, agent: &Agent, id: &CommandId) -> AppResult<Command> {
    let command = tx.commands().get(&agent.org, id).await?;
    command
        .filter(|command| command.agent == agent.id)
        .ok_or_else(|| AppError::not_found("command"))
}

/// The receipt must be the agent's own word about exactly this command and this result. A result
/// without its document is one that the agent was once told to forget: this server was restored
/// from a backup, and the receipt alone still says how the command ended. Answers the digest of
/// the result document.
fn check_receipt(
    agent: &Agent,
    command: &Command,
    result: &IncomingResult,
    verified: Option<ReceiptStatement>,
) -> Result<Bytes32, &'static str> {
    if agent.identity.is_none() {
        return Err("the agent has no keys");
    }
    if result.receipt.is_none() {
        return Err("the receipt is missing");
    }
    let statement = verified.ok_or("the signature does not verify")?;
    let known_outcome = Outcome::parse(&statement.outcome)
        .is_some_and(|outcome| ![Outcome::Lost, Outcome::Cancelled].contains(&outcome));
    let forgotten = result.payload.is_empty();
    if statement.agent != agent.id || statement.command_id != command.id {
        Err("the receipt is about another command")
    } else if statement.params_sha256 != digest(command.params_sha256) {
        Err("the receipt is about other parameters")
    } else if !forgotten && statement.result_sha256 != digest(Sha256::of(&result.payload)) {
        Err("the receipt is about another result")
    } else if statement.outcome != result.outcome || !known_outcome {
        Err("the outcome is not the receipt's")
    } else {
        Ok(statement.result_sha256)
    }
}

/// The sentence that a result document gives for what went wrong.
fn detail_of(payload: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(payload).ok()?;
    let error = document.get("error")?.as_str()?;
    Some(clip(error, ERROR_TEXT_CHARS_MAX))
}
