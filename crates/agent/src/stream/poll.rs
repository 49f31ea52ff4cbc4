//! The fallback: what a stream carries, in calls that wait for an answer.
//!
//! *Invariant:* what was told counts as told only once an answer came; what was not is told again.
//! A call that has something to tell does not wait at the server, so nothing waits for its end.

use std::{collections::HashSet, time::Duration};

use argosy_domain::{
    id::CommandId,
    limits::{CHECK_IN_ITEMS_MAX, PAYLOAD_BYTES_MAX},
};
use argosy_wire::{
    rest::check_in::{CheckIn, CheckedIn, ConfigurationInForce},
    rpc::gateway::{
        AckCode, ControlStreamRequest, Goaway, control_stream_request::Frame as UpFrame,
    },
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    StreamParts, check_in,
    connection::{End, end_of},
    frames,
    incoming::take,
};
use crate::{
    engine::EngineEvent,
    host,
    status::Connection,
    transport::{CallError, Channel, Session},
};

const PATH: &str = "/api/v1/agents/metrics";
/// How long a call asks to wait at first, and at least where something on the way cuts it.
const WAIT_MAX: Duration = Duration::from_secs(25);
const WAIT_MIN: Duration = Duration::from_secs(5);
/// An answer must come within this after the wait is over.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How long an agent waits that had no room for a command.
const BUSY_PAUSE: Duration = Duration::from_secs(5);
/// An answer without content that came sooner than this was not waited for.
const HASTY: Duration = Duration::from_secs(1);

/// What an agent that polls has to say.
pub(super) struct Poller {
    /// What was not told yet.
    pending: Vec<ControlStreamRequest>,
    /// The configuration that was refused, and why: said until there is another.
    refused: Option<ConfigurationInForce>,
    /// Results that were told. The server acknowledges them, or does not want them.
    told: HashSet<CommandId>,
    /// A command was not taken for want of room: it comes again with the next call.
    busy: bool,
    wait: Duration,
}

/// What one call says.
struct Said {
    body: CheckIn,
    frames: usize,
    results: Vec<CommandId>,
    quiet: bool,
}

impl Poller {
    pub(super) fn new() -> Self {
        Self {
            pending: Vec::new(),
            refused: None,
            told: HashSet::new(),
            busy: false,
            wait: WAIT_MAX,
        }
    }

    /// One call that does not wait: whether the server can be reached so.
    pub(super) async fn reaches(&mut self, parts: &StreamParts, session: &Session) -> bool {
        let said = self.say(parts, session, Duration::ZERO).await;
        match self.call(parts, session, &said).await {
            Ok(answer) => self.hear(parts, said, answer).await.is_none(),
            Err(_) => false,
        }
    }

