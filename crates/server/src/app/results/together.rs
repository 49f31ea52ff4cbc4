//! Results of many agents, kept in one transaction.
//!
//! *Invariant:* a result is kept here only where it ends a command and does nothing else; every other one is
//! looked at alone.

use std::{collections::HashSet, sync::Arc};

use argosy_domain::command::{Command, CommandKind, CommandResult, CommandState, End};
use argosy_store::{StoreError, Tx};
use argosy_wire::bytes::Bytes32;

use super::{Delivered, Ended};
use crate::app::groups::Group;

/// Results, kept together.
pub(in crate::app) struct Results;

/// A result that is kept, and ended its command.
pub(in crate::app) struct Kept {
    /// Digest of the result document.
    pub(super) sha256: Bytes32,
    /// What ended.
    pub(super) ended: Ended,
}

struct Ending {
    command: Command,
    sha256: Bytes32,
    end: End,
    result: CommandResult,
}

impl Ending {
    /// None where something is out of the ordinary.
    fn of(delivered: &Delivered, command: &Command) -> Option<Self> {
        let own = command.org == delivered.org && command.agent == delivered.agent;
        if !own || command.kind == CommandKind::UpdatesInstall {
            return None;
        }
        let sha256 = delivered.check(command).ok()?;
        match command.state.clone().ended(delivered.end()?) {
            Ok(CommandState::Ended(end)) => {
                let (command, result) = (command.clone(), delivered.kept());
                Some(Self { command, sha256, end, result })
            }
            Ok(
                CommandState::Queued
                | CommandState::Sent { .. }
                | CommandState::Received { .. }
                | CommandState::Running { .. },
            )
            | Err(_) => None,
        }
    }
}

impl Group for Results {
    type Item = Arc<Delivered>;
    /// None where it must be looked at alone.
    type Answer = Option<Kept>;
    const OPERATION: &'static str = "delivery.result";
    const ITEMS_MAX: usize = 64;

    async fn write(
        tx: &mut Tx,
        delivered: &[&Arc<Delivered>],
    ) -> Result<Vec<Option<Kept>>, StoreError> {
        let ids = delivered.iter().map(|delivered| &delivered.result.command);
        let commands = tx.commands().named(ids).await?;
        // A result that comes twice at once is looked at alone the second time.
        let mut seen = HashSet::new();
        let ending = |delivered: &&Arc<Delivered>| {
            let id = &delivered.result.command;
            let command = commands.get(id).filter(|_| seen.insert(id.clone()))?;
            Ending::of(delivered, command)
        };
        let endings: Vec<_> = delivered.iter().map(ending).collect();
        let ends: Vec<_> = endings
            .iter()
            .flatten()
            .map(|it| (&it.command.id, &it.end, &it.result, it.command.state.as_str()))
            .collect();
        let saved = match ends.is_empty() {
            true => HashSet::new(),
            false => tx.commands().save_ends(&ends).await?,
        };
        let kept = |ending: Option<Ending>| {
            let ending = ending.filter(|it| saved.contains(&it.command.id))?;
            let ended = Ended::of(&ending.command, &ending.end);
            Some(Kept { sha256: ending.sha256, ended })
        };
        Ok(endings.into_iter().map(kept).collect())
    }

    fn step(_delivered: &Arc<Delivered>) -> &'static str {
        "command_ended"
    }
}
