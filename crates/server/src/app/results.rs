//! Results as they come in: verified, kept, and acknowledged with a signature.
//!
//! *Invariant:* a result is acknowledged only once it is durable here; what its receipt does not
//! vouch for changes nothing.

mod together;

use std::sync::Arc;

use argosy_config::failpoint::failpoint;
use argosy_domain::{
    agent::Agent,
    audit::AuditAction,
    command::{Command, CommandResult, CommandState, End, Outcome},
    digest::Sha256,
    id::{AgentId, CommandId, OrgId},
    limits::{ERROR_TEXT_CHARS_MAX, PAYLOAD_BYTES_MAX},
    security::SecurityKind,
    text::clip,
    time::Timestamp,
};
use argosy_store::Tx;
use argosy_wire::{
    bytes::Bytes32,
    problem::Code,
    sign::Signed,
    statement::{ReceiptStatement, ResultAckStatement, digest},
};
use serde_json::json;

pub(super) use self::together::Results;

use self::together::Kept;
use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    keyring::Certified,
    security::Sighting,
    totals::Ended,
};

/// Results whose documents are larger are kept alone.
const TOGETHER_BYTES_MAX: usize = 16 * 1024;

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
            Some(receipt) => self.signed_by_agent(agent, receipt).await?.map(|(_, it)| it),
            None => None,
        };
        let delivered = Arc::new(Delivered {
            org: agent.org.clone(),
            agent: agent.id.clone(),
            has_keys: agent.identity.is_some(),
            receipt,
            result,
            at: self.now(),
        });
        let kept = match delivered.result.payload.len() <= TOGETHER_BYTES_MAX {
            true => self.groups().results.ask(Arc::clone(&delivered)).await?,
            false => None,
        };
        let (sha256, ended) = match kept {
            Some(Kept { sha256, ended }) => (Some(sha256), Some(ended)),
            None => self.take_alone(origin, &delivered).await?,
        };
        let Some(sha256) = sha256 else { return Ok(None) };
        if let Some(ended) = ended {
            ended.count();
        }
        self.wake_fan_outs();
        Ok(Some(self.sign_result_ack(&delivered, sha256)))
    }

    /// Whatever may be out of the ordinary about a result. Answers the digest of its document, none where
    /// it is refused, and what it ended.
    async fn take_alone(
        &self,
        origin: &Origin,
        delivered: &Delivered,
    ) -> AppResult<(Option<Bytes32>, Option<Ended>)> {
        let Delivered { org, agent, result, .. } = delivered;
        let mut tx = self.store().write("delivery.result").await?;
        let command = tx.commands().get(org, &result.command).await?;
        let verdict = match &command {
            Some(command) if command.agent != *agent => {
                Err((SecurityKind::CrossAgent, "the command is another agent's"))
            }
            Some(command) => {
                delivered.check(command).map_err(|reason| (SecurityKind::ReceiptForged, reason))
            }
            // Nothing is kept of it any more: the agent may forget it too.
            None => Ok(digest(Sha256::of(&result.payload))),
        };
        let result_sha256 = match verdict {
            Ok(result_sha256) => result_sha256,
            Err((kind, reason)) => {
                let detail = json!({ "reason": reason, "command": result.command });
                let seen = Sighting::of_agent(kind, (org, agent), origin, detail);
                self.record_sighting(&mut tx, seen).await?;
                let event = Event {
                    action: AuditAction::ReceiptRefused,
                    org,
                    target: Some(format!("command:{}", result.command)),
                    detail: json!({ "reason": reason }),
                };
                self.record(&mut tx, &format!("agent:{agent}"), origin, event).await?;
                tx.commit().await?;
                return Ok((None, None));
            }
        };
        let ended = match command {
            Some(command) => self.end_command(&mut tx, command, delivered).await?,
            None => None,
        };
        failpoint("command_ended", "before_commit");
        tx.commit().await?;
        failpoint("command_ended", "after_commit");
        Ok((Some(result_sha256), ended))
    }

    fn sign_result_ack(&self, delivered: &Delivered, result_sha256: Bytes32) -> Certified {
        let keyring = self.keyring();
        keyring.sign_command(&ResultAckStatement {
            server: keyring.thumbprint(),
            agent: delivered.agent.clone(),
            command_id: delivered.result.command.clone(),
            result_sha256,
        })
    }

    async fn end_command(
        &self,
        tx: &mut Tx,
        command: Command,
        delivered: &Delivered,
    ) -> AppResult<Option<Ended>> {
        let Some(end) = delivered.end() else { return Ok(None) };
        let before = command.state.as_str();
        // An end stands: a result that comes twice or late changes nothing.
        if let Ok(CommandState::Ended(end)) = command.state.clone().ended(end) {
            self.note_dry_run(tx, &command, end.outcome).await?;
            let ends = [(&command.id, &end, &delivered.kept(), before)];
            if tx.commands().save_ends(&ends).await?.is_empty() {
                // Another stream of the agent moved the command meanwhile: nothing is acknowledged
                // that is not kept, and the agent sends the result again.
                return Err(AppError::new(Code::Unavailable));
            }
            return Ok(Some(Ended::of(&command, &end)));
        }
        Ok(None)
    }
}

