//! One open control stream, from hello to its end.
//!
//! Two halves run beside each other: what arrives is decided in order, and what leaves is queued,
//! so that neither a slow disk nor a slow network keeps the heartbeat waiting.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use argosy_domain::text::clip;
use argosy_wire::rpc::gateway::{
    __buffa::view::ControlStreamResponseView,
    AGENT_GATEWAY_SERVICE_CONTROL_STREAM_SPEC as CONTROL_STREAM, ControlStreamRequest, Goaway,
    control_stream_response::Frame,
};
use connectrpc::{
    ConnectError,
    client::{BidiRecvHalf, BidiSendHalf},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{StreamParts, frames, incoming::incoming};
use crate::{
    engine::EngineEvent,
    status::Connection,
    transport::{CallError, Carrier, Channel, Session},
};

/// Answers to what arrived that wait to leave.
const ANSWERS_WAITING_MAX: usize = 8;
/// The server's first frame.
pub(super) const ACCEPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Heartbeats in a row without an answer after which nobody is believed to be there.
const UNANSWERED_MAX: u32 = 2;
/// A frame that the network does not take for this long is not going to leave.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that a goaway, which is not signed, can keep the agent away.
const GOAWAY_DELAY_MAX: Duration = Duration::from_secs(300);
/// Characters of a goaway's reason that are believed to be for people.
const REASON_CHARS_MAX: usize = 64;

type SendHalf = BidiSendHalf<ControlStreamRequest>;
pub(super) type RecvHalf = BidiRecvHalf<
    <Carrier as connectrpc::client::ClientTransport>::ResponseBody,
    ControlStreamResponseView<'static>,
>;

/// How a stream ended.
#[derive(Debug)]
pub(super) enum End {
    /// The server asked for its nonce: open it again at once.
    NonceAsked,
    /// The call failed, or the connection was lost.
    Failed(CallError),
    /// The server said goodbye.
    Goaway {
        /// Its reason.
        reason: String,
        /// Not to be opened again before.
        delay: Duration,
    },
    /// The server closed it without a word.
    Closed,
    /// The server has not answered a heartbeat.
    Silent,
    /// What arrived was signed by a key that is not known to be the server's.
    Distrusted,
    /// It is time to see whether a stream gets through.
    ProbeDue,
    /// This process ends.
    Stopped,
}

impl End {
    /// Whether something on the way may have ended it.
    pub(super) fn is_on_the_way(&self) -> bool {
        match self {
            Self::Failed(error) => error.is_on_the_way(),
            Self::Closed | Self::Silent => true,
            Self::NonceAsked
            | Self::Goaway { .. }
            | Self::Distrusted
            | Self::ProbeDue
            | Self::Stopped => false,
        }
    }
}

impl From<CallError> for End {
    fn from(error: CallError) -> Self {
        Self::Failed(error)
    }
}

/// Opens a stream under `session` and stays until it ends. Whether it was ever accepted, which may
/// take as long as `patience`.
pub(super) async fn connect(
    parts: &StreamParts,
    events: &mut mpsc::Receiver<EngineEvent>,
    session: Session,
    stop: &CancellationToken,
    patience: Duration,
) -> (End, bool) {
    let opened = tokio::select! {
        opened = open(parts, events, &session, patience) => opened,
        () = stop.cancelled() => return (End::Stopped, false),
    };
    let (send, recv, interval) = match opened {
        Ok(opened) => opened,
        Err(end) => return (end, false),
    };
    parts.link.take(Channel::Stream);
    parts.board.channel(Channel::Stream);
    parts.board.connection(Connection::Connected);
    tracing::info!(server = %parts.link.url(), "connected");
    let unanswered = AtomicU32::new(0);
    let (answers, waiting) = mpsc::channel(ANSWERS_WAITING_MAX);
    let outgoing = Outgoing { parts, send, session, interval, unanswered: &unanswered };
    let end = tokio::select! {
        end = incoming(parts, recv, answers, &unanswered) => end,
        end = outgoing.run(events, waiting) => end,
        () = stop.cancelled() => End::Stopped,
    };
    (end, true)
}

/// Says hello and waits until the server has accepted.
async fn open(
    parts: &StreamParts,
    events: &mut mpsc::Receiver<EngineEvent>,
    session: &Session,
    patience: Duration,
) -> Result<(SendHalf, RecvHalf, Duration), End> {
    let options = parts.prover.options(&parts.link, CONTROL_STREAM, session)?;
    let stream =
        parts.link.streams().control_stream_with_options(options).await.map_err(CallError::from)?;
    let (mut send, mut recv) = stream.into_split();
    // What they said is part of what is asked from here on.
    while events.try_recv().is_ok() {}
    let engine = parts.engine.clone();
    let policy = tokio::task::spawn_blocking(move || engine.policy()).await;
    let policy = policy.map_err(|_| End::Stopped)?;
    let hello = parts.engine.hello(session.sha256());
    let held = parts.configurator.held();
    let hello = frames::hello(hello, &parts.engine.running(), policy.sha256.0, held);
    // Where this fails, the reason comes with the first message.
    let sent = timeout(SEND_TIMEOUT, send.send(hello)).await.map_err(|_| End::Silent)?;
    let first = match timeout(patience, recv.message()).await {
        Ok(Ok(Some(first))) => first.to_owned_message(),
        Ok(Ok(None)) => return Err(End::Closed),
        Ok(Err(error)) => return Err(refused(parts, &error)),
        Err(_) => return Err(End::Silent),
    };
    if let Some(headers) = recv.headers() {
        parts.prover.observe(headers, headers);
    }
    sent.map_err(CallError::from)?;
    match first.frame {
        Some(Frame::Accepted(accepted)) => {
            let asked = Duration::from_secs(accepted.heartbeat_interval_s.into());
            let own = parts.heartbeat_interval;
            let interval = if asked.is_zero() { own } else { own.min(asked) };
            Ok((send, recv, interval))
        }
        Some(Frame::Goaway(goaway)) => Err(end_of(&goaway)),
        Some(
            Frame::HeartbeatAck(_)
            | Frame::Command(_)
            | Frame::Cancel(_)
            | Frame::Config(_)
            | Frame::ResultAck(_)
            | Frame::Renewed(_),
        )
        | None => Err(CallError::Protocol("a stream that does not begin with accepted").into()),
    }
}

pub(super) fn refused(parts: &StreamParts, error: &ConnectError) -> End {
    if parts.prover.observe_error(error) {
        End::NonceAsked
    } else {
        End::Failed(error.clone().into())
    }
}

pub(super) fn end_of(goaway: &Goaway) -> End {
    End::Goaway {
        reason: clip(&goaway.reason, REASON_CHARS_MAX),
        delay: Duration::from_millis(goaway.delay_ms.into()).min(GOAWAY_DELAY_MAX),
    }
}

/// The half that sends.
struct Outgoing<'a> {
    parts: &'a StreamParts,
    send: SendHalf,
    session: Session,
    interval: Duration,
    /// Heartbeats since the last answer to one.
    unanswered: &'a AtomicU32,
}

