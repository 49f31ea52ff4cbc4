//! Fan-outs are moved on as their commands end.
//!
//! *Invariant:* a fan-out is moved in a transaction that holds it, so however many servers try, no
//! agent is given its command twice and no more run at once than was asked for.

use argosy_domain::{
    command::CommandKind,
    fan_out::{FanOut, Step},
    id::{AgentId, CommandId, FanOutId},
};
use argosy_store::{Alike, FanOutTarget, NewPlace, Tx};
use argosy_wire::problem::Code;

use crate::app::{
    App,
    commands::{Order, check_recipient, check_room},
    error::AppResult,
};

/// Agents that get their command in one transaction at most.
const CHUNK: u32 = 200;
const GONE: &str = "the agent is gone";

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
        let targets = tx.fan_outs().waiting(id, more).await?;
        let woken = match fan_out.kind {
            // What they are told differs.
            CommandKind::UpdatesInstall | CommandKind::ConfigApply => {
                self.begin_each(&mut tx, &fan_out, targets).await?
            }
            CommandKind::SubsystemRun
            | CommandKind::DiscoverySync
            | CommandKind::AgentRestart
            | CommandKind::KeyRotate => self.begin_alike(&mut tx, &fan_out, targets).await?,
        };
        tx.commit().await?;
        for agent in &woken {
            self.wake_agent(agent);
        }
        Ok(Some(woken.len()))
    }

    /// Gives agents the same command, but those that can have none. Answers who got it.
    async fn begin_alike(
        &self,
        tx: &mut Tx,
        fan_out: &FanOut,
        targets: Vec<FanOutTarget>,
    ) -> AppResult<Vec<AgentId>> {
        let ids = targets.iter().map(|target| &target.agent).collect();
        // Whoever else gives one of them a command waits for the sequence, so nobody counts beside another.
        let mut sequences = tx.commands().next_sequences(&ids).await?;
        let agents = tx.agents().named(&fan_out.org, &ids).await?;
        let open = tx.commands().count_open_of(ids.iter().copied()).await?;
        let (mut places, mut begun, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for target in &targets {
            let why_not = match agents.get(&target.agent) {
                None => Some(GONE.to_owned()),
                Some(agent) => check_recipient(agent, fan_out.kind)
                    .and_then(|()| check_room(open.get(&agent.id).copied().unwrap_or_default()))
                    .err()
                    .map(|error| error.detail),
            };
            match (why_not, sequences.remove(&target.agent)) {
                (None, Some(sequence)) => {
                    let (command, agent) = (self.ids().fresh(), target.agent.clone());
                    places.push(NewPlace { command, agent, sequence });
                    begun.push(target.position);
                }
                (why_not, _) => skipped.push((target.position, why_not.unwrap_or(GONE.to_owned()))),
            }
        }
        for (position, why) in skipped {
            tx.fan_outs().skip(&fan_out.id, position, &why).await?;
        }
        if !places.is_empty() {
            let alike = Alike {
                org: &fan_out.org,
                kind: fan_out.kind,
                params: &fan_out.params,
                created_by: &fan_out.created_by,
                created_at: self.now(),
                expires_at: fan_out.expires_at,
            };
            tx.commands().insert_alike(&alike, &places).await?;
            let begun: Vec<_> =
                begun.into_iter().zip(places.iter().map(|place| &place.command)).collect();
            tx.fan_outs().begun(&fan_out.id, &begun)?;
        }
        Ok(places.into_iter().map(|place| place.agent).collect())
    }

    /// Gives agents commands of their own, but those that can have none. Answers who got one.
    async fn begin_each(
        &self,
        tx: &mut Tx,
        fan_out: &FanOut,
        targets: Vec<FanOutTarget>,
    ) -> AppResult<Vec<AgentId>> {
        let mut given = Vec::new();
        tx.agents().hold(targets.iter().map(|target| &target.agent)).await?;
        for target in targets {
            match self.queue_for(tx, fan_out, &target.agent).await? {
                Ok(command) => {
                    tx.fan_outs().begun(&fan_out.id, &[(target.position, &command)])?;
                    given.push(target.agent);
                }
                Err(why) => tx.fan_outs().skip(&fan_out.id, target.position, &why).await?,
            }
        }
        Ok(given)
    }

    /// The command of one agent; or why it gets none.
    async fn queue_for(
        &self,
        tx: &mut Tx,
        fan_out: &FanOut,
        agent: &AgentId,
    ) -> AppResult<Result<CommandId, String>> {
        let Some(agent) = tx.agents().get(&fan_out.org, agent).await? else {
            return Ok(Err(GONE.to_owned()));
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
