//! Registration and handshake.

use argosy_domain::{access::Caller, agent::AgentStatus, review::KeyDelivery};
use argosy_wire::{
    bytes::encode,
    rest::enrolment::{
        BeginHandshake, Challenge, CompleteHandshake, Register, Registered, Session,
    },
};
use axum::{
    Json as Answered,
    extract::{FromRequest, FromRequestParts as _, Request, State},
    http::{StatusCode, header},
};

use super::{
    answer::{Answer, Problems, Refusal},
    convert,
    extract::{By, From, Json},
};
use crate::app::{
    App,
    enrolment::approval_status,
    error::{AppError, AppResult},
    handshake::{Begin, Complete},
};

fn advice(status: AgentStatus, has_keys: bool, delivery: KeyDelivery) -> &'static str {
    if (status, delivery) == (AgentStatus::Pending, KeyDelivery::Operator) {
        return "an operator must approve the agent, and is shown its key then: hand it over";
    }
    match (status, has_keys) {
        (AgentStatus::Pending, true) => {
            "compare the fingerprint with the one on the machine, then approve the agent"
        }
        (AgentStatus::Pending, false) => {
            "an operator must approve the agent; its key is dead until then"
        }
        (AgentStatus::Approved | AgentStatus::Quarantined, true) => {
            "the agent may begin its handshake"
        }
        (AgentStatus::Approved | AgentStatus::Quarantined, false) => "the agent may use its key",
        (
            AgentStatus::Rejected
            | AgentStatus::Expired
            | AgentStatus::Cancelled
            | AgentStatus::Revoked,
            _,
        ) => "this registration is over: enrol again with a fresh token",
    }
}

/// A registration with what was shown for it: credentials count only where there is no token.
pub(super) struct Presented {
    request: Register,
    key: Option<Caller>,
}

impl FromRequest<App> for Presented {
    type Rejection = Refusal;
    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        let (mut parts, body) = request.into_parts();
        let with_body = Request::from_parts(parts.clone(), body);
        let Json(request) = Json::<Register>::from_request(with_body, app).await?;
        let shown = parts.headers.contains_key(header::AUTHORIZATION);
        let key = if shown && request.bootstrap_token.is_empty() {
            let By(caller) = By::from_request_parts(&mut parts, app).await?;
            Some(caller)
        } else {
            None
        };
        Ok(Self { request, key })
    }
}

/// Registers a machine with an enrolment token or a proof of one, or an agent of a service key.
#[utoipa::path(
    post, path = "/agents/register", tag = "enrolment", request_body = Register,
    responses((status = 201, body = Registered), Problems)
)]
pub(super) async fn register(
    State(app): State<App>,
    From(origin): From,
    Presented { request, key }: Presented,
) -> Answer<(StatusCode, Answered<Registered>)> {
    let registered = match key {
        Some(caller) => app.register_with_key(&caller, &origin, &request).await?,
        None => app.register(&origin, &request).await?,
    };
    let agent = &registered.agent;
    let status = agent.state.status();
    let keyring = app.keyring();
    let certificates = [keyring.command_certificate()];
    let keys = registered.receipt.as_ref().map(|_| convert::server_keys(&keyring, certificates));
    let answer = Registered {
        agent_id: agent.id.to_string(),
        approval_status: approval_status(status).to_owned(),
        fingerprint: agent.identity.as_ref().map(|identity| identity.fingerprint.to_string()),
        api_key: registered.api_key.as_ref().map(|key| key.reveal()),
        receipt: registered.receipt.as_ref().map(convert::signed),
        server_keys: keys,
        message: advice(status, agent.identity.is_some(), agent.key_delivery).to_owned(),
    };
    Ok((StatusCode::CREATED, Answered(answer)))
}

/// A value of the request, or the field that is not one.
fn field<T: std::str::FromStr>(name: &'static str, text: &str) -> AppResult<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| AppError::field(name, error))
}

/// First half of the handshake: the server proves itself.
#[utoipa::path(
    post, path = "/agents/handshake/begin", tag = "enrolment", request_body = BeginHandshake,
    responses((status = 200, body = Challenge), Problems)
)]
pub(super) async fn begin(
    State(app): State<App>,
    From(origin): From,
    Json(request): Json<BeginHandshake>,
) -> Answer<Answered<Challenge>> {
    let begin = Begin {
        identity_key: field("identity_key", &request.identity_key)?,
        agent_nonce: field("agent_nonce", &request.agent_nonce)?,
        api_key: request.api_key,
    };
    let issued = app.begin_handshake(&origin, &begin).await?;
    Ok(Answered(Challenge {
        challenge: issued.statement.challenge.to_string(),
        server_time: issued.statement.server_time.to_string(),
        expires_at: issued.expires_at.to_string(),
        statement: encode(&issued.signed.envelope.payload),
        signature: issued.signed.envelope.signature.to_string(),
        server_keys: convert::server_keys(&issued.keyring, [&issued.signed.certificate]),
    }))
}

/// Second half of the handshake: the agent proves itself and gets a session.
#[utoipa::path(
    post, path = "/agents/handshake/complete", tag = "enrolment", request_body = CompleteHandshake,
    responses((status = 200, body = Session), Problems)
)]
pub(super) async fn complete(
    State(app): State<App>,
    From(origin): From,
    Json(request): Json<CompleteHandshake>,
) -> Answer<Answered<Session>> {
    let machine_id = request.machine_id.as_deref().map(|text| field("machine_id", text));
    let continuation = request.continuation.as_deref().map(|text| field("continuation", text));
    let complete = Complete {
        agent: field("agent_id", &request.agent_id)?,
        challenge: field("challenge", &request.challenge)?,
        signature: field("signature", &request.signature)?,
        machine_id: machine_id.transpose()?,
        continuation: continuation.transpose()?,
        version: request.version,
        update_nonce: request.update_nonce,
    };
    let established = app.complete_handshake(&origin, &complete).await?;
    Ok(Answered(Session {
        session_token: established.session.token,
        expires_at: established.session.expires_at.to_string(),
        continuation: established.continuation.to_string(),
        dpop_nonce: app.dpop_nonce(),
        scope: established.session.reach.as_str().to_owned(),
    }))
}