impl Outgoing<'_> {
    async fn run(
        mut self,
        events: &mut mpsc::Receiver<EngineEvent>,
        mut answers: mpsc::Receiver<ControlStreamRequest>,
    ) -> End {
        match self.send_all(events, &mut answers).await {
            Ok(end) => end,
            // The reason, where there is one, is read by the other half; it ends the stream then.
            Err(Sent::Gone) => std::future::pending().await,
            Err(Sent::Stuck) => End::Silent,
            Err(Sent::Failed(error)) => End::Failed(error),
        }
    }

    async fn send_all(
        &mut self,
        events: &mut mpsc::Receiver<EngineEvent>,
        answers: &mut mpsc::Receiver<ControlStreamRequest>,
    ) -> Result<End, Sent> {
        let mut beat = tokio::time::interval(self.interval);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sessions = self.parts.sessions.subscribe();
        beat.tick().await;
        self.heartbeat().await?;
        for id in self.parts.engine.unacknowledged() {
            self.result(id).await?;
        }
        loop {
            tokio::select! {
                _ = beat.tick() => {
                    if self.unanswered.load(Ordering::Relaxed) >= UNANSWERED_MAX {
                        return Ok(End::Silent);
                    }
                    self.heartbeat().await?;
                }
                Some(answer) = answers.recv() => self.send(answer).await?,
                Some(event) = events.recv() => {
                    self.parts.board.touch();
                    match event {
                        EngineEvent::Started(id) => self.send(frames::started(&id)).await?,
                        EngineEvent::Finished(id) => self.result(id).await?,
                    }
                }
                changed = sessions.changed() => {
                    if changed.is_err() {
                        return Ok(End::Stopped);
                    }
                    let next = sessions.borrow_and_update().clone();
                    self.renew(next).await?;
                }
            }
        }
    }

    async fn heartbeat(&mut self) -> Result<(), Sent> {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        self.send(frames::heartbeat(self.parts.deps.clock.now())).await
    }

    async fn result(&mut self, id: argosy_domain::id::CommandId) -> Result<(), Sent> {
        match self.parts.engine.result(id).await {
            Ok(Some(finished)) => self.send(frames::result(finished)).await,
            Ok(None) => Ok(()),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "a result could not be read from the journal");
                Ok(())
            }
        }
    }

    /// Proves the next session, where there is one and it is not the present one.
    async fn renew(&mut self, next: Option<Session>) -> Result<(), Sent> {
        let Some(next) = next.filter(|next| !next.is(&self.session)) else { return Ok(()) };
        let StreamParts { prover, link, .. } = self.parts;
        let proof = prover.proof(link, CONTROL_STREAM, &next).map_err(Sent::Failed)?;
        self.send(frames::renew(next.token(), proof)).await?;
        self.session = next;
        Ok(())
    }

    async fn send(&mut self, frame: ControlStreamRequest) -> Result<(), Sent> {
        in_time(self.send.send(frame)).await
    }
}

/// Waits until a frame has left, and no longer than that may take.
async fn in_time(send: impl Future<Output = Result<(), ConnectError>>) -> Result<(), Sent> {
    match timeout(SEND_TIMEOUT, send).await {
        Ok(sent) => sent.map_err(|_| Sent::Gone),
        Err(_) => Err(Sent::Stuck),
    }
}

/// Why something could not be sent.
#[derive(Debug)]
enum Sent {
    /// The stream is over.
    Gone,
    /// Nobody takes it.
    Stuck,
    /// It could not be made.
    Failed(CallError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goaway_keeps_the_agent_away_for_five_minutes_at_most() {
        for (asked, kept) in [(3_000, 3), (300_000, 300), (u32::MAX, 300)] {
            let goaway = Goaway { delay_ms: asked, ..Default::default() };
            let End::Goaway { delay, .. } = end_of(&goaway) else { panic!("no goaway") };
            assert_eq!(delay, Duration::from_secs(kept));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_nobody_takes_ends_the_stream() {
        let stuck = in_time(std::future::pending()).await;
        assert!(matches!(stuck, Err(Sent::Stuck)), "{stuck:?}");
        let gone = in_time(async { Err(ConnectError::internal("gone")) }).await;
        assert!(matches!(gone, Err(Sent::Gone)), "{gone:?}");
        assert!(in_time(async { Ok(()) }).await.is_ok());
    }
}
