//! One control stream on the wire: frames in, frames out, and every way in which it can end.
//!
//! What frames mean is [`AgentStream`]'s business. A task of a stream is as large as the largest thing
//! that it waits for, so what is rare is boxed. *Invariant:* a stream that was opened is closed
//! in the books, whatever ended it: the agent, the network, the server, a panic.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use argosy_wire::{
    problem::Code,
    rpc::gateway::{ControlStreamRequest, ControlStreamResponse, Goaway},
};
use connectrpc::{ConnectError, InboundStream, StreamMessage};
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::Instrument as _;

use super::{
    call, convert,
    outbound::{self, Outbound, OutboundStream},
    status::{refuse, unreadable},
};
use crate::app::{
    App, Origin,
    error::{AppError, AppResult},
    sessions::ProvedSession,
    stream::{AgentStream, Down, Up, ends_channel},
    streams::{CloseReason, return_after_ms},
};

/// The first frame must come within this time.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A stream on which nothing is heard for this long is over: agents send heartbeats each minute.
const SILENCE_MAX: Duration = Duration::from_secs(5 * 60);
/// A reader that takes no frame for this long is cut off.
const READER_PATIENCE: Duration = Duration::from_secs(30);
/// How long the last frame of a stream may take.
const LAST_FRAME_WITHIN: Duration = Duration::from_secs(1);
/// What could not be read as due is read again after this time.
const DUE_AGAIN_AFTER: Duration = Duration::from_secs(5);

type Out = Outbound<ControlStreamResponse>;
type Incoming = Option<Result<StreamMessage<ControlStreamRequest>, ConnectError>>;

/// A stream whose session was proved.
pub(super) struct Opening {
    /// Where it came from.
    pub(super) origin: Origin,
    /// The session.
    pub(super) proved: ProvedSession,
    /// Its token.
    pub(super) token: String,
    /// What the agent says.
    pub(super) frames: InboundStream<ControlStreamRequest>,
}

/// How a stream ended.
enum End {
    /// The server ended it.
    Goaway(CloseReason),
    /// The agent did what is not allowed, or the server failed.
    Refused(AppError),
    /// There is nobody to tell.
    Gone,
}

/// What happens to an open stream.
enum Event {
    Frame(Box<Incoming>),
    Due,
    SessionOver,
    Silence,
    Ended(End),
}

/// Serves a stream in a task of its own. Returns what is sent to the agent.
pub(super) fn start(app: App, opening: Opening) -> OutboundStream<ControlStreamResponse> {
    let (out, reader) = outbound::channel();
    let span = tracing::info_span!(
        "control_stream",
        agent = %opening.proved.agent.id,
        trace_id = opening.origin.trace_id.as_deref().unwrap_or_default(),
    );
    // Boxed: what it opens with would stand twice in a task that lives as long as the stream.
    tokio::spawn(serve(app, Box::new(opening), out).instrument(span));
    reader
}

async fn serve(app: App, opening: Box<Opening>, out: Out) {
    let Opening { origin, proved, token, mut frames } = *opening;
    let first = tokio::select! {
        first = first_frame(&mut frames) => first,
        () = out.closed() => return,
    };
    let opened = match first {
        // Not to be abandoned half way: what it enters in the books is taken out by `close`.
        Ok(first) => Box::pin(AgentStream::open(&app, origin, proved, &token, first)).await,
        Err(error) => Err(error),
    };
    drop(token);
    let (mut stream, greeting) = match opened {
        Ok(opened) => opened,
        Err(error) => return finish(&app, &out, End::Refused(error)).await,
    };
    let pump = Pump { app: &app, stream: &mut stream, out: &out, due_again_at: None };
    let end = AssertUnwindSafe(pump.run(&mut frames, greeting)).catch_unwind().await;
    let end = end.unwrap_or_else(|_| End::Refused(AppError::internal("a stream panicked")));
    // Nothing more is heard, whatever the reader does with the last frame.
    drop(frames);
    finish(&app, &out, end).await;
    Box::pin(stream.close()).await;
}

async fn first_frame(frames: &mut InboundStream<ControlStreamRequest>) -> AppResult<Up> {
    let late = |_| AppError::field("frame", format!("must come within {HELLO_WITHIN:?}"));
    match timeout(HELLO_WITHIN, frames.next()).await.map_err(late)? {
        Some(Ok(message)) => convert::up(message.to_owned_message().frame),
        Some(Err(error)) => Err(unreadable(&error)),
        None => Err(AppError::field("frame", "is missing: a stream begins with hello")),
    }
}

