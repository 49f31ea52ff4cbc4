//! Results as they come in: verified, kept, and acknowledged with a signature.
//!
//! *Invariant:* a result is acknowledged only once it is durable here; what its receipt does not
//! vouch for changes nothing.

use argosy_config::failpoint::failpoint;
use argosy_domain::{
    agent::Agent,
    audit::AuditAction,
    command::{Command, CommandResult, CommandState, End, Outcome},
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
    statement::{ReceiptStatement, ResultAckStatement, digest},
};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    keyring::Certified,
    security::Sighting,
    totals::Ended,
};

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
        let ended = match command {
            Some(command) => self.end_command(&mut tx, command, &result).await?,
            None => None,
        };
        failpoint("command_ended", "before_commit");
        tx.commit().await?;
        failpoint("command_ended", "after_commit");
        if let Some(ended) = ended {
            ended.count();
        }
        self.wake_fan_outs();
        Ok(Some(self.sign_result_ack(agent, result.command, result_sha256)))
    }

    fn sign_result_ack(
        &self,
        agent: &Agent,
        command_id: CommandId,
        result_sha256: Bytes32,
    ) -> Certified {
        let keyring = self.keyring();
        keyring.sign_command(&ResultAckStatement {
            server: keyring.thumbprint(),
            agent: agent.id.clone(),
            command_id,
            result_sha256,
        })
    }

    async fn end_command(
        &self,
        tx: &mut Tx,
        command: Command,
        result: &IncomingResult,
    ) -> AppResult<Option<Ended>> {
        let Some(outcome) = Outcome::parse(&result.outcome) else { return Ok(None) };
        let end = End { outcome, at: self.now(), detail: detail_of(&result.payload) };
        let before = command.state.as_str();
        // An end stands: a result that comes twice or late changes nothing.
        if let Ok(CommandState::Ended(end)) = command.state.clone().ended(end) {
            self.note_dry_run(tx, &command, end.outcome).await?;
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
            return Ok(Some(Ended::of(&command, &end)));
        }
        Ok(None)
    }
}

/// An agent without keys has only its word; its results are kept as unsigned. Else the receipt must
/// be the agent's own word about exactly this command and this result. A result
/// without its document is one that the agent was once told to forget: this server was restored
/// from a backup, and the receipt alone still says how the command ended. Answers the digest of
/// the result document.
fn check_receipt(
    agent: &Agent,
    command: &Command,
    result: &IncomingResult,
    verified: Option<ReceiptStatement>,
) -> Result<Bytes32, &'static str> {
    let may_end = |outcome: Outcome| match outcome {
        Outcome::Lost => false,
        Outcome::Cancelled => command.withdrawn.is_some(),
        Outcome::Succeeded
        | Outcome::Failed
        | Outcome::TimedOut
        | Outcome::Rejected
        | Outcome::Expired => true,
    };
    match (&agent.identity, &result.receipt) {
        (None, Some(_)) => return Err("the agent has no keys"),
        (Some(_), None) => return Err("the receipt is missing"),
        (None, None) if Outcome::parse(&result.outcome).is_some_and(may_end) => {
            return Ok(digest(Sha256::of(&result.payload)));
        }
        (None, None) => return Err("the outcome is none"),
        (Some(_), Some(_)) => {}
    }
    let statement = verified.ok_or("the signature does not verify")?;
    let known_outcome = Outcome::parse(&statement.outcome).is_some_and(may_end);
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
