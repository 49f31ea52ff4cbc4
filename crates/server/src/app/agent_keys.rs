//! Identity keys of agents: a new one takes the place of the old one, and receipts stay verifiable.
//!
//! The fingerprint of an agent stays that of its enrolment: it names what people compared, and each key
//! since was signed over to by the one before. *Invariant:* the old key opens nothing from the moment
//! that the new one is stored; what it signed before stays its word.

use argosy_config::failpoint::failpoint;
use argosy_domain::{
    access::Caller,
    agent::{Agent, Assurance},
    audit::AuditAction,
    id::AgentId,
    limits::KEY_ROTATION_INTERVAL_MIN,
    time::Timestamp,
};
use argosy_store::{KeyRotationRow, Reader, Tx};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    dpop,
    problem::Code,
    sign::{Signed, Statement},
    statement::KeyRotation,
    succession::Cosigned,
};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    heartbeat::still_approved,
    streams::CloseReason,
};

/// A statement that one of an agent's keys signed, the present one first.
fn verified<S: Statement>(signed: &Signed, keys: &[Bytes32]) -> Option<(Bytes32, S)> {
    keys.iter().find_map(|key| Some((*key, signed.verify(key).ok()?)))
}

/// The agent that calls, where it has proved a key.
fn proving_agent(caller: &Caller) -> AppResult<&AgentId> {
    match caller {
        Caller::Agent { agent, assurance: Assurance::ProofOfPossession, .. } => Ok(agent),
        Caller::Agent { assurance: Assurance::ApiKey, .. }
        | Caller::Key { .. }
        | Caller::User { .. }
        | Caller::Server => {
            Err(AppError::because(Code::Forbidden, "only an agent with keys may do this"))
        }
    }
}

impl App {
    /// Puts a new identity key in the place of the calling agent's: old and new one signed `rotation`,
    /// which is none where what arrived is no such thing. The agent's sessions end. Answers when.
    pub async fn rotate_identity_key(
        &self,
        caller: &Caller,
        origin: &Origin,
        rotation: Option<&Cosigned>,
    ) -> AppResult<Timestamp> {
        let id = proving_agent(caller)?;
        let invalid = |why: String| AppError::field("statement", why);
        let rotation = rotation.ok_or_else(|| invalid("must be signed twice".to_owned()))?;
        let statement: KeyRotation =
            rotation.verify().map_err(|error| invalid(error.to_string()))?;
        if !self.keyring().answers_to(&statement.server) {
            return Err(invalid("names another server".to_owned()));
        }
        if statement.agent != *id {
            return Err(invalid("names another agent".to_owned()));
        }
        let now = self.now();
        let mut tx = self.store().write("agents.rotate_key").await?;
        // Two bearers of one identity are in quarantine: neither may shut the other out.
        let agent = still_approved(&mut tx, id).await?;
        self.succeed_key(&mut tx, &agent, &statement, rotation, now).await?;
        let event = Event {
            action: AuditAction::AgentKeyRotated,
            org: &agent.org,
            target: Some(format!("agent:{id}")),
            detail: json!({
                "serial": statement.serial,
                "from": dpop::key_thumbprint(&statement.identity_key),
                "to": dpop::key_thumbprint(&statement.successor),
            }),
        };
        self.record(&mut tx, &format!("agent:{id}"), origin, event).await?;
        failpoint("rotate_key", "before_commit");
        tx.commit().await?;
        failpoint("rotate_key", "after_commit");
        self.hub().close(id, CloseReason::SessionEnded);
        Ok(now)
    }

    async fn succeed_key(
        &self,
        tx: &mut Tx,
        agent: &Agent,
        statement: &KeyRotation,
        rotation: &Cosigned,
        now: Timestamp,
    ) -> AppResult<()> {
        let earlier = tx.agent_keys().rotations(&agent.id).await?;
        if let Some(last) = earlier.last() {
            let waited = now.since(last.rotated_at);
            // After the clock was set back nobody can say how long it was.
            if last.rotated_at <= now && waited < KEY_ROTATION_INTERVAL_MIN {
                let wait = KEY_ROTATION_INTERVAL_MIN.saturating_sub(waited);
                return Err(AppError::rate_limited(wait.as_secs() + 1));
            }
            if statement.serial <= last.serial {
                return Err(AppError::field("statement.serial", "does not rise"));
            }
        }
        if earlier.iter().any(|row| row.replaced_key == statement.successor.0) {
            return Err(AppError::field("statement.successor", "is a key that was replaced"));
        }
        let row = KeyRotationRow {
            org: agent.org.clone(),
            agent: agent.id.clone(),
            serial: statement.serial,
            replaced_key: statement.identity_key.0,
            statement: rotation.payload.clone(),
            signature: rotation.signature.0.to_vec(),
            successor_signature: rotation.successor_signature.0.to_vec(),
            rotated_at: now,
        };
        if !tx.agent_keys().rotate(&row, &statement.successor.0).await? {
            return Err(AppError::field("statement.identity_key", "is not this agent's"));
        }
        tx.sessions().end_of_agent(&agent.org, &agent.id, now).await?;
        tx.agents().bump_epoch(&agent.id).await?;
        Ok(())
    }

    /// A statement of an agent by its present key, or by one that it had before: what a key signed in
    /// its time holds. Answers with the key.
    pub(crate) async fn signed_by_agent<S: Statement>(
        &self,
        agent: &Agent,
        signed: &Signed,
    ) -> AppResult<Option<(Bytes32, S)>> {
        let Some(identity) = &agent.identity else { return Ok(None) };
        if let Some(found) = verified(signed, &[Fixed(identity.identity_key)]) {
            return Ok(Some(found));
        }
        let mut reader: Reader = self.store().read("agents.former_keys").await?;
        let former = reader.agent_keys().rotations(&agent.id).await?;
        let keys: Vec<Bytes32> = former.iter().map(|row| Fixed(row.replaced_key)).collect();
        Ok(verified(signed, &keys))
    }
}