/// Tells the agent how the stream ended, as far as it listens.
async fn finish(app: &App, out: &Out, end: End) {
    let last = match end {
        End::Goaway(reason) => {
            tracing::debug!(reason = reason.as_str(), "stream ended by the server");
            let goaway = Goaway {
                delay_ms: return_after_ms(app, reason),
                reason: reason.as_str().to_owned(),
                ..Default::default()
            };
            Ok(convert::frame_down(goaway.into()))
        }
        End::Refused(error) => {
            tracing::debug!(code = error.code.as_str(), "stream refused");
            Err(refuse(call::with_nonce(app, error)))
        }
        End::Gone => return out.cut(),
    };
    if out.send(last, LAST_FRAME_WITHIN).await.is_err() {
        out.cut();
    }
}

/// An open stream.
struct Pump<'a> {
    app: &'a App,
    stream: &'a mut AgentStream,
    out: &'a Out,
    due_again_at: Option<Instant>,
}

impl Pump<'_> {
    async fn run(
        mut self,
        frames: &mut InboundStream<ControlStreamRequest>,
        greeting: Vec<Down>,
    ) -> End {
        let Err(end) = self.serve(frames, greeting).await;
        end
    }

    async fn serve(
        &mut self,
        frames: &mut InboundStream<ControlStreamRequest>,
        greeting: Vec<Down>,
    ) -> Result<std::convert::Infallible, End> {
        self.deliver(greeting).await?;
        self.deliver_due(true).await?;
        let mut silent_at = Instant::now() + SILENCE_MAX;
        loop {
            match self.next_event(frames, silent_at).await {
                Event::Frame(frame) => {
                    silent_at = Instant::now() + SILENCE_MAX;
                    // Boxed, as what is rare: a stream mostly waits.
                    Box::pin(self.take(*frame)).await?;
                    self.deliver_due(false).await?;
                }
                Event::Due => self.deliver_due(true).await?,
                Event::SessionOver => return Err(End::Goaway(CloseReason::SessionEnded)),
                Event::Silence => {
                    let detail = format!("nothing was heard for {SILENCE_MAX:?}");
                    return Err(End::Refused(AppError::because(Code::Unavailable, detail)));
                }
                Event::Ended(end) => return Err(end),
            }
        }
    }

    async fn next_event(
        &mut self,
        frames: &mut InboundStream<ControlStreamRequest>,
        silent_at: Instant,
    ) -> Event {
        let session_left = self.stream.session_ends().since(self.app.now());
        let due_again_at = self.due_again_at;
        let ticket = self.stream.ticket();
        let wake = Arc::clone(&ticket.wake);
        tokio::select! {
            biased;
            reason = &mut ticket.closed => Event::Ended(End::Goaway(closed(reason))),
            () = self.out.closed() => Event::Ended(End::Gone),
            () = sleep(session_left) => Event::SessionOver,
            () = wake.notified() => Event::Due,
            () = sleep_until(due_again_at.unwrap_or(silent_at)), if due_again_at.is_some() => {
                Event::Due
            }
            frame = frames.next() => Event::Frame(Box::new(frame)),
            () = sleep_until(silent_at) => Event::Silence,
        }
    }

    /// Takes one frame and sends what follows from it.
    async fn take(&mut self, frame: Incoming) -> Result<(), End> {
        let message = match frame {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(End::Refused(unreadable(&error))),
            None => return Err(End::Gone),
        };
        let frame = convert::up(message.to_owned_message().frame).map_err(End::Refused)?;
        let heartbeat = matches!(frame, Up::Heartbeat);
        match self.stream.take(frame).await {
            Ok(answers) => self.deliver(answers).await,
            Err(error) if ends_channel(&error, heartbeat) => Err(End::Refused(error)),
            Err(error) => {
                tracing::debug!(code = error.code.as_str(), "a frame was not taken");
                Ok(())
            }
        }
    }

    /// Sends what is due for the agent. What cannot be read now is read again later.
    async fn deliver_due(&mut self, woken: bool) -> Result<(), End> {
        if !woken && self.stream.has_nothing_due() {
            return Ok(());
        }
        match Box::pin(self.stream.due(woken)).await {
            Ok(due) => {
                self.due_again_at = None;
                self.deliver(due).await
            }
            Err(error) => {
                tracing::debug!(code = error.code.as_str(), "could not read what is due");
                self.due_again_at = Some(Instant::now() + DUE_AGAIN_AFTER);
                Ok(())
            }
        }
    }

    async fn deliver(&mut self, frames: Vec<Down>) -> Result<(), End> {
        for frame in frames {
            let frame = convert::down(frame);
            tokio::select! {
                biased;
                reason = &mut self.stream.ticket().closed => {
                    return Err(End::Goaway(closed(reason)));
                }
                sent = self.out.send(Ok(frame), READER_PATIENCE) => {
                    sent.map_err(|outbound::Cut| End::Gone)?;
                }
            }
        }
        Ok(())
    }
}

/// Why the server ended a stream. A hub that is gone is a server that shuts down.
fn closed<E>(reason: Result<CloseReason, E>) -> CloseReason {
    reason.unwrap_or(CloseReason::Draining)
}
