//! A new identity key while the agent runs, and after a crash in the middle of it.

use std::{sync::Arc, time::Duration};

use argosy_wire::{bytes::Bytes32, problem::Code};

use super::{Applicant, OpenError, Opened, SessionKeeper, handshake};
use crate::{
    backoff::Backoff,
    credentials::Registered,
    key_rotation::{Rotation, RotationError},
    trust::TrustedCallError,
};

/// How often somebody is looked for who asks for a new identity key.
const ASKED_EVERY: Duration = Duration::from_secs(2);

impl SessionKeeper {
    /// A handshake with the present key, or, where the server does not know that one any more, with
    /// the one that was to take its place.
    pub(super) async fn shake(
        &self,
        registered: &Registered,
        machine_id: Option<Bytes32>,
    ) -> Result<Opened, OpenError> {
        let applicant = Applicant { registered, keys: &self.keys, machine_id };
        let error = match handshake(&self.link, &applicant, &self.deps).await {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        let unknown = matches!(&error, TrustedCallError::Call(error)
            if error.code() == Some(Code::Unauthenticated));
        let Some(next) = self.keys.as_next().filter(|_| unknown) else { return Err(error.into()) };
        let applicant = Applicant { registered, keys: &next, machine_id };
        let Ok(opened) = handshake(&self.link, &applicant, &self.deps).await else {
            return Err(error.into());
        };
        self.rotation().commit()?;
        tracing::info!("the server has this agent's new identity key already");
        Ok(opened)
    }

    /// What replaces the identity key.
    pub(super) fn rotation(&self) -> Rotation {
        Rotation {
            link: self.link.clone(),
            keys: Arc::clone(&self.keys),
            prover: Arc::clone(&self.prover),
            dir: Arc::clone(self.place.dir()),
            deps: self.deps.clone(),
        }
    }

    /// Ends once the identity key was replaced, where that is asked for. What fails is tried again as
    /// a handshake would be: until it is over, the server may have a key that is not the present one.
    pub(super) async fn rotated(&self) {
        let rotation = self.rotation();
        let mut backoff = Backoff::new(Arc::clone(&self.deps.entropy));
        loop {
            if !rotation.is_due() {
                backoff.reset();
                tokio::time::sleep(ASKED_EVERY).await;
                continue;
            }
            let Err(error) = self.rotate(&rotation).await else { return };
            let delay = backoff.next_delay_after(error.retry_after());
            tracing::error!(
                error = &error as &dyn std::error::Error,
                retry_in_ms = delay.as_millis(),
                "the identity key was not replaced"
            );
            tokio::time::sleep(delay).await;
        }
    }

    async fn rotate(&self, rotation: &Rotation) -> Result<(), RotationError> {
        let session = self.sessions.wait().await;
        let registered = self.place.registered();
        let now = self.engine.server_time().unwrap_or_else(|| self.deps.clock.now());
        rotation.replace(&registered, &session, now).await?;
        // In this order, and without a pause: nothing is proved by the new key under the old session.
        self.sessions.refuse(&session);
        rotation.commit()?;
        tracing::info!("the identity key was replaced");
        Ok(())
    }
}
