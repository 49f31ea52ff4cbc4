//! The life of a connected agent: heartbeats, renewals and commands on its stream, and the way back
//! when the stream has ended. What happens to all of them is tallied in one place.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use argosy_agent::{
    backoff::{Backoff, fraction},
    engine::EngineEvent,
    stream::frames,
};
use argosy_config::host::OsEntropy;
use argosy_wire::rpc::gateway::{ControlStreamRequest, control_stream_response::Frame};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Interval, MissedTickBehavior},
};

use crate::{
    Outcome,
    agent::{Incoming, SimAgent, Stream, send},
    fleet::Member,
    load::Sample,
    server::{Server, Way},
};

/// Frames that wait to leave.
const WAITING_MAX: usize = 8;
/// How long everybody may take to connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(300);
/// How often it is looked whether something has come true.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What agents do without being asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plan {
    /// From heartbeat to heartbeat; none where they are silent.
    pub(crate) heartbeat_every: Option<Duration>,
    /// From handshake to handshake.
    pub(crate) renew_every: Option<Duration>,
}

/// What has happened since something was begun.
#[derive(Debug)]
pub(crate) struct Since {
    began: Instant,
    /// What took how long.
    pub(crate) sample: Sample,
}

impl Since {
    fn now() -> Outcome<Self> {
        Ok(Self { began: Instant::now(), sample: Sample::new()? })
    }
}

/// What happens to all agents of a run.
pub(crate) struct Tally {
    /// Heartbeats, from the moment at which one was due to its durable answer.
    heartbeats: Mutex<Since>,
    /// Results, from the order to the agent's proof that the server has its receipt.
    results: Mutex<Since>,
    /// Connections, from the loss of the one before.
    returns: Mutex<Since>,
    renewals: AtomicU64,
    connected: AtomicU64,
    /// Changes when everybody has to drop what is connected.
    cut: watch::Sender<u64>,
}

fn lock(mutex: &Mutex<Since>) -> MutexGuard<'_, Since> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tally {
    pub(crate) fn new() -> Outcome<Arc<Self>> {
        Ok(Arc::new(Self {
            heartbeats: Mutex::new(Since::now()?),
            results: Mutex::new(Since::now()?),
            returns: Mutex::new(Since::now()?),
            renewals: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            cut: watch::Sender::new(0),
        }))
    }

    fn took(kind: &Mutex<Since>) {
        let mut since = lock(kind);
        let elapsed = since.began.elapsed();
        since.sample.took(elapsed);
    }

    fn turn(kind: &Mutex<Since>) -> Outcome<Sample> {
        let mut since = lock(kind);
        let before = std::mem::replace(&mut *since, Since::now()?);
        let mut sample = before.sample;
        sample.lasted(before.began.elapsed());
        Ok(sample)
    }

    /// Heartbeats since the last call.
    pub(crate) fn take_heartbeats(&self) -> Outcome<Sample> {
        Self::turn(&self.heartbeats)
    }

    /// Results since the last call; those that come count from now.
    pub(crate) fn take_results(&self) -> Outcome<Sample> {
        Self::turn(&self.results)
    }

    /// Connections since the last call; those that come count from now.
    pub(crate) fn take_returns(&self) -> Outcome<Sample> {
        Self::turn(&self.returns)
    }

    /// Sessions renewed on streams.
    pub(crate) fn renewals(&self) -> u64 {
        self.renewals.load(Relaxed)
    }

    /// Agents that are connected.
    pub(crate) fn connected(&self) -> u64 {
        self.connected.load(Relaxed)
    }

    /// Results so far.
    pub(crate) fn results(&self) -> u64 {
        lock(&self.results).sample.operations()
    }

    /// Connections so far.
    pub(crate) fn returns(&self) -> u64 {
        lock(&self.returns).sample.operations()
    }

    /// Everybody drops the connection and comes back at once.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cut| *cut += 1);
    }
}

/// Lets every agent live in a task of its own, which ends with the set, and waits until all are
/// connected.
pub(crate) async fn begin(
    server: &Server,
    members: Vec<Member>,
    plan: Plan,
    tally: &Arc<Tally>,
) -> Outcome<JoinSet<()>> {
    let (mut tasks, all) = (JoinSet::new(), u64::try_from(members.len())?);
    for member in members {
        let life = Life { way: server.way().clone(), plan, tally: Arc::clone(tally) };
        tasks.spawn(life.live(member));
    }
    until("everybody to be connected", CONNECT_WITHIN, || tally.connected() == all).await?;
    Ok(tasks)
}

