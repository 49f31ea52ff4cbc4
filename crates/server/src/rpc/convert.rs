//! Messages of the gateway ↔ values of the use cases.
//!
//! Only the form of a field is judged here (its length, its alphabet), and always by name; what it
//! means is judged by the use case.

use argosy_domain::{
    agent::AgentStatus, configuration::Generation, limits::TOKEN_TEXT_BYTES_MAX, time::Timestamp,
};
use argosy_wire::{
    bytes::{Fixed, encode},
    rest::enrolment::{Register, RegisteredKey},
    rpc::gateway::{
        Accepted, Ack, AckCode as WireAck, BeginAuthHandshakeRequest, BeginAuthHandshakeResponse,
        Cancel, Command, CommandResult, CompleteAuthHandshakeRequest, Config,
        ControlStreamResponse, CosignedStatement, EnrollmentStatus, HeartbeatAck, Hello,
        KeyDelivery, KeyUse, RegisterRequest, RegisterResponse, Renewed, ResultAck, ServerKeys,
        SignedStatement, UploadInventoryRequest, control_stream_request::Frame as UpFrame,
        control_stream_response::Frame as DownFrame,
    },
    sign::Signed,
    succession::Cosigned,
};

use crate::app::{
    enrolment::Registered,
    error::{AppError, AppResult},
    handshake::{Begin, Complete, IssuedChallenge},
    inventory::SubsystemRun,
    keyring::Keyring,
    results::IncomingResult,
    stream::{AckCode, Down, Up},
};

/// Shortest text that is looked at as an API key of a handshake.
const API_KEY_BYTES_MIN: usize = 20;

/// Exactly `N` bytes.
fn fixed<const N: usize>(field: &str, bytes: &[u8]) -> AppResult<Fixed<N>> {
    Fixed::from_slice(bytes).map_err(|_| AppError::field(field, format!("must be {N} bytes")))
}

/// Exactly `N` bytes, or absent.
fn optional_fixed<const N: usize>(
    field: &str,
    bytes: Option<&Vec<u8>>,
) -> AppResult<Option<Fixed<N>>> {
    bytes.map(|bytes| fixed(field, bytes)).transpose()
}

/// An identifier.
pub(super) fn id<T: std::str::FromStr>(field: &str, text: &str) -> AppResult<T> {
    text.parse().map_err(|_| AppError::field(field, "is not an identifier"))
}

/// A time by the agent's clock.
pub(super) fn time(field: &str, text: &str) -> AppResult<Timestamp> {
    text.parse().map_err(|_| AppError::field(field, "must be a time as in RFC 3339"))
}

/// A time that is only checked, where it is given.
pub(super) fn check_time(field: &str, text: &str) -> AppResult<()> {
    if text.is_empty() { Ok(()) } else { time(field, text).map(|_| ()) }
}

/// The fields of [`Register`] that the contract names otherwise.
pub(super) const REGISTER_FIELDS: &[(&str, &str)] = &[
    ("bootstrap_token", "enrollment_token"),
    ("statement", "statement.payload"),
    ("statement_signature", "statement.signature"),
];

fn key_use(usage: Option<KeyUse>) -> &'static str {
    match usage {
        Some(KeyUse::KEY_USE_IDENTITY) => "identity",
        Some(KeyUse::KEY_USE_ENCRYPTION) => "encryption",
        Some(KeyUse::KEY_USE_DEVICE_SIGNING) => "device-signing",
        Some(KeyUse::KEY_USE_UNSPECIFIED) | None => "",
    }
}

