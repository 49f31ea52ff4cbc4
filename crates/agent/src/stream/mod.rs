//! The control stream: the agent's one long-lived connection, opened again whenever it ends; and
//! calls that wait in its place where something on the way breaks streams.
//!
//! *Invariant:* whatever ends a stream, nothing is lost with it: results stay in the engine until
//! they are acknowledged, and every stream begins by sending what is not. An agent has one channel at
//! a time.

mod check_in;
mod choice;
mod connection;
pub mod frames;
mod incoming;
mod poll;

use std::{sync::Arc, time::Duration};

use argosy_wire::{
    problem::Code,
    rpc::gateway::{AGENT_GATEWAY_SERVICE_UPLOAD_HEARTBEAT_SPEC, UploadHeartbeatRequest},
};
use futures::FutureExt as _;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::{Backoff, CEILING_MAX},
    configuration::Configurator,
    deps::Deps,
    engine::{Engine, EngineEvent},
    session::Sessions,
    status::{Connection, StatusBoard},
    transport::{CallError, Channel, Link, Prover, Session},
};
use choice::Choice;
use connection::{ACCEPT_TIMEOUT, End, connect};
use poll::Poller;

/// The server's first frame, while the agent gets on without a stream.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a stream works with.
#[derive(Clone)]
pub struct StreamParts {
    /// The way to the server.
    pub link: Link,
    /// Makes proofs.
    pub prover: Arc<Prover>,
    /// Sessions to open streams under.
    pub sessions: Arc<Sessions>,
    /// Takes commands.
    pub engine: Engine,
    /// Takes configurations.
    pub configurator: Arc<Configurator>,
    /// Shows what happens.
    pub board: Arc<StatusBoard>,
    /// Time from heartbeat to heartbeat.
    pub heartbeat_interval: Duration,
    /// Time and randomness.
    pub deps: Deps,
}

/// What to do after a stream has ended.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Open it again at once.
    AtOnce,
    /// Streams do not get through: poll on.
    Poll,
    /// Open it again after at least this long, where that is said.
    After(Option<Duration>),
    /// The session is void: another is needed.
    NewSession,
    /// Nothing is handed out: only show that the agent is alive.
    Rest,
    /// Leave.
    Stop,
}

fn next(end: &End) -> Next {
    match end {
        End::NonceAsked => Next::AtOnce,
        End::Stopped => Next::Stop,
        End::ProbeDue => Next::Poll,
        End::Closed | End::Silent => Next::After(None),
        End::Distrusted => Next::NewSession,
        End::Goaway { reason, delay } => match reason.as_str() {
            "session_ended" | "revoked" => Next::NewSession,
            // Somebody else holds a stream with this identity: no race for it.
            "replaced" => Next::After(Some((*delay).max(CEILING_MAX))),
            _ => Next::After(Some(*delay)),
        },
        End::Failed(error) => after_failure(error),
    }
}

/// Whether the server is older than check-ins.
fn knows_no_check_ins(end: &End) -> bool {
    let End::Failed(error) = end else { return false };
    matches!(error.code(), Some(Code::NotFound | Code::MethodNotAllowed))
}

fn after_failure(error: &CallError) -> Next {
    match error.code() {
        Some(Code::InvalidSession | Code::InvalidProof | Code::Unauthenticated) => Next::NewSession,
        Some(Code::Quarantined) => Next::Rest,
        Some(_) | None => Next::After(error.retry_after()),
    }
}

/// What is remembered from one channel to the next.
struct Course {
    choice: Choice,
    poller: Poller,
    /// When to look again whether a stream gets through, while the agent polls.
    probe_at: Option<Instant>,
    asked_for_nonce: bool,
}

