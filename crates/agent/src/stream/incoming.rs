//! What arrives on a stream, decided in the order in which it came.
//!
//! *Invariant:* nothing that arrives changes anything here before its signature was verified.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use argosy_wire::rpc::gateway::{
    Config, ControlStreamRequest, ResultAck, control_stream_response::Frame,
};
use tokio::sync::mpsc;

use super::{
    StreamParts,
    connection::{End, RecvHalf, end_of, refused},
    frames,
};
use crate::{blocking::blocking, configuration::NotTaken, engine::Offered};

/// Reads until the stream ends; commands are decided in the order in which they came.
pub(super) async fn incoming(
    parts: &StreamParts,
    mut recv: RecvHalf,
    answers: mpsc::Sender<ControlStreamRequest>,
    unanswered: &AtomicU32,
) -> End {
    loop {
        let frame = match recv.message().await {
            Ok(Some(message)) => message.to_owned_message().frame,
            Ok(None) => return End::Closed,
            Err(error) => return refused(parts, &error),
        };
        match frame {
            Some(Frame::HeartbeatAck(_)) => {
                unanswered.store(0, Ordering::Relaxed);
                parts.board.heartbeat();
            }
            Some(Frame::Renewed(renewed)) => {
                parts.prover.learn(&renewed.dpop_nonce);
                tracing::debug!("session renewed on the stream");
            }
            Some(Frame::Goaway(goaway)) => return end_of(&goaway),
            Some(frame) => {
                let Some(replies) = take(parts, frame).await else { return End::Distrusted };
                for answer in replies {
                    if answers.send(answer).await.is_err() {
                        return End::Closed;
                    }
                }
            }
            // A frame of a newer server says nothing to this agent.
            None => {}
        }
    }
}

/// Takes a signed frame, and answers what to say about it; none where another handshake has to tell
/// who the server is.
pub(super) async fn take(parts: &StreamParts, frame: Frame) -> Option<Vec<ControlStreamRequest>> {
    match frame {
        frame @ (Frame::Command(_) | Frame::Cancel(_)) => decide(parts, frame).await,
        Frame::Config(config) => Some(vec![configure(parts, *config).await?]),
        Frame::ResultAck(ack) => {
            acknowledge(parts, &ack).await;
            Some(Vec::new())
        }
        Frame::Accepted(_) | Frame::HeartbeatAck(_) | Frame::Goaway(_) | Frame::Renewed(_) => {
            Some(Vec::new())
        }
    }
}

/// What to answer to a command or its withdrawal; none where another handshake has to tell who the
/// server is.
async fn decide(parts: &StreamParts, frame: Frame) -> Option<Vec<ControlStreamRequest>> {
    let engine = &parts.engine;
    let offered = match frame {
        Frame::Command(command) => match frames::command(*command) {
            Some((envelope, params, certificate)) => {
                Some(engine.offer(envelope, params, certificate).await)
            }
            None => None,
        },
        Frame::Cancel(cancel) => match frames::cancel(&cancel) {
            Some((envelope, certificate)) => Some(engine.withdraw(envelope, certificate).await),
            None => None,
        },
        Frame::Accepted(_)
        | Frame::Config(_)
        | Frame::HeartbeatAck(_)
        | Frame::ResultAck(_)
        | Frame::Goaway(_)
        | Frame::Renewed(_) => None,
    };
    let Some(offered) = offered else {
        tracing::warn!("a command or its withdrawal came without envelope or certificate");
        return Some(Vec::new());
    };
    parts.board.touch();
    if let Offered::Invalid { why, .. } = &offered
        && why.may_be_news()
    {
        tracing::warn!(%why, "a command was not taken; asking the server who it is");
        return None;
    }
    Some(frames::answers(offered))
}

/// What to answer to a configuration; none where another handshake has to tell who the server is.
async fn configure(parts: &StreamParts, config: Config) -> Option<ControlStreamRequest> {
    let configurator = Arc::clone(&parts.configurator);
    let held = || configurator.held();
    let refuse = |why: &str| {
        tracing::warn!(why, "a configuration was not taken");
        frames::in_force(held(), why)
    };
    let Some((envelope, document, certificate)) = frames::config(config) else {
        return Some(refuse("it came without envelope or certificate"));
    };
    let statement = match parts.engine.verify_config(&envelope, &certificate, &document) {
        Ok(statement) => statement,
        Err(why) if why.may_be_news() => {
            tracing::warn!(%why, "a configuration was not taken; asking the server who it is");
            return None;
        }
        Err(why) => return Some(refuse(&why.to_string())),
    };
    let taking = Arc::clone(&configurator);
    let taken = blocking(&taking, move |part| part.apply(statement.generation, &document)).await;
    parts.board.touch();
    Some(match taken {
        // What this agent has already is no trouble: the server may not have heard of it.
        Ok(()) | Err(NotTaken::Stale { .. }) => frames::in_force(held(), ""),
        Err(error) => refuse(&error.to_string()),
    })
}

async fn acknowledge(parts: &StreamParts, ack: &ResultAck) {
    let Some((envelope, certificate)) = frames::result_ack(ack) else {
        tracing::warn!("a result was acknowledged without envelope or certificate");
        return;
    };
    match parts.engine.acknowledge(envelope, certificate).await {
        Ok(id) => tracing::debug!(command = %id, "result acknowledged"),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "an acknowledgment of a result was not taken");
        }
    }
    parts.board.touch();
}
