//! Check-ins of agents without a stream.
//!
//! Only the form of a field is judged here, and always by name; what it means is judged by the use
//! case, which is the stream's.

use std::time::Duration;

use argosy_domain::{configuration::Generation, id::CommandId, limits::CHECK_IN_ITEMS_MAX};
use argosy_wire::{
    bytes::{decode, encode},
    rest::{
        agents::Heartbeat,
        check_in::{
            Acknowledgment, CertifiedJson, CheckIn, CheckedIn, CommandOutcome, Goodbye,
            HandedCommand, HandedConfiguration,
        },
        enrolment::SignedJson,
    },
    sign::Signed,
    statement::{CancelStatement, CommandStatement, ResultAckStatement},
};
use axum::{
    Json as Answered,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
};

use super::{
    agents::next_nonce,
    answer::{Answer, Problems},
    convert,
    extract::{By, From, OptionalJson, SessionToken},
};
use crate::app::{
    App,
    check_in::{self, Hello},
    delivery::OutgoingCommand,
    error::{AppError, AppResult},
    keyring::Certified,
    results::IncomingResult,
    stream::{AckCode, Down, Up},
    streams::return_after_ms,
};

/// A check-in of an agent without a stream: says what a stream would carry, and answers with what is
/// due, at once or within `wait_s`. An agent with keys signs `hello`. With a service key the agent is
/// the one that it names, and the answer does not wait.
#[utoipa::path(
    post, path = "/agents/metrics", tag = "agents", request_body = Option<CheckIn>,
    security(("api_key" = ["discovery:create"]), ("session" = [])),
    responses((status = 200, body = CheckedIn), Problems)
)]
pub(super) async fn check_in(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    SessionToken(token): SessionToken,
    OptionalJson(body): OptionalJson<CheckIn>,
) -> Answer<(HeaderMap, Answered<CheckedIn>)> {
    let request = read(body, token)?;
    let answered = app.check_in(&caller, &origin, request).await?;
    let mut headers = next_nonce(&app);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((headers, Answered(written(&app, answered))))
}

fn bytes(field: &str, text: &str) -> AppResult<Vec<u8>> {
    decode(text).map_err(|error| AppError::field(field, error))
}

fn signed(field: &str, signed: &SignedJson) -> AppResult<Signed> {
    let signature = signed.signature.parse();
    let wrong = |error| AppError::field(format!("{field}.signature"), error);
    let payload = bytes(&format!("{field}.payload"), &signed.payload)?;
    Ok(Signed { payload, signature: signature.map_err(wrong)? })
}

fn id(field: &str, text: &str) -> AppResult<CommandId> {
    text.parse().map_err(|error| AppError::field(field, error))
}

fn at_most(field: &str, count: usize) -> AppResult<()> {
    if count <= CHECK_IN_ITEMS_MAX {
        return Ok(());
    }
    Err(AppError::field(field, format!("has more than {CHECK_IN_ITEMS_MAX} entries")))
}

fn read(body: CheckIn, token: Option<String>) -> AppResult<check_in::CheckIn> {
    at_most("started", body.started.len())?;
    at_most("pending_acknowledgments", body.pending_acknowledgments.len())?;
    at_most("results", body.results.len())?;
    let hello = match (&body.hello, token) {
        (Some(hello), Some(session_token)) => {
            Some(Hello { session_token, statement: signed("hello", hello)? })
        }
        (Some(_), None) => return Err(AppError::field("hello", "needs a session")),
        (None, _) => None,
    };
    let (generation, error) = match body.configuration {
        Some(held) => (held.generation, held.error.filter(|error| !error.is_empty())),
        None => (0, None),
    };
    let mut frames = Vec::new();
    for started in &body.started {
        frames.push(Up::State { command: id("started", started)? });
    }
    for told in body.pending_acknowledgments {
        frames.push(acknowledgment(told)?);
    }
    for result in body.results {
        frames.push(outcome(result)?);
    }
    Ok(check_in::CheckIn {
        heartbeat: Heartbeat {
            agent_id: body.agent_id,
            version: body.version,
            hostname: body.hostname,
            ..Heartbeat::default()
        },
        hello,
        configuration: Generation(generation),
        configuration_error: error,
        frames,
        metrics: body.metrics.into_iter().map(|m| (m.metric, m.label, m.value)).collect(),
        wait: Duration::from_secs(body.wait_s.unwrap_or_default().into()),
    })
}