/// A registration in the shape that REST has for it. The token is passed on as it is: one that is
/// too long or empty is judged with all others.
pub(super) fn register(request: RegisterRequest) -> Register {
    let key_delivery = match request.key_delivery.as_known() {
        Some(KeyDelivery::KEY_DELIVERY_UNSPECIFIED) => None,
        Some(KeyDelivery::KEY_DELIVERY_DIRECT) => Some("direct".to_owned()),
        Some(KeyDelivery::KEY_DELIVERY_OPERATOR) => Some("operator".to_owned()),
        None => Some(request.key_delivery.to_i32().to_string()),
    };
    let keys = request.keys.into_iter().map(|key| RegisteredKey {
        usage: key_use(key.r#use.as_known()).to_owned(),
        public_key: encode(&key.public_key),
        proof: (!key.proof.is_empty()).then(|| encode(&key.proof)),
    });
    let statement = request.statement.as_option();
    Register {
        name: request.name,
        account_id: request.account_id,
        bootstrap_token: request.enrollment_token,
        agent_id: request.agent_id,
        version: request.version,
        hostname: request.hostname,
        platform: request.platform,
        machine_id: None,
        statement: statement.map(|signed| encode(&signed.payload)),
        statement_signature: statement.map(|signed| encode(&signed.signature)),
        keys: keys.collect(),
        key_delivery,
    }
}

/// The contract's word for the state of a registration.
fn enrollment_status(status: AgentStatus) -> EnrollmentStatus {
    match status {
        AgentStatus::Pending => EnrollmentStatus::ENROLLMENT_STATUS_AWAITING_CONFIRMATION,
        AgentStatus::Approved | AgentStatus::Quarantined | AgentStatus::Revoked => {
            EnrollmentStatus::ENROLLMENT_STATUS_CONFIRMED
        }
        AgentStatus::Rejected => EnrollmentStatus::ENROLLMENT_STATUS_REJECTED,
        AgentStatus::Expired => EnrollmentStatus::ENROLLMENT_STATUS_EXPIRED,
        AgentStatus::Cancelled => EnrollmentStatus::ENROLLMENT_STATUS_CANCELLED,
    }
}

fn signed(signed: &Signed) -> SignedStatement {
    SignedStatement {
        payload: signed.payload.clone(),
        signature: signed.signature.0.to_vec(),
        ..Default::default()
    }
}

fn cosigned(link: &Cosigned) -> CosignedStatement {
    CosignedStatement {
        payload: link.payload.clone(),
        signature: link.signature.0.to_vec(),
        successor_signature: link.successor_signature.0.to_vec(),
        ..Default::default()
    }
}

/// A rotation of an identity key, as both keys signed it.
pub(super) fn rotation(statement: Option<&CosignedStatement>) -> Option<Cosigned> {
    let statement = statement?;
    Some(Cosigned {
        payload: statement.payload.clone(),
        signature: Fixed::from_slice(&statement.signature).ok()?,
        successor_signature: Fixed::from_slice(&statement.successor_signature).ok()?,
    })
}

fn server_keys(keyring: &Keyring, certificate: &Signed) -> ServerKeys {
    ServerKeys {
        identity_key: keyring.identity_public().0.to_vec(),
        certificates: vec![signed(certificate)],
        successors: keyring.successors().iter().map(cosigned).collect(),
        ..Default::default()
    }
}

/// The answer to a registration.
pub(super) fn registered(registered: &Registered, keyring: &Keyring) -> RegisterResponse {
    let agent = &registered.agent;
    let fingerprint = agent.identity.as_ref().map(|identity| identity.fingerprint.to_string());
    RegisterResponse {
        agent_id: agent.id.to_string(),
        enrollment_status: enrollment_status(agent.state.status()).into(),
        identity_fingerprint: fingerprint.unwrap_or_default(),
        api_key: registered.api_key.as_ref().map(|key| key.reveal()),
        receipt: registered.receipt.as_ref().map(signed).into(),
        server_keys: Some(server_keys(keyring, keyring.command_certificate())).into(),
        ..Default::default()
    }
}

/// First half of a handshake.
pub(super) fn begin(request: BeginAuthHandshakeRequest) -> AppResult<Begin> {
    if !(API_KEY_BYTES_MIN..=TOKEN_TEXT_BYTES_MAX).contains(&request.api_key.len()) {
        let limit = format!("must be {API_KEY_BYTES_MIN} to {TOKEN_TEXT_BYTES_MAX} bytes");
        return Err(AppError::field("api_key", limit));
    }
    Ok(Begin {
        identity_key: fixed("identity_pubkey", &request.identity_pubkey)?,
        agent_nonce: fixed("agent_nonce", &request.agent_nonce)?,
        api_key: request.api_key,
    })
}

/// The answer to the first half.
pub(super) fn challenge(issued: IssuedChallenge) -> BeginAuthHandshakeResponse {
    BeginAuthHandshakeResponse {
        challenge: issued.statement.challenge.0.to_vec(),
        expires_at: issued.expires_at.to_string(),
        server_time: issued.statement.server_time.to_string(),
        signature: issued.signed.envelope.signature.0.to_vec(),
        statement: issued.signed.envelope.payload,
        server_keys: Some(server_keys(&issued.keyring, &issued.signed.certificate)).into(),
        ..Default::default()
    }
}

/// Second half of a handshake.
pub(super) fn complete(request: CompleteAuthHandshakeRequest) -> AppResult<Complete> {
    let update_nonce = request.update_nonce.filter(|nonce| !nonce.is_empty());
    if update_nonce.as_ref().is_some_and(|nonce| nonce.len() > TOKEN_TEXT_BYTES_MAX) {
        let limit = format!("must be {TOKEN_TEXT_BYTES_MAX} bytes at most");
        return Err(AppError::field("update_nonce", limit));
    }
    Ok(Complete {
        agent: id("agent_id", &request.agent_id)?,
        challenge: fixed("challenge", &request.challenge)?,
        signature: fixed("signature", &request.signature)?,
        machine_id: optional_fixed("machine_id", request.machine_id.as_ref())?,
        continuation: optional_fixed("continuation", request.continuation.as_ref())?,
        version: request.version,
        update_nonce,
    })
}

/// One report of one subsystem.
pub(super) fn run(request: UploadInventoryRequest) -> AppResult<SubsystemRun> {
    let captured_at = time("captured_at", &request.captured_at)?;
    let report = match (request.report.is_empty(), request.error.is_empty()) {
        (false, true) => Ok(request.report),
        (true, false) => Err(request.error),
        (true, true) => return Err(AppError::field("report", "is missing, and so is error")),
        (false, false) => return Err(AppError::field("error", "must be empty beside a report")),
    };
    Ok(SubsystemRun {
        subsystem: request.subsystem,
        captured_at,
        duration_ms: request.duration_ms,
        report,
        breaker: request.breaker,
    })
}

fn signed_field(field: &str, statement: Option<&SignedStatement>) -> AppResult<Signed> {
    let statement = statement.ok_or_else(|| AppError::field(field, "is missing"))?;
    let signature = fixed(&format!("{field}.signature"), &statement.signature)?;
    Ok(Signed { payload: statement.payload.clone(), signature })
}

fn hello(hello: &Hello) -> AppResult<Up> {
    if !hello.policy_sha256.is_empty() {
        fixed::<32>("hello.policy_sha256", &hello.policy_sha256)?;
    }
    let statement = signed_field("hello.statement", hello.statement.as_option())?;
    let configuration = Generation(hello.config_generation);
    Ok(Up::Hello { version: hello.version.clone(), statement, configuration })
}

fn ack(ack: Ack) -> AppResult<Up> {
    let code = match ack.code.as_known() {
        Some(WireAck::ACK_CODE_RECEIVED) => AckCode::Received,
        Some(WireAck::ACK_CODE_BUSY) => AckCode::Busy,
        Some(WireAck::ACK_CODE_REPLAYED) => AckCode::Replayed,
        Some(WireAck::ACK_CODE_INVALID) => AckCode::Invalid,
        Some(WireAck::ACK_CODE_UNSPECIFIED) | None => {
            return Err(AppError::field("ack.code", "is unknown"));
        }
    };
    Ok(Up::Ack { command: id("ack.command_id", &ack.command_id)?, code, error: ack.error })
}

fn result(result: CommandResult) -> AppResult<Up> {
    let receipt = result.receipt.as_option();
    let receipt = receipt.map(|receipt| signed_field("result.receipt", Some(receipt)));
    Ok(Up::Result(IncomingResult {
        command: id("result.command_id", &result.command_id)?,
        receipt: receipt.transpose()?,
        outcome: result.outcome,
        payload: result.payload,
    }))
}

/// A frame from the agent.
pub(super) fn up(frame: Option<UpFrame>) -> AppResult<Up> {
    match frame {
        None => Err(AppError::field("frame", "is empty")),
        Some(UpFrame::Hello(frame)) => hello(&frame),
        Some(UpFrame::Heartbeat(frame)) => {
            check_time("heartbeat.sent_at", &frame.sent_at)?;
            Ok(Up::Heartbeat)
        }
        Some(UpFrame::Ack(frame)) => ack(*frame),
        Some(UpFrame::Result(frame)) => result(*frame),
        Some(UpFrame::State(frame)) => match frame.config.as_option() {
            Some(config) => Ok(Up::Configuration {
                held: Generation(config.generation),
                error: config.error.clone(),
            }),
            None => Ok(Up::State { command: id("state.command_id", &frame.command_id)? }),
        },
        Some(UpFrame::Renew(frame)) => {
            Ok(Up::Renew { session_token: frame.session_token, proof: frame.proof })
        }
    }
}

/// A frame to the agent.
pub(super) fn down(frame: Down) -> ControlStreamResponse {
    let frame: DownFrame = match frame {
        Down::Accepted { server_time, heartbeat_interval_s } => Accepted {
            server_time: server_time.to_string(),
            heartbeat_interval_s,
            ..Default::default()
        }
        .into(),
        Down::HeartbeatAck { received_at } => {
            HeartbeatAck { received_at: received_at.to_string(), ..Default::default() }.into()
        }
        Down::Command(command) => Command {
            envelope: Some(signed(&command.signed.envelope)).into(),
            params: command.params,
            certificate: Some(signed(&command.signed.certificate)).into(),
            ..Default::default()
        }
        .into(),
        Down::Cancel(cancel) => Cancel {
            envelope: Some(signed(&cancel.envelope)).into(),
            certificate: Some(signed(&cancel.certificate)).into(),
            ..Default::default()
        }
        .into(),
        Down::Config(config) => Config {
            envelope: Some(signed(&config.signed.envelope)).into(),
            document: config.document,
            certificate: Some(signed(&config.signed.certificate)).into(),
            ..Default::default()
        }
        .into(),
        Down::ResultAck(ack) => ResultAck {
            envelope: Some(signed(&ack.envelope)).into(),
            certificate: Some(signed(&ack.certificate)).into(),
            ..Default::default()
        }
        .into(),
        Down::Renewed { dpop_nonce } => Renewed { dpop_nonce, ..Default::default() }.into(),
    };
    frame_down(frame)
}

/// A frame as it travels.
pub(super) fn frame_down(frame: DownFrame) -> ControlStreamResponse {
    ControlStreamResponse { frame: Some(frame), ..Default::default() }
}
