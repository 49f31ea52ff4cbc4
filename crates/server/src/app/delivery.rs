//! Delivery: signed commands out, and the word of the agent that it has them.
//!
//! A stream's delivery re-reads what is due each time it is woken; nothing depends on a wake-up
//! that was lost. *Invariant:* commands of one agent are sent in the order of their sequence; one
//! that was withdrawn keeps its place, and its withdrawal is sent in its stead.

mod together;

use std::collections::HashSet;

use argosy_domain::{
    agent::{Agent, AgentStatus},
    command::{Command, CommandState},
    id::CommandId,
};
use argosy_store::{DueCommand, Handle, Said};
use argosy_wire::statement::{CancelStatement, CommandStatement, digest};

pub(super) use self::together::{DueCommands, Statements};

use self::together::{Asking, Found};
use super::{
    App,
    error::{AppError, AppResult},
    keyring::Certified,
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

/// What goes out about a command.
#[derive(Debug, Clone)]
pub enum Outgoing {
    /// It is to be carried out.
    Command(OutgoingCommand),
    /// It is no longer wanted.
    Cancel(Certified),
}

/// What is to be sent about commands now.
#[derive(Debug, Default)]
pub struct Due {
    /// In the order of their sequence.
    pub outgoing: Vec<Outgoing>,
    /// Whether nothing waits behind it: whatever comes later comes with a wake-up.
    pub is_all: bool,
}

/// What was written to one stream and not answered there yet.
#[derive(Debug, Default, Clone)]
pub struct OnTheWay {
    sent: HashSet<CommandId>,
    withdrawn: HashSet<CommandId>,
}

impl OnTheWay {
    /// Whether nothing is to be written about this command now.
    fn knows(&self, due: &DueCommand) -> bool {
        let sent = if due.withdrawn { &self.withdrawn } else { &self.sent };
        sent.contains(&due.id)
    }

    /// Whether anything was written about it.
    pub(crate) fn contains(&self, id: &CommandId) -> bool {
        self.sent.contains(id) || self.withdrawn.contains(id)
    }

    /// It was answered, or is to be written again.
    pub(crate) fn forget(&mut self, id: &CommandId) {
        self.sent.remove(id);
        self.withdrawn.remove(id);
    }
}

impl App {
    /// What is to be sent now: everything queued or sent and not acknowledged, and what was
    /// withdrawn since, but for what is on its way on this stream already.
    pub(crate) async fn due_commands(
        &self,
        agent: &Agent,
        on_the_way: &mut OnTheWay,
    ) -> AppResult<Due> {
        if !self.may_be_sent(agent).await? {
            return Ok(Due::default());
        }
        let asking =
            Asking { agent: agent.id.clone(), at: self.now(), on_the_way: on_the_way.clone() };
        let Found { commands, is_all } = self.groups().due.ask(asking).await?;
        // That may have taken a while. What was noted as sent is sent again, to whom it may be.
        if !commands.is_empty() && !self.may_be_sent(agent).await? {
            return Ok(Due::default());
        }
        let mut outgoing = Vec::new();
        for command in commands {
            if command.withdrawn.is_some() {
                on_the_way.withdrawn.insert(command.id.clone());
                outgoing.push(Outgoing::Cancel(self.sign_cancel(command)));
            } else {
                on_the_way.sent.insert(command.id.clone());
                outgoing.push(Outgoing::Command(self.sign_order(command)));
            }
        }
        Ok(Due { outgoing, is_all })
    }

    /// Whether the agent may be sent commands now.
    async fn may_be_sent(&self, agent: &Agent) -> AppResult<bool> {
        let standing = self.standing(&agent.id).await?;
        Ok(standing.is_some_and(|standing| {
            standing.state.status() == AgentStatus::Approved
                && standing.epoch == agent.epoch
                && !self.is_outdated(standing.version.as_deref())
        }))
    }

    fn sign_cancel(&self, command: Command) -> Certified {
        let keyring = self.keyring();
        keyring.sign_command(&CancelStatement {
            server: keyring.thumbprint(),
            org: command.org,
            agent: command.agent,
            command_id: command.id,
            kind: command.kind.as_str().to_owned(),
            params_sha256: digest(command.params_sha256),
            sequence: command.sequence,
            server_time: self.now(),
        })
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
        let at = self.now();
        let next =
            if started { CommandState::Running { at } } else { CommandState::Received { at } };
        let said =
            Said { org: agent.org.clone(), agent: agent.id.clone(), command: id.clone(), next };
        if !self.groups().statements.ask(said).await? {
            // It has gone as far already, and an acknowledgment that comes late changes nothing; or
            // it is none of this agent's.
            let mut reader = self.store().read("delivery.own").await?;
            own_command(&mut reader, agent, id).await?;
        }
        Ok(())
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
}

async fn own_command<A>(
    store: &mut Handle<A>,
    agent: &Agent,
    id: &CommandId,
) -> AppResult<Command> {
    let command = store.commands().get(&agent.org, id).await?;
    command
        .filter(|command| command.agent == agent.id)
        .ok_or_else(|| AppError::not_found("command"))
}