/// A result and who delivered it.
pub(super) struct Delivered {
    org: OrgId,
    agent: AgentId,
    /// Whether the agent has keys.
    has_keys: bool,
    /// What the agent signed about it, verified.
    receipt: Option<ReceiptStatement>,
    result: IncomingResult,
    at: Timestamp,
}

impl Delivered {
    /// An agent without keys has only its word; its results are kept as unsigned. Else the receipt must
    /// be the agent's own word about exactly this command and this result. A result
    /// without its document is one that the agent was once told to forget: this server was restored
    /// from a backup, and the receipt alone still says how the command ended. Answers the digest of
    /// the result document.
    fn check(&self, command: &Command) -> Result<Bytes32, &'static str> {
        let result = &self.result;
        let may_end = |outcome: Outcome| match outcome {
            Outcome::Lost => false,
            Outcome::Cancelled => command.withdrawn.is_some(),
            Outcome::Succeeded
            | Outcome::Failed
            | Outcome::TimedOut
            | Outcome::Rejected
            | Outcome::Expired => true,
        };
        match (self.has_keys, &result.receipt) {
            (false, Some(_)) => return Err("the agent has no keys"),
            (true, None) => return Err("the receipt is missing"),
            (false, None) if Outcome::parse(&result.outcome).is_some_and(may_end) => {
                return Ok(digest(Sha256::of(&result.payload)));
            }
            (false, None) => return Err("the outcome is none"),
            (true, Some(_)) => {}
        }
        let statement = self.receipt.as_ref().ok_or("the signature does not verify")?;
        let known_outcome = Outcome::parse(&statement.outcome).is_some_and(may_end);
        let forgotten = result.payload.is_empty();
        if statement.agent != self.agent || statement.command_id != command.id {
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

    /// How the command ended.
    fn end(&self) -> Option<End> {
        let outcome = Outcome::parse(&self.result.outcome)?;
        Some(End { outcome, at: self.at, detail: detail_of(&self.result.payload) })
    }

    /// What is kept of it.
    fn kept(&self) -> CommandResult {
        let receipt = self.result.receipt.as_ref();
        CommandResult {
            payload: self.result.payload.clone(),
            receipt: receipt.map(|receipt| receipt.payload.clone()),
            receipt_signature: receipt.map(|receipt| receipt.signature.0.to_vec()),
        }
    }
}

/// The sentence that a result document gives for what went wrong.
fn detail_of(payload: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(payload).ok()?;
    let error = document.get("error")?.as_str()?;
    Some(clip(error, ERROR_TEXT_CHARS_MAX))
}