/// Waits until something has come true; fails after `patience`.
pub(crate) async fn until(
    what: &str,
    patience: Duration,
    mut holds: impl FnMut() -> bool,
) -> Outcome<()> {
    let began = Instant::now();
    while !holds() {
        if began.elapsed() > patience {
            return Err(format!("waited {patience:?} in vain for {what}").into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

struct Life {
    way: Way,
    plan: Plan,
    tally: Arc<Tally>,
}

/// What is under way on one stream.
#[derive(Default)]
struct Pulse {
    /// When the heartbeat was due that is not answered yet.
    due: Mutex<Option<Instant>>,
}

impl Pulse {
    /// Whether a heartbeat that is due now has to be sent: one that waits for its answer is counted
    /// from when it was due, and the next goes with it.
    fn begins(&self, due: Instant) -> bool {
        let mut open = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = open.is_none();
        open.get_or_insert(due);
        begins
    }

    /// An answer came; when its heartbeat was due.
    fn ends(&self) -> Option<Instant> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Life {
    async fn live(self, mut member: Member) {
        let mut backoff = Backoff::new(Arc::new(OsEntropy));
        let mut cut = self.tally.cut.subscribe();
        loop {
            cut.borrow_and_update();
            let stay = async {
                let stream = member.agent.open(&member.link).await?;
                self.tally.connected.fetch_add(1, Relaxed);
                Tally::took(&self.tally.returns);
                Ok::<_, crate::Failure>(stream)
            };
            if let Ok(stream) = stay.await {
                backoff.reset();
                let was_cut = tokio::select! {
                    _ = self.stay(&mut member, stream) => false,
                    _ = cut.changed() => true,
                };
                self.tally.connected.fetch_sub(1, Relaxed);
                if was_cut {
                    // Another connection, and no pause.
                    match self.way.link(None) {
                        Ok(link) => member.link = link,
                        Err(_) => return,
                    }
                    continue;
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Stays on a stream until it ends.
    async fn stay(&self, member: &mut Member, stream: Stream) -> Outcome<()> {
        let pulse = Pulse::default();
        let (answers, waiting) = mpsc::channel(WAITING_MAX);
        let agent = Arc::clone(&member.agent);
        tokio::select! {
            end = self.hear(&agent, stream.incoming, answers, &pulse) => end,
            end = self.speak(member, stream.send, waiting, &pulse) => end,
        }
    }

    async fn hear(
        &self,
        agent: &SimAgent,
        mut incoming: Incoming,
        answers: mpsc::Sender<ControlStreamRequest>,
        pulse: &Pulse,
    ) -> Outcome<()> {
        loop {
            let replies = match incoming.next().await? {
                Frame::HeartbeatAck(_) => {
                    if let Some(due) = pulse.ends() {
                        lock(&self.tally.heartbeats).sample.took(due.elapsed());
                    }
                    Vec::new()
                }
                Frame::Command(command) => {
                    let (envelope, params, certificate) =
                        frames::command(*command).ok_or("half a command")?;
                    frames::answers(agent.engine.offer(envelope, params, certificate).await)
                }
                Frame::Cancel(cancel) => {
                    let (envelope, certificate) = frames::cancel(&cancel).ok_or("half a cancel")?;
                    frames::answers(agent.engine.withdraw(envelope, certificate).await)
                }
                Frame::ResultAck(ack) => {
                    let (envelope, certificate) = frames::result_ack(&ack).ok_or("half an ack")?;
                    agent.engine.acknowledge(envelope, certificate).await?;
                    Tally::took(&self.tally.results);
                    Vec::new()
                }
                Frame::Config(config) => vec![agent.configured(*config)?],
                Frame::Renewed(renewed) => {
                    agent.learn(&renewed.dpop_nonce);
                    self.tally.renewals.fetch_add(1, Relaxed);
                    Vec::new()
                }
                Frame::Goaway(goaway) => return Err(goaway.reason.into()),
                Frame::Accepted(_) => Vec::new(),
            };
            for reply in replies {
                answers.send(reply).await?;
            }
        }
    }

    async fn speak(
        &self,
        Member { agent, link, events }: &mut Member,
        mut half: crate::agent::SendHalf,
        mut answers: mpsc::Receiver<ControlStreamRequest>,
        pulse: &Pulse,
    ) -> Outcome<()> {
        for id in agent.engine.unacknowledged() {
            if let Some(finished) = agent.engine.result(id).await? {
                send(&mut half, frames::result(finished)).await?;
            }
        }
        let (mut beat, mut renewal) =
            (ticks(self.plan.heartbeat_every), ticks(self.plan.renew_every));
        loop {
            tokio::select! {
                due = tick(&mut beat) => {
                    if pulse.begins(due) {
                        send(&mut half, agent.heartbeat()).await?;
                    }
                }
                _ = tick(&mut renewal) => {
                    agent.shake(link).await?;
                    send(&mut half, agent.renewal(link)?).await?;
                }
                Some(answer) = answers.recv() => send(&mut half, answer).await?,
                Some(event) = events.recv() => match event {
                    EngineEvent::Started(id) => send(&mut half, frames::started(&id)).await?,
                    EngineEvent::Finished(id) => {
                        if let Some(finished) = agent.engine.result(id).await? {
                            send(&mut half, frames::result(finished)).await?;
                        }
                    }
                },
            }
        }
    }
}

/// Ticks that begin at a moment of their own, so that a fleet does not beat together.
fn ticks(every: Option<Duration>) -> Option<Interval> {
    let every = every?;
    let first = tokio::time::Instant::now() + fraction(&OsEntropy, every);
    let mut ticks = tokio::time::interval_at(first, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(ticks)
}

/// When the tick was due.
async fn tick(ticks: &mut Option<Interval>) -> Instant {
    match ticks {
        Some(ticks) => ticks.tick().await.into_std(),
        None => std::future::pending().await,
    }
}
