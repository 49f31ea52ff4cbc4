//! Journals of agents, compared with what this server remembers when a stream begins.
//!
//! *Invariant:* what an agent's journal has forgotten is never called anything but lost, unless a
//! receipt says otherwise.

use argosy_domain::{
    agent::Agent,
    command::{Command, CommandSeq, CommandState},
    security::SecurityKind,
};
use argosy_store::Tx;
use argosy_wire::statement::HelloStatement;
use serde_json::json;

use super::{
    App, Origin,
    error::{AppError, AppResult},
    security::Sighting,
};

impl App {
    /// Compares. Where the agent is ahead, this server was restored from a backup: it goes on
    /// behind the agent's mark. Where the agent has another journal than before, or one that has
    /// forgotten what it acknowledged, its commands are lost.
    pub(crate) async fn meet_journal(
        &self,
        origin: &Origin,
        agent: &Agent,
        hello: &HelloStatement,
    ) -> AppResult<()> {
        if self.agrees(agent, hello).await? {
            return Ok(());
        }
        let mut tx = self.store().write("journal.meet").await?;
        let whose = (&agent.org, &agent.id);
        let other = tx.commands().save_journal(whose, &hello.journal_id, self.now()).await?;
        let open = tx.commands().open_for(&agent.id, u32::MAX).await?.into_iter();
        let (forgotten, open): (Vec<_>, Vec<_>) =
            open.partition(|command| command.is_forgotten(other, hello.high_water));
        if other || !forgotten.is_empty() {
            let detail = json!({ "new_journal": other, "commands_lost": forgotten.len() });
            let kind = SecurityKind::JournalLost;
            let seen = Sighting::of_agent(kind, whose, origin, detail);
            self.record_sighting(&mut tx, seen).await?;
        }
        self.lose(&mut tx, forgotten, "the agent's journal has forgotten it").await?;
        if tx.commands().raise_sequence(&agent.id, hello.high_water).await? {
            number_anew(&mut tx, agent, open, hello.high_water).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Whether there is nothing to do. Every agent that reconnects asks: it costs no write.
    async fn agrees(&self, agent: &Agent, hello: &HelloStatement) -> AppResult<bool> {
        let mut reader = self.store().read("journal.look").await?;
        let mut commands = reader.commands();
        if commands.journal(&agent.id).await?.as_ref() != Some(&hello.journal_id)
            || commands.sequence(&agent.id).await?.is_some_and(|own| own < hello.high_water)
        {
            return Ok(false);
        }
        let open = commands.open_for(&agent.id, u32::MAX).await?;
        Ok(!open.iter().any(|command| command.is_forgotten(false, hello.high_water)))
    }

    async fn lose(&self, tx: &mut Tx, commands: Vec<Command>, why: &str) -> AppResult<()> {
        for command in commands {
            let before = command.state.as_str();
            let lost = command.state.lose(self.now(), why.to_owned());
            let lost = lost.map_err(AppError::wrong_state)?;
            tx.commands().save_state(&command.id, &lost, before).await?;
        }
        Ok(())
    }

    /// Gives up commands that were sent, and of which nothing was heard long after their time.
    /// Returns how many.
    pub async fn lose_commands(&self) -> AppResult<usize> {
        let mut tx = self.store().write("commands.lose").await?;
        let before = self.now().minus(argosy_domain::limits::COMMAND_LOST_AFTER);
        let overdue = tx.commands().overdue(before).await?;
        let count = overdue.len();
        self.lose(&mut tx, overdue, "nothing was heard of it").await?;
        tx.commit().await?;
        Ok(count)
    }
}

/// Numbers what the agent has not taken above its mark, under the same ids.
async fn number_anew(
    tx: &mut Tx,
    agent: &Agent,
    open: Vec<Command>,
    high_water: CommandSeq,
) -> AppResult<()> {
    for command in open {
        let unsent = matches!(command.state, CommandState::Queued | CommandState::Sent { .. });
        if unsent
            && command.sequence <= high_water
            && let Some(next) = tx.commands().next_sequence(&agent.id).await?
        {
            tx.commands().resequence(&command.id, next).await?;
        }
    }
    Ok(())
}
