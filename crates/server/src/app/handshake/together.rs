//! Challenges and handshakes, many in one transaction.
//!
//! *Invariant:* a handshake is written here only where nothing about it is out of the ordinary: the agent
//! is still what its answer was checked against, and it goes on from where it was. Every other one is
//! looked at alone, and nothing of it is consumed before.

use std::collections::HashSet;

use argosy_domain::{digest::Sha256, entropy::random_bytes, review::Appearance, version::Version};
use argosy_store::{Answered, NewChallenge, Session, StoreError, Tx};
use argosy_wire::bytes::Fixed;

use super::{CHALLENGES_MAX, Complete, Established, turned};
use crate::app::{App, Origin, error::AppResult, groups::Group};

/// Challenges, written together.
pub(in crate::app) struct Challenges;

impl Group for Challenges {
    type Item = NewChallenge;
    /// Whether there was room for it.
    type Answer = bool;
    const OPERATION: &'static str = "handshake.begin";
    const ITEMS_MAX: usize = 512;

    async fn write(tx: &mut Tx, challenges: &[&NewChallenge]) -> Result<Vec<bool>, StoreError> {
        let kept = tx.handshakes().insert_challenges(challenges, CHALLENGES_MAX).await?;
        Ok(challenges.iter().map(|challenge| kept.contains(&challenge.sha256)).collect())
    }

    fn step(_challenge: &NewChallenge) -> &'static str {
        "begin"
    }
}

/// A handshake whose answer was checked.
pub(in crate::app) struct Checked {
    answered: Answered,
    /// Digest of the continuation that the agent showed.
    shown: Option<Sha256>,
    /// Digest of the next one.
    next: Sha256,
    seen: Appearance,
    session: Session,
}

/// Handshakes, written together.
pub(in crate::app) struct Handshakes;

impl Group for Handshakes {
    type Item = Checked;
    /// Whether it was written: else it must be looked at alone.
    type Answer = bool;
    const OPERATION: &'static str = "handshake.complete";
    const ITEMS_MAX: usize = 512;

    async fn write(tx: &mut Tx, handshakes: &[&Checked]) -> Result<Vec<bool>, StoreError> {
        // Of two of one agent the second finds its challenge gone.
        let mut first = HashSet::new();
        let ours = handshakes.iter().filter(|checked| first.insert(&checked.answered.agent));
        let ours: Vec<&Checked> = ours.copied().collect();
        let answered: Vec<&Answered> = ours.iter().map(|checked| &checked.answered).collect();
        let Some(now) = ours.iter().map(|checked| checked.session.issued_at).max() else {
            return Ok(Vec::new());
        };
        let stand = tx.handshakes().standing(&answered, now).await?;
        let mut going = Vec::new();
        for checked in ours {
            let Some(stored) = stand.get(&checked.answered.agent) else { continue };
            let (next, forked) = turned(*stored, checked.shown, checked.next, false);
            if !forked {
                going.push((checked, next));
            }
        }
        let agents = going.iter().map(|(checked, _)| &checked.answered.agent);
        let taken = tx.handshakes().consume_all(agents).await?;
        let challenge = |it: &Answered| (it.agent.clone(), it.challenge_sha256);
        going.retain(|(checked, _)| taken.contains(&challenge(&checked.answered)));
        if !going.is_empty() {
            let next: Vec<_> = going.iter().map(|(it, next)| (&it.answered.agent, *next)).collect();
            tx.handshakes().set_continuations(&next)?;
            let seen: Vec<_> = going.iter().map(|(it, _)| (&it.answered.agent, &it.seen)).collect();
            tx.agents().save_origins(&seen)?;
            let sessions: Vec<_> = going.iter().map(|(it, _)| &it.session).collect();
            tx.sessions().insert(&sessions)?;
        }
        let written: HashSet<_> = going.iter().map(|(it, _)| &it.session.id).collect();
        Ok(handshakes.iter().map(|it| written.contains(&it.session.id)).collect())
    }

    fn step(_handshake: &Checked) -> &'static str {
        "complete"
    }
}

impl App {
    /// The second half of a handshake in which nothing is out of the ordinary; none where it must be
    /// looked at alone.
    pub(super) async fn establish_together(
        &self,
        origin: &Origin,
        complete: &Complete,
        version: &Version,
    ) -> AppResult<Option<Established>> {
        let Some(agent) = self.standing(&complete.agent).await? else { return Ok(None) };
        let shown = version.to_string();
        if agent.version.as_ref() != Some(&shown)
            || self.judge(&agent, None, complete, version).is_err()
        {
            return Ok(None);
        }
        let Some(identity) = &agent.identity else { return Ok(None) };
        let continuation = Fixed(random_bytes(self.entropy()));
        let machine_id = complete.machine_id.map(|id| id.to_string());
        let (session, kept) = self.mint_session(&agent, version)?;
        let checked = Checked {
            answered: Answered {
                agent: agent.id.clone(),
                challenge_sha256: Sha256::of(&complete.challenge.0),
                epoch: agent.epoch,
                identity_key: identity.identity_key,
                machine_id: identity.machine_id.clone(),
                version: shown.clone(),
            },
            shown: complete.continuation.map(|shown| Sha256::of(&shown.0)),
            next: Sha256::of(&continuation.0),
            seen: self.appearance(origin, machine_id.as_deref(), Some(&shown)),
            session: kept,
        };
        let written = self.groups().handshakes.ask(checked).await?;
        Ok(written.then_some(Established { session, continuation }))
    }
}
