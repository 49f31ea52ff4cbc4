//! Check-ins: the channel of agents that have no stream. One call carries what a stream carries, and
//! waits for something to say.
//!
//! *Invariant:* a check-in takes the agent's one place as a stream does: the newest wins, and whoever
//! ends the channel ends the wait. What was handed out and not acknowledged is handed out again.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use argosy_domain::{
    access::Caller,
    configuration::Generation,
    id::{AgentId, SessionId},
    limits::SESSION_LIFE,
    time::Timestamp,
};
use argosy_wire::{problem::Code, rest::agents::Heartbeat, sign::Signed};
use futures::FutureExt as _;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until},
};
use tracing::Instrument as _;

use super::{
    App, Origin,
    error::{AppError, AppResult},
    sessions::ProvedSession,
    stream::{AgentStream, Bearer, Down, Up, ends_channel},
    streams::{CloseReason, spread_ms},
    telemetry::TelemetryBatch,
};

/// How long after an answer the agent still counts as connected: it checks in again at once.
const RETURN_WITHIN: Duration = Duration::from_secs(15);
/// The same after a call that was given up before its answer: an agent does so to tell something.
const GIVEN_UP_FOR: Duration = Duration::from_secs(3);
/// How long a place that a newer channel took is kept in the books, so that the newer one is in them
/// before it.
const SUCCEEDED_WITHIN: Duration = Duration::from_secs(5);
/// When to come back to a server that can let no more agents wait: at least, and spread over.
const FULL_MS: (u32, u32) = (5_000, 10_000);

/// Paths of check-ins. Their proofs open a channel, and are remembered as those of streams.
const PATHS: [&str; 2] = ["/api/v1/agents/metrics", "/api/v1/discovery/agents/metrics"];

/// Whether a call of this path opens a channel.
pub fn opens_channel(path: &str) -> bool {
    PATHS.contains(&path)
}

/// The hello of an agent with keys.
#[derive(Debug, Clone)]
pub struct Hello {
    /// The token of the session that it is signed for.
    pub session_token: String,
    /// The signed state of its journal.
    pub statement: Signed,
}

/// A check-in as it arrived.
#[derive(Debug, Clone)]
pub struct CheckIn {
    /// Whose it says to be, and what that host says of itself.
    pub heartbeat: Heartbeat,
    /// Of an agent with keys.
    pub hello: Option<Hello>,
    /// The configuration that is in force there.
    pub configuration: Generation,
    /// Why the newest one is not.
    pub configuration_error: Option<String>,
    /// What a stream would have carried.
    pub frames: Vec<Up>,
    /// Metric, label, value.
    pub metrics: Vec<(String, String, f64)>,
    /// How long to wait for something to say.
    pub wait: Duration,
}

/// What a check-in is answered with.
#[derive(Debug, Clone)]
pub struct CheckedIn {
    /// Server time.
    pub server_time: Timestamp,
    /// What a stream would have carried.
    pub frames: Vec<Down>,
    /// How long not to come back.
    pub next_in_ms: u32,
    /// The channel is over.
    pub goaway: Option<CloseReason>,
}

/// Who checks in.
enum Opening {
    Signed { proved: ProvedSession, hello: Hello, version: String },
    Keyless(Bearer),
}

impl App {
    /// Takes a check-in, and answers once something is due or its time is over.
    pub async fn check_in(
        &self,
        caller: &Caller,
        origin: &Origin,
        mut request: CheckIn,
    ) -> AppResult<CheckedIn> {
        let opening = self.opening(caller, origin, &mut request).await?;
        let batch = std::mem::take(&mut request.metrics);
        if !batch.is_empty() {
            self.take_metrics(caller, &opening, batch).await?;
        }
        let (answer, told) = oneshot::channel();
        let serving = serve(self.clone(), origin.clone(), opening, request, answer);
        // A task of its own: the place in the books is given up whatever becomes of the call.
        tokio::spawn(serving.in_current_span());
        told.await.map_err(|_| AppError::internal("a check-in ended without an answer"))?
    }

    async fn opening(
        &self,
        caller: &Caller,
        origin: &Origin,
        request: &mut CheckIn,
    ) -> AppResult<Opening> {
        let invalid = || AppError::new(Code::InvalidSession);
        if let Caller::Agent { agent, session: Some(session), .. } = caller {
            self.must_be_own(caller, agent, request.heartbeat.agent_id.as_deref())?;
            let missing = || AppError::field("hello", "is missing: an agent with keys signs one");
            let hello = request.hello.take().ok_or_else(missing)?;
            let proved = self.proved_session(agent, session, &hello.session_token).await?;
            let version = request.heartbeat.version.take().unwrap_or_default();
            return Ok(Opening::Signed { proved, hello, version });
        }
        if request.hello.is_some() {
            return Err(AppError::field(
                "hello",
                "must be absent: there is no session to sign for",
            ));
        }
        let agent = match caller {
            Caller::Agent { agent, .. } => {
                self.heartbeat(caller, origin, &request.heartbeat).await?;
                self.standing(agent).await?.ok_or_else(invalid)?
            }
            Caller::Key { .. } | Caller::User { .. } | Caller::Server => {
                self.heartbeat(caller, origin, &request.heartbeat).await?;
                // Nobody would notice in time that the key is no longer good.
                request.wait = Duration::ZERO;
                Arc::new(self.agent_of_heartbeat(caller, origin, &request.heartbeat).await?)
            }
        };
        let ends = self.now().plus(SESSION_LIFE);
        Ok(Opening::Keyless(Bearer { agent, session: None, ends }))
    }

