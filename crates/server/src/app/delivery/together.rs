//! What goes out to many agents, and what they say of it, in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use argosy_domain::{
    command::{Command, CommandState},
    id::{AgentId, CommandId},
    limits::COMMANDS_TOGETHER_BYTES_MAX,
    time::Timestamp,
};
use argosy_store::{DueCommand, Said, StoreError, Tx};

use super::{OnTheWay, WINDOW};
use crate::app::groups::Group;

/// An agent that may have something to hear.
pub(in crate::app) struct Asking {
    pub(super) agent: AgentId,
    pub(super) at: Timestamp,
    /// Of this nothing is to be written now.
    pub(super) on_the_way: OnTheWay,
}

/// What an agent is to hear.
pub(in crate::app) struct Found {
    /// In the order of their sequence.
    pub(super) commands: Vec<Command>,
    /// Whether nothing waits behind them.
    pub(super) is_all: bool,
}

/// What is due, found and noted as sent together.
pub(in crate::app) struct DueCommands;

impl Group for DueCommands {
    type Item = Asking;
    type Answer = Found;
    const OPERATION: &'static str = "delivery.send";
    const ITEMS_MAX: usize = 128;

    async fn write(tx: &mut Tx, asking: &[&Asking]) -> Result<Vec<Found>, StoreError> {
        let agents: BTreeSet<AgentId> = asking.iter().map(|it| it.agent.clone()).collect();
        let mut waiting = BTreeMap::<AgentId, Vec<DueCommand>>::new();
        for due in tx.commands().due_for(&agents, WINDOW).await? {
            waiting.entry(due.agent.clone()).or_default().push(due);
        }
        let waiting_for =
            |asking: &Asking| waiting.get(&asking.agent).map_or(&[][..], Vec::as_slice);
        let picks: Vec<Pick<'_>> =
            asking.iter().map(|asking| Pick::of(waiting_for(asking), asking)).collect();
        let ready = ready(tx, &picks).await?;
        let found = |pick: &Pick<'_>| Found {
            commands: pick.due.iter().filter_map(|due| ready.get(&due.id).cloned()).collect(),
            is_all: pick.is_all,
        };
        Ok(picks.iter().map(found).collect())
    }

    fn step(_asking: &Asking) -> &'static str {
        "command_sent"
    }
}

/// What one agent is to hear now of what waits for it.
struct Pick<'d> {
    due: Vec<&'d DueCommand>,
    at: Timestamp,
    is_all: bool,
}

impl<'d> Pick<'d> {
    fn of(waiting: &'d [DueCommand], asking: &Asking) -> Self {
        let in_window = u32::try_from(waiting.len()).is_ok_and(|count| count < WINDOW);
        let fresh: Vec<_> = waiting.iter().filter(|due| !asking.on_the_way.knows(due)).collect();
        let count = fresh.len();
        let due = together(fresh);
        let is_all = in_window && due.len() == count;
        Self { due, at: asking.at, is_all }
    }
}

/// As many of the first commands as are handed out together.
fn together(commands: Vec<&DueCommand>) -> Vec<&DueCommand> {
    let limit = u64::try_from(COMMANDS_TOGETHER_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = 0;
    let fits = |command: &&DueCommand| {
        bytes += command.params_bytes;
        bytes == command.params_bytes || bytes <= limit
    };
    commands.into_iter().take_while(fits).collect()
}

/// Notes as sent what may be sent, ends what is too late for it, and answers what goes out.
async fn ready(tx: &mut Tx, picks: &[Pick<'_>]) -> Result<HashMap<CommandId, Command>, StoreError> {
    let (mut withdrawn, mut moves) = (BTreeSet::new(), BTreeMap::new());
    for (due, at) in picks.iter().flat_map(|pick| pick.due.iter().map(|due| (*due, pick.at))) {
        if due.withdrawn {
            withdrawn.insert(&due.id);
            continue;
        }
        let overdue = matches!(due.state, CommandState::Queued) && at >= due.expires_at;
        let state = due.state.clone();
        // What has gone further than that is not due.
        if let Ok(next) = if overdue { state.expire(at) } else { state.sent(at) } {
            moves.insert(&due.id, (next, due.state.as_str()));
        }
    }
    let mut ready = HashMap::new();
    if !moves.is_empty() {
        let moves: Vec<_> = moves.iter().map(|(id, (next, was))| (*id, next, *was)).collect();
        let moved = tx.commands().save_states(&moves).await?;
        let sent = moved.into_iter().filter(|it| matches!(it.state, CommandState::Sent { .. }));
        ready.extend(sent.map(|command| (command.id.clone(), command)));
    }
    if !withdrawn.is_empty() {
        ready.extend(tx.commands().named(withdrawn).await?);
    }
    Ok(ready)
}

/// What agents say of their commands, written together.
pub(in crate::app) struct Statements;

impl Group for Statements {
    type Item = Said;
    /// Whether it moved the command on.
    type Answer = bool;
    const OPERATION: &'static str = "delivery.advance";
    const ITEMS_MAX: usize = 512;

    async fn write(tx: &mut Tx, said: &[&Said]) -> Result<Vec<bool>, StoreError> {
        // Of what is said of one command at once the furthest counts.
        let mut furthest = BTreeMap::<(&CommandId, &AgentId), &Said>::new();
        for said in said {
            let kept = furthest.entry((&said.command, &said.agent)).or_insert(said);
            if is_running(said) {
                *kept = said;
            }
        }
        let moved = tx.commands().advance(&furthest.into_values().collect::<Vec<_>>()).await?;
        let whose = |said: &Said| (said.command.clone(), said.agent.clone());
        Ok(said.iter().map(|said| moved.contains(&whose(said))).collect())
    }

    fn step(said: &Said) -> &'static str {
        if is_running(said) { "command_running" } else { "command_received" }
    }
}

fn is_running(said: &Said) -> bool {
    matches!(said.next, CommandState::Running { .. })
}