impl StreamParts {
    /// Keeps a channel open until `stop`. `events` are the engine's.
    pub async fn keep(&self, events: &mut mpsc::Receiver<EngineEvent>, stop: &CancellationToken) {
        let mut backoff = Backoff::new(Arc::clone(&self.deps.entropy));
        let choice = Choice::new(Arc::clone(&self.deps.entropy));
        let mut course =
            Course { choice, poller: Poller::new(), probe_at: None, asked_for_nonce: false };
        loop {
            let session = tokio::select! {
                session = self.sessions.wait() => session,
                () = stop.cancelled() => return,
            };
            let live = self.board.live();
            if matches!(live.connection, Connection::Starting | Connection::AwaitingApproval) {
                self.board.connection(Connection::Connecting);
            }
            let before = live.last_heartbeat_at;
            let (end, session) = self.hold(&mut course, events, session, stop).await;
            if self.board.live().last_heartbeat_at > before {
                backoff.reset();
            }
            let delay = match self.next(&end) {
                Next::Stop => return,
                Next::Poll => continue,
                // Once: a server that asks for ever is treated like any other failure.
                Next::AtOnce if !course.asked_for_nonce => {
                    course.asked_for_nonce = true;
                    continue;
                }
                Next::AtOnce => backoff.next_delay(),
                Next::NewSession => {
                    self.sessions.refuse(&session);
                    backoff.next_delay()
                }
                Next::Rest => {
                    self.rest(&session).await;
                    self.heartbeat_interval
                }
                Next::After(asked) => backoff.next_delay_after(asked),
            };
            course.asked_for_nonce = false;
            if self.falls_back(&mut course, &session, &end).await {
                continue;
            }
            self.tell(&end, delay);
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Holds a channel until it ends. Answers with the session that it ended with.
    async fn hold(
        &self,
        course: &mut Course,
        events: &mut mpsc::Receiver<EngineEvent>,
        session: Session,
        stop: &CancellationToken,
    ) -> (End, Session) {
        if self.link.channel() == Channel::Stream {
            let (end, _) = self.stream(course, events, &session, stop, ACCEPT_TIMEOUT).await;
            return (end, session);
        }
        let until = match course.probe_at {
            Some(at) => at,
            None => Instant::now() + course.choice.probe_after(),
        };
        course.probe_at = Some(until);
        let (end, session) = course.poller.run(self, events, session, stop, until).await;
        if knows_no_check_ins(&end) {
            self.link.take(Channel::Stream);
        }
        let probe_due = matches!(end, End::ProbeDue);
        // Where calls do not get through either, a stream may.
        if !probe_due && !end.is_on_the_way() {
            return (end, session);
        }
        course.probe_at = None;
        let streamed = self.stream(course, events, &session, stop, PROBE_TIMEOUT).await;
        match streamed {
            (end, false) if probe_due && end.is_on_the_way() => (End::ProbeDue, session),
            (end, _) => (end, session),
        }
    }

    /// Holds a stream until it ends. Whether it was ever accepted.
    async fn stream(
        &self,
        course: &mut Course,
        events: &mut mpsc::Receiver<EngineEvent>,
        session: &Session,
        stop: &CancellationToken,
        patience: Duration,
    ) -> (End, bool) {
        let began = self.deps.clock.since_boot();
        let (end, accepted) = connect(self, events, session.clone(), stop, patience).await;
        let lived = self.deps.clock.since_boot().saturating_sub(began);
        course.choice.ended(accepted, lived, end.is_on_the_way());
        (end, accepted)
    }

    /// Whether calls get through where streams do not; from then on the agent polls.
    async fn falls_back(&self, course: &mut Course, session: &Session, end: &End) -> bool {
        if !end.is_on_the_way() || !course.choice.is_broken() {
            return false;
        }
        let polls = course.poller.reaches(self, session).await;
        if polls {
            self.link.take(Channel::LongPoll);
        }
        polls
    }

    /// What to do next. Whether to follow a server that shows another identity is for the handshake.
    fn next(&self, end: &End) -> Next {
        if matches!(end, End::Failed(_)) && self.link.met_a_stranger() {
            Next::NewSession
        } else {
            next(end)
        }
    }

    /// A heartbeat without a stream.
    async fn rest(&self, session: &Session) {
        let rpc = AGENT_GATEWAY_SERVICE_UPLOAD_HEARTBEAT_SPEC;
        let link = &self.link;
        let send = |options| {
            let sent_at = self.deps.clock.now().to_string();
            let request = UploadHeartbeatRequest { sent_at, ..Default::default() };
            async move { link.rpc().upload_heartbeat_with_options(request, options).await }.boxed()
        };
        match self.prover.call(link, rpc, session, send).await {
            Ok(_) => self.board.heartbeat(),
            Err(error) => {
                if after_failure(&error) == Next::NewSession {
                    self.sessions.refuse(session);
                }
                tracing::warn!(error = %error, "a heartbeat was not taken");
            }
        }
    }

    fn tell(&self, end: &End, delay: Duration) {
        let retry_in_ms = delay.as_millis();
        let why = match end {
            End::Failed(error) if error.code() == Some(Code::Quarantined) => {
                if self.board.connection(Connection::Quarantined) {
                    tracing::warn!("quarantined: an operator has to look at this agent");
                }
                return;
            }
            End::Failed(error) => error.to_string(),
            End::Goaway { reason, .. } => format!("the server closed the stream: {reason}"),
            End::Closed | End::NonceAsked => "the server closed the stream".to_owned(),
            End::Silent => "the server does not answer".to_owned(),
            End::Distrusted => "what the server sent was not signed by a key of it".to_owned(),
            End::ProbeDue | End::Stopped => return,
        };
        tracing::warn!(retry_in_ms, "{why}");
        self.board.connection(Connection::Trouble(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: Code) -> End {
        End::Failed(CallError::Refused { code, message: "no".into(), retry_after: None })
    }

    fn goaway(reason: &str) -> End {
        End::Goaway { reason: reason.into(), delay: Duration::from_secs(3) }
    }

    #[test]
    fn what_follows_from_an_end() {
        assert_eq!(next(&failed(Code::InvalidSession)), Next::NewSession);
        assert_eq!(next(&goaway("session_ended")), Next::NewSession);
        assert_eq!(next(&goaway("draining")), Next::After(Some(Duration::from_secs(3))));
        assert_eq!(next(&failed(Code::Quarantined)), Next::Rest);
        assert_eq!(next(&failed(Code::Unavailable)), Next::After(None));
        assert_eq!(next(&End::Closed), Next::After(None));
    }

    #[test]
    fn an_older_server_is_known_by_what_it_does_not_know() {
        assert!(knows_no_check_ins(&failed(Code::NotFound)));
        assert!(knows_no_check_ins(&failed(Code::MethodNotAllowed)));
        assert!(!knows_no_check_ins(&failed(Code::InvalidSession)));
        assert!(!knows_no_check_ins(&End::ProbeDue));
    }

    #[test]
    fn two_bearers_of_one_identity_do_not_race_for_the_stream() {
        assert_eq!(next(&goaway("replaced")), Next::After(Some(CEILING_MAX)));
    }
}
