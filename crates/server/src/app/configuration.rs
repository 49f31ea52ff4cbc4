//! Configuration of agents: wanted here, signed, sent, and what the agent says it has.
//!
//! *Invariant:* a document goes out only under the generation that it was read with; one that an
//! agent has already, or a newer one, is fenced off by the agent itself.

use argosy_domain::{
    agent::{Agent, AgentStatus},
    configuration::{Configuration, Generation},
    digest::Sha256,
    id::AgentId,
    limits::ERROR_TEXT_CHARS_MAX,
    text::clip,
};
use argosy_store::{ConfigurationRow, StoreError, SubsystemRow, Tx};
use argosy_wire::statement::{ConfigStatement, digest};

use super::{App, error::AppResult, groups::Group, keyring::Certified};

/// A configuration as it goes out.
#[derive(Debug, Clone)]
pub struct OutgoingConfig {
    /// The signed statement, and the certificate of its key.
    pub signed: Certified,
    /// The document whose digest it holds.
    pub document: Vec<u8>,
    /// Its generation.
    pub generation: Generation,
}

/// Where the configurations of many agents stand.
pub(super) struct Configurations;

impl Group for Configurations {
    type Item = AgentId;
    type Answer = ConfigurationRow;
    const OPERATION: &'static str = "configuration.due";
    const ITEMS_MAX: usize = 512;

    async fn write(tx: &mut Tx, agents: &[&AgentId]) -> Result<Vec<ConfigurationRow>, StoreError> {
        let rows = tx.configurations().of(agents).await?;
        Ok(agents.iter().map(|agent| rows.get(*agent).cloned().unwrap_or_default()).collect())
    }
}

impl App {
    /// The configuration that the agent is to have, where that is newer than what it was `sent` on
    /// this stream, or `said` to have. An agent that is ahead has a server that was restored from a
    /// backup: it gets the present one under a higher generation.
    pub(crate) async fn due_configuration(
        &self,
        agent: &Agent,
        said: Generation,
        sent: Generation,
    ) -> AppResult<Option<OutgoingConfig>> {
        let row = self.groups().configurations.ask(agent.id.clone()).await?;
        let held = said.max(sent);
        if row.wanted == held {
            // It has it since before this stream, and its answer was lost.
            if row.wanted == said && row.applied != said {
                self.note_configuration(agent, said, "").await?;
            }
            return Ok(None);
        }
        let mut reader = self.store().read("configuration.due").await?;
        let standing = reader.agents().find(&agent.id).await?;
        let approved = standing.is_some_and(|standing| {
            standing.state.status() == AgentStatus::Approved && standing.epoch == agent.epoch
        });
        if !approved {
            return Ok(None);
        }
        drop(reader);
        if row.wanted < held {
            let mut tx = self.store().write("configuration.raise").await?;
            let whose = (&agent.org, &agent.id);
            tx.configurations().change(whose, held, self.now()).await?;
            tx.commit().await?;
        }
        self.read_configuration(agent).await.map(Some)
    }

    async fn read_configuration(&self, agent: &Agent) -> AppResult<OutgoingConfig> {
        // One snapshot: the document belongs to its generation.
        let mut reader = self.store().read("configuration.read").await?;
        let generation = reader.configurations().get(&agent.id).await?.wanted;
        let subsystems = reader.subsystems().list(&agent.org, &agent.id).await?;
        drop(reader);
        let document = document_of(subsystems);
        let keyring = self.keyring();
        let signed = keyring.sign_command(&ConfigStatement {
            server: keyring.thumbprint(),
            org: agent.org.clone(),
            agent: agent.id.clone(),
            generation,
            document_sha256: digest(Sha256::of(&document)),
            server_time: self.now(),
        });
        Ok(OutgoingConfig { signed, document, generation })
    }

    /// The agent says which configuration it has, or why it does not take one.
    pub(crate) async fn note_configuration(
        &self,
        agent: &Agent,
        held: Generation,
        error: &str,
    ) -> AppResult<()> {
        let refused = (!error.is_empty()).then(|| clip(error, ERROR_TEXT_CHARS_MAX));
        let mut tx = self.store().write("configuration.applied").await?;
        let now = self.now();
        tx.configurations().save_applied(&agent.id, held, refused.as_deref(), now).await?;
        Ok(tx.commit().await?)
    }
}

/// The document of an agent with these subsystems.
pub(super) fn document_of(subsystems: Vec<SubsystemRow>) -> Vec<u8> {
    let schedules = subsystems.into_iter().map(|row| (row.subsystem, row.schedule));
    Configuration { schedules: schedules.collect() }.to_json()
}