    /// Polls until something ends it, or `until` at the earliest. Answers the session that was used
    /// last.
    pub(super) async fn run(
        &mut self,
        parts: &StreamParts,
        events: &mut mpsc::Receiver<EngineEvent>,
        mut session: Session,
        stop: &CancellationToken,
        until: Instant,
    ) -> (End, Session) {
        self.told.clear();
        while let Ok(event) = events.try_recv() {
            self.note(event);
        }
        loop {
            session = tokio::select! {
                present = parts.sessions.wait() => present,
                () = stop.cancelled() => return (End::Stopped, session),
            };
            let said = self.say(parts, &session, self.wait).await;
            if said.quiet && Instant::now() >= until {
                return (End::ProbeDue, session);
            }
            let began = Instant::now();
            let answer = tokio::select! {
                answer = self.call(parts, &session, &said) => answer,
                Some(event) = events.recv(), if said.quiet => {
                    self.note(event);
                    continue;
                }
                () = sleep_until(until), if said.quiet => return (End::ProbeDue, session),
                () = stop.cancelled() => return (End::Stopped, session),
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) if said.quiet && self.was_cut(&error, began.elapsed()) => continue,
                Err(error) => return (End::Failed(error), session),
            };
            let hasty = said.quiet && is_empty(&answer) && began.elapsed() < HASTY;
            let pause = Duration::from_millis(answer.next_in_ms.into());
            let pause = if hasty { pause.max(HASTY) } else { pause };
            if let Some(end) = self.hear(parts, said, answer).await {
                return (end, session);
            }
            // Once what made it busy has ended, that is told at once.
            let pause = if std::mem::take(&mut self.busy) { pause.max(BUSY_PAUSE) } else { pause };
            tokio::select! {
                () = sleep(pause) => {}
                Some(event) = events.recv(), if !pause.is_zero() => self.note(event),
                () = stop.cancelled() => return (End::Stopped, session),
            }
        }
    }

    /// Whether something on the way cut a call while it waited: the next waits less.
    fn was_cut(&mut self, error: &CallError, after: Duration) -> bool {
        let cut = error.is_on_the_way() && after > HASTY && self.wait > WAIT_MIN;
        if cut {
            self.wait = (self.wait / 2).max(WAIT_MIN);
            let wait_s = self.wait.as_secs();
            tracing::debug!(wait_s, error = %error, "a call that waited was cut");
        }
        cut
    }

    fn note(&mut self, event: EngineEvent) {
        match event {
            EngineEvent::Started(id) => self.pending.push(frames::started(&id)),
            // Results are asked for before each call.
            EngineEvent::Finished(_) => {}
        }
    }

    async fn say(&self, parts: &StreamParts, session: &Session, wait: Duration) -> Said {
        let mut body = CheckIn {
            version: Some(host::VERSION.to_owned()),
            hello: Some(check_in::signed(&parts.engine.hello(session.sha256()))),
            ..CheckIn::default()
        };
        let held = parts.configurator.held();
        let held = ConfigurationInForce { generation: held.0, error: None };
        body.configuration = Some(self.refused.clone().unwrap_or(held));
        let frames = self.pending.len().min(CHECK_IN_ITEMS_MAX);
        for frame in &self.pending[..frames] {
            check_in::say(&mut body, frame);
        }
        let results = self.results(parts, &mut body).await;
        let quiet = frames == 0 && results.is_empty();
        body.wait_s = quiet.then(|| u32::try_from(wait.as_secs()).unwrap_or(0));
        Said { body, frames, results, quiet }
    }

    /// Adds results that were not told yet, as many as fit a call.
    async fn results(&self, parts: &StreamParts, body: &mut CheckIn) -> Vec<CommandId> {
        let (mut added, mut bytes) = (Vec::new(), 0);
        for id in parts.engine.unacknowledged() {
            if self.told.contains(&id) || body.results.len() == CHECK_IN_ITEMS_MAX {
                continue;
            }
            match parts.engine.result(id.clone()).await {
                Ok(Some(finished)) => {
                    bytes += finished.payload.len();
                    if bytes > PAYLOAD_BYTES_MAX && !added.is_empty() {
                        break;
                    }
                    check_in::say(body, &frames::result(finished));
                    added.push(id);
                }
                Ok(None) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "a result could not be read from the journal");
                }
            }
        }
        added
    }

    async fn call(
        &self,
        parts: &StreamParts,
        session: &Session,
        said: &Said,
    ) -> Result<CheckedIn, CallError> {
        let wait = Duration::from_secs(said.body.wait_s.unwrap_or_default().into());
        let patience = wait + ANSWER_WITHIN;
        parts.prover.post(&parts.link, PATH, session, &said.body, patience).await
    }

    /// Takes an answer; the end of the channel, where it says so.
    async fn hear(&mut self, parts: &StreamParts, said: Said, answer: CheckedIn) -> Option<End> {
        self.pending.drain(..said.frames);
        self.told.extend(said.results);
        parts.board.channel(Channel::LongPoll);
        parts.board.connection(Connection::Connected);
        parts.board.heartbeat();
        let goaway = answer.goaway.as_ref().map(|goodbye| Goaway {
            delay_ms: goodbye.delay_ms,
            reason: goodbye.reason.clone(),
            ..Default::default()
        });
        for frame in check_in::frames(answer) {
            let Some(answers) = take(parts, frame).await else { return Some(End::Distrusted) };
            for answer in answers {
                self.answer(answer);
            }
        }
        goaway.map(|goaway| end_of(&goaway))
    }

    fn answer(&mut self, answer: ControlStreamRequest) {
        if let Some(UpFrame::Ack(ack)) = &answer.frame
            && ack.code.as_known() == Some(AckCode::ACK_CODE_BUSY)
        {
            self.busy = true;
        }
        if let Some(UpFrame::State(state)) = &answer.frame
            && let Some(config) = state.config.as_option()
        {
            self.refused = (!config.error.is_empty()).then(|| ConfigurationInForce {
                generation: config.generation,
                error: Some(config.error.clone()),
            });
        }
        self.pending.push(answer);
    }
}

fn is_empty(answer: &CheckedIn) -> bool {
    answer.commands.is_empty()
        && answer.result_acks.is_empty()
        && answer.configuration.is_none()
        && answer.goaway.is_none()
}
