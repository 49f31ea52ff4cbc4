//! A new identity key for this agent, in two phases.
//!
//! ```text
//! next key durable beside the present one → both sign → the server swaps, sessions end
//!                                         → the next key becomes the present one, durable
//! ```
//! *Invariant:* at each moment a key that the server knows is durable here. After a crash the server
//! is asked by a handshake which of the two it knows, and the rotation goes on or is over.

use std::{path::Path, sync::Arc, time::Duration};

use argosy_config::failpoint::failpoint;
use argosy_domain::time::Timestamp;
use argosy_wire::{
    bytes::Fixed,
    problem::Code,
    rpc::gateway::{
        AGENT_GATEWAY_SERVICE_ROTATE_IDENTITY_KEY_SPEC as ROTATE_IDENTITY_KEY, CosignedStatement,
        RotateIdentityKeyRequest,
    },
    statement::KeyRotation,
    succession::Cosigned,
};
use futures::FutureExt as _;

use crate::{
    credentials::Registered,
    deps::Deps,
    keys::{Keys, KeysError},
    state_dir::{StateDir, StateDirError},
    transport::{CallError, Link, Prover, Session},
};

/// Says, in the state directory, that a person on this host asked for a new key.
const ASKED_FILE: &str = "rotate-key";

/// Why the key was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The server refused, or was not reached. The same attempt may work later.
    #[error(transparent)]
    Later(CallError),
    /// The server will not have the new key; it was dropped.
    #[error("the server does not take a new identity key")]
    Refused(#[source] CallError),
    /// The keys cannot be kept.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The state directory cannot be written.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
}

impl RotationError {
    /// How long the answer asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Later(error) | Self::Refused(error) => error.retry_after(),
            Self::Keys(_) | Self::StateDir(_) => None,
        }
    }
}

/// Asks the agent that holds a directory, or the next one that does, for a new identity key.
pub fn ask(path: &Path) -> Result<(), StateDirError> {
    StateDir::leave(path, ASKED_FILE, b"\n")
}

/// The same, by the agent that holds the directory.
pub fn ask_in(dir: &StateDir) -> Result<(), StateDirError> {
    dir.write(ASKED_FILE, b"\n")
}

/// Whether somebody still waits for a new identity key, for the agent that holds the directory. What
/// cannot be read is waited for.
pub fn is_asked_in(dir: &StateDir) -> bool {
    !matches!(dir.read(ASKED_FILE), Ok(None))
}

/// Whether somebody still waits for a new identity key.
pub fn is_asked(path: &Path) -> Result<bool, StateDirError> {
    Ok(StateDir::peek(path)?.read(ASKED_FILE)?.is_some())
}

/// Replaces the identity key of one agent.
pub struct Rotation {
    /// The way to the server.
    pub link: Link,
    /// The agent's keys.
    pub keys: Arc<Keys>,
    /// Proves the session.
    pub prover: Arc<Prover>,
    /// Where keys are kept.
    pub dir: Arc<StateDir>,
    /// Randomness.
    pub deps: Deps,
}

impl Rotation {
    /// Whether a rotation was begun or is asked for.
    pub fn is_due(&self) -> bool {
        let asked = || matches!(self.dir.read(ASKED_FILE), Ok(Some(_)));
        self.keys.next_identity().is_some() || asked()
    }

    /// First phase: the next key is durable, both keys sign, and the server makes it the agent's. The
    /// session is over when this returns well; [`Self::commit`] must follow before another handshake.
    pub async fn replace(
        &self,
        registered: &Registered,
        session: &Session,
        server_time: Timestamp,
    ) -> Result<(), RotationError> {
        let next = self.keys.prepare_next(&self.dir, self.deps.entropy.as_ref())?;
        failpoint("rotate_key", "prepared");
        let statement = KeyRotation {
            server: *registered.server().thumbprint(),
            agent: registered.agent_id.clone(),
            identity_key: self.keys.identity_public(),
            successor: Fixed(next.verifying_key().to_bytes()),
            serial: server_time.as_seconds(),
        };
        let signed = Cosigned::new(&self.keys.identity(), &next, &statement);
        let request = RotateIdentityKeyRequest {
            statement: Some(CosignedStatement {
                payload: signed.payload,
                signature: signed.signature.0.to_vec(),
                successor_signature: signed.successor_signature.0.to_vec(),
                ..Default::default()
            })
            .into(),
            ..Default::default()
        };
        let link = &self.link;
        let send = |options| {
            let request = request.clone();
            async move { link.rpc().rotate_identity_key_with_options(request, options).await }
                .boxed()
        };
        match self.prover.call(link, ROTATE_IDENTITY_KEY, session, send).await {
            Ok(_) => {
                failpoint("rotate_key", "confirmed");
                Ok(())
            }
            Err(error) if is_final(&error) => {
                self.keys.drop_next(&self.dir)?;
                self.dir.remove(ASKED_FILE)?;
                Err(RotationError::Refused(error))
            }
            Err(error) => Err(RotationError::Later(error)),
        }
    }

    /// Second phase: the next key is the agent's.
    pub fn commit(&self) -> Result<(), RotationError> {
        self.keys.commit_next(&self.dir)?;
        failpoint("rotate_key", "committed");
        self.dir.remove(ASKED_FILE)?;
        failpoint("rotate_key", "forgotten");
        Ok(())
    }
}

/// Whether the same answer to the same key is to be expected the next time.
fn is_final(error: &CallError) -> bool {
    matches!(error.code(), Some(Code::Invalid | Code::DuplicateKey | Code::Forbidden))
}