fn acknowledgment(told: Acknowledgment) -> AppResult<Up> {
    let code = match told.code.as_str() {
        "received" => AckCode::Received,
        "busy" => AckCode::Busy,
        "replayed" => AckCode::Replayed,
        "invalid" => AckCode::Invalid,
        _ => {
            let known = "must be received, busy, replayed or invalid";
            return Err(AppError::field("pending_acknowledgments.code", known));
        }
    };
    let command = id("pending_acknowledgments.command_id", &told.command_id)?;
    Ok(Up::Ack { command, code, error: told.error })
}

fn outcome(result: CommandOutcome) -> AppResult<Up> {
    let receipt = result.receipt.as_ref().map(|receipt| signed("results.receipt", receipt));
    Ok(Up::Result(IncomingResult {
        command: id("results.command_id", &result.command_id)?,
        payload: bytes("results.payload", &result.payload)?,
        receipt: receipt.transpose()?,
        outcome: result.outcome,
    }))
}

fn certified(certified: &Certified) -> CertifiedJson {
    CertifiedJson {
        envelope: convert::signed(&certified.envelope),
        certificate: convert::signed(&certified.certificate),
    }
}

fn command(outgoing: OutgoingCommand) -> HandedCommand {
    // The server's own words: they are what it has just signed.
    let order = argosy_wire::sign::read::<CommandStatement>(&outgoing.signed.envelope.payload);
    let (command_id, kind) =
        order.map(|order| (order.command_id.to_string(), order.kind)).unwrap_or_default();
    let signed = certified(&outgoing.signed);
    let params = encode(&outgoing.params);
    HandedCommand { command_id, kind, withdrawn: false, params, signed }
}

fn withdrawal(cancel: &Certified) -> HandedCommand {
    let word = argosy_wire::sign::read::<CancelStatement>(&cancel.envelope.payload);
    let (command_id, kind) =
        word.map(|word| (word.command_id.to_string(), word.kind)).unwrap_or_default();
    let signed = certified(cancel);
    HandedCommand { command_id, kind, withdrawn: true, params: String::new(), signed }
}

fn written(app: &App, answered: check_in::CheckedIn) -> CheckedIn {
    let mut answer = CheckedIn {
        server_time: answered.server_time.to_string(),
        next_in_ms: answered.next_in_ms,
        goaway: answered.goaway.map(|reason| Goodbye {
            reason: reason.as_str().to_owned(),
            delay_ms: return_after_ms(app, reason),
        }),
        ..CheckedIn::default()
    };
    for frame in answered.frames {
        match frame {
            Down::Command(outgoing) => answer.commands.push(command(outgoing)),
            Down::Cancel(cancel) => answer.commands.push(withdrawal(&cancel)),
            Down::Config(config) => {
                let document = encode(&config.document);
                let signed = certified(&config.signed);
                answer.configuration = Some(HandedConfiguration { document, signed });
            }
            Down::ResultAck(ack) => {
                let said = argosy_wire::sign::read::<ResultAckStatement>(&ack.envelope.payload);
                answer.acknowledged_ids.extend(said.map(|said| said.command_id.to_string()));
                answer.result_acks.push(certified(&ack));
            }
            // Of these a check-in has its own words.
            Down::Accepted { .. } | Down::HeartbeatAck { .. } | Down::Renewed { .. } => {}
        }
    }
    answer
}
