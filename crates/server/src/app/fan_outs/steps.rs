//! Fan-outs are moved on as their commands end.
//!
//! *Invariant:* a fan-out is moved in a transaction that holds it, so however many servers try, no
//! agent is given its command twice and no more run at once than was asked for.

use argosy_domain::{
    command::CommandKind,
    fan_out::{FanOut, Step},
    id::{AgentId, CommandId, FanOutId},
};
use argosy_store::{FanOutTarget, Tx};
use argosy_wire::problem::Code;

use crate::app::{
    App,
    commands::{Order, check_recipient},
    error::AppResult,
};

/// Agents that get their command in one transaction at most.
const CHUNK: u32 = 200;

impl App {
    /// Moves every fan-out on as far as it goes now. Returns how many commands were given.
    pub async fn move_fan_outs(&self) -> AppResult<usize> {
        let mut reader = self.store().read("fan_outs.running").await?;
        let running = reader.fan_outs().running().await?;
        drop(reader);
        let mut given = 0;
        for fan_out in running {
            while let Some(begun) = self.move_fan_out(&fan_out.id).await? {
                given += begun;
            }
        }
        Ok(given)
    }

    /// One step; none when there is nothing more to do now.
    async fn move_fan_out(&self, id: &FanOutId) -> AppResult<Option<usize>> {
        let mut tx = self.store().write("fan_outs.move").await?;
        let Some(fan_out) = tx.fan_outs().hold(id).await? else { return Ok(None) };
        let tally = tx.fan_outs().tally(id).await?;
        let more = match fan_out.plan(&tally, self.now()) {
            Step::Begin(more) => more.min(CHUNK),
            Step::Wait => return Ok(None),
            Step::End(how) => {
                tx.fan_outs().end(id, how, self.now()).await?;
                tx.commit().await?;
                tracing::info!(fan_out = %id, how = how.as_str(), "fan-out ended");
                return Ok(None);
            }
        };
        let mut woken = Vec::new();
        for target in tx.fan_outs().waiting(id, more).await? {
            if self.begin(&mut tx, &fan_out, &target).await? {
                woken.push(target.agent);
            }
        }
        tx.commit().await?;
        for agent in &woken {
            self.wake_agent(agent);
        }
        Ok(Some(woken.len()))
    }

    /// Gives one agent its command; false where it can have none.
    async fn begin(&self, tx: &mut Tx, fan_out: &FanOut, target: &FanOutTarget) -> AppResult<bool> {
        match self.queue_for(tx, fan_out, &target.agent).await? {
            Ok(command) => {
                tx.fan_outs().begun(&fan_out.id, target.position, &command)?;
                Ok(true)
            }
            Err(why) => {
                tx.fan_outs().skip(&fan_out.id, target.position, &why).await?;
                Ok(false)
            }
        }
    }

    /// The command of one agent; or why it gets none.
    async fn queue_for(
        &self,
        tx: &mut Tx,
        fan_out: &FanOut,
        agent: &AgentId,
    ) -> AppResult<Result<CommandId, String>> {
        let Some(agent) = tx.agents().get(&fan_out.org, agent).await? else {
            return Ok(Err("the agent is gone".to_owned()));
        };
        if let Err(error) = check_recipient(&agent, fan_out.kind) {
            return Ok(Err(error.detail));
        }
        let params = match fan_out.kind {
            CommandKind::UpdatesInstall => match Self::install_params(tx, fan_out, &agent).await? {
                Ok(params) => params,
                Err(why) => return Ok(Err(why)),
            },
            CommandKind::SubsystemRun
            | CommandKind::DiscoverySync
            | CommandKind::ConfigApply
            | CommandKind::AgentRestart
            | CommandKind::KeyRotate => fan_out.params.clone(),
        };
        let order = Order {
            kind: fan_out.kind,
            params,
            expires_at: fan_out.expires_at,
            idempotency_key: None,
        };
        match self.queue_command(tx, fan_out.created_by.clone(), &agent, order).await {
            Ok(command) => Ok(Ok(command.id)),
            Err(error) if error.code == Code::QueueFull => Ok(Err(error.detail)),
            Err(error) => Err(error),
        }
    }
}