    /// The session of a caller, as a channel holds it.
    async fn proved_session(
        &self,
        agent: &AgentId,
        session: &SessionId,
        token: &str,
    ) -> AppResult<ProvedSession> {
        let invalid = || AppError::new(Code::InvalidSession);
        let (id, expires_at) = self.session_in(token)?;
        let standing = self.standing(agent).await?.filter(|_| id == *session);
        let agent = standing.ok_or_else(invalid)?;
        let reach = self.reach_of(agent.version.as_deref());
        Ok(ProvedSession { agent, session: id, expires_at, reach })
    }

    async fn take_metrics(
        &self,
        caller: &Caller,
        opening: &Opening,
        values: Vec<(String, String, f64)>,
    ) -> AppResult<()> {
        let batch = TelemetryBatch { id: self.ids().fresh(), captured_at: self.now(), values };
        match opening {
            Opening::Signed { .. } => self.take_telemetry(caller, batch).await?,
            Opening::Keyless(bearer) => {
                self.take_telemetry(&self.keyless_caller(&bearer.agent), batch).await?
            }
        };
        Ok(())
    }

    async fn open_check_in(
        &self,
        origin: Origin,
        opening: Opening,
        configuration: Generation,
    ) -> AppResult<AgentStream> {
        match opening {
            Opening::Keyless(bearer) => {
                AgentStream::enter(self, origin, bearer, configuration).await
            }
            Opening::Signed { proved, hello, version } => {
                let Hello { session_token, statement } = hello;
                let first = Up::Hello { version, statement, configuration };
                let opened = AgentStream::open(self, origin, proved, &session_token, first).await?;
                Ok(opened.0)
            }
        }
    }
}

async fn serve(
    app: App,
    origin: Origin,
    opening: Opening,
    request: CheckIn,
    mut answer: oneshot::Sender<AppResult<CheckedIn>>,
) {
    let mut stream = match app.open_check_in(origin, opening, request.configuration).await {
        Ok(stream) => stream,
        Err(error) => {
            // Whoever no longer waits needs no answer.
            let _ = answer.send(Err(error));
            return;
        }
    };
    let serving = AssertUnwindSafe(exchange(&app, &mut stream, request)).catch_unwind();
    let answered = tokio::select! {
        answered = serving => {
            answered.unwrap_or_else(|_| Err(AppError::internal("a check-in panicked")))
        }
        () = answer.closed() => return park(stream, GIVEN_UP_FOR).await,
    };
    let kept = match &answered {
        Ok(CheckedIn { goaway: None, next_in_ms, .. }) => {
            RETURN_WITHIN + Duration::from_millis((*next_in_ms).into())
        }
        Ok(CheckedIn { goaway: Some(_), .. }) => Duration::ZERO,
        Err(_) => GIVEN_UP_FOR,
    };
    let _ = answer.send(answered);
    park(stream, kept).await;
}

/// Takes what the agent says, then waits until something is due for it.
async fn exchange(app: &App, stream: &mut AgentStream, request: CheckIn) -> AppResult<CheckedIn> {
    let mut due = take(stream, request.frames).await?;
    if let Some(error) = request.configuration_error {
        let held = request.configuration;
        stream.take(Up::Configuration { held, error }).await?;
        due.extend(stream.due(false).await?);
    } else {
        due.extend(stream.due(true).await?);
    }
    let answer = |frames, next_in_ms, goaway| {
        Ok(CheckedIn { server_time: app.now(), frames, next_in_ms, goaway })
    };
    if !due.is_empty() || request.wait.is_zero() {
        return answer(due, 0, None);
    }
    let Ok(_place) = Arc::clone(app.check_ins()).try_acquire_owned() else {
        return answer(due, spread_ms(app, FULL_MS), None);
    };
    let session_left = stream.session_ends().since(app.now());
    let wait = request.wait.min(app.rules().check_in_wait).min(session_left);
    match wait_for(stream, Instant::now() + wait).await? {
        Waited::Due(due) => answer(due, 0, None),
        Waited::Ended(reason) => answer(Vec::new(), 0, Some(reason)),
    }
}

async fn take(stream: &mut AgentStream, frames: Vec<Up>) -> AppResult<Vec<Down>> {
    let mut answers = Vec::new();
    stream.take(Up::Heartbeat).await?;
    for frame in frames {
        match stream.take(frame).await {
            Ok(answered) => answers.extend(answered),
            Err(error) if ends_channel(&error, false) => return Err(error),
            Err(error) => {
                tracing::debug!(code = error.code.as_str(), "a frame was not taken");
            }
        }
    }
    Ok(answers)
}

enum Waited {
    Due(Vec<Down>),
    Ended(CloseReason),
}

async fn wait_for(stream: &mut AgentStream, until: Instant) -> AppResult<Waited> {
    loop {
        let ticket = stream.ticket();
        let wake = Arc::clone(&ticket.wake);
        tokio::select! {
            biased;
            reason = &mut ticket.closed => {
                return Ok(Waited::Ended(reason.unwrap_or(CloseReason::Draining)));
            }
            () = wake.notified() => {}
            () = sleep_until(until) => return Ok(Waited::Due(Vec::new())),
        }
        let due = stream.due(true).await?;
        if !due.is_empty() {
            return Ok(Waited::Due(due));
        }
    }
}

/// Keeps the agent's place until it has come back, or had the time to; then gives it up.
async fn park(mut stream: AgentStream, kept: Duration) {
    if !kept.is_zero() {
        let replaced = tokio::select! {
            reason = &mut stream.ticket().closed => reason == Ok(CloseReason::Replaced),
            () = sleep(kept) => false,
        };
        if replaced {
            sleep(SUCCEEDED_WITHIN).await;
        }
    }
    stream.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_ins_open_a_channel_under_either_mount() {
        assert!(PATHS.into_iter().all(opens_channel));
        assert!(!opens_channel("/api/v1/agents/heartbeat"));
    }
}
