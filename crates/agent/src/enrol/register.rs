//! A registration that was begun, sent, and what came back.
//!
//! *Invariant:* nothing that is answered is believed before identity and receipt were verified.

use argosy_domain::{digest::Sha256, id::AgentId};
use argosy_wire::{
    bytes::Fixed,
    rpc::gateway::{EnrollmentStatus, RegisterResponse},
    sign,
    statement::EnrolmentStatement,
};
use connectrpc::client::CallOptions;

use super::{EnrolError, request::request};
use crate::{
    credentials::{Enrolling, Registered, SecretText},
    engine::ServerIdentity,
    keys::Keys,
    transport::{CALL_TIMEOUT, CallError, Link},
    trust::{Distrust, TrustedCallError, follow_in_tls, followed_identity, verify_receipt},
};

/// Sends a registration, and answers what to keep and whether no operator is needed. Stores nothing.
///
/// `key_is_known` says that no API key has to be in the answer.
pub async fn register(
    link: &Link,
    keys: &Keys,
    begun: &Enrolling,
    key_is_known: bool,
) -> Result<(Registered, bool), EnrolError> {
    let statement: EnrolmentStatement =
        sign::read(&begun.statement.payload).map_err(|_| EnrolError::Stale)?;
    if statement.identity_key != keys.identity_public() {
        return Err(EnrolError::Stale);
    }
    let options = CallOptions::default().with_timeout(CALL_TIMEOUT);
    let send = || {
        link.either(|rpc| {
            let (request, options) = (request(begun, &statement), options.clone());
            async move { rpc.register_with_options(request, options).await }
        })
    };
    let answer = match send().await {
        Err(_) if follow_in_tls(link, &begun.server_thumbprint, 0).await? => send().await,
        answer => answer,
    };
    let answer = answer.map_err(TrustedCallError::from)?.into_owned();
    let identity = believe(&answer, begun)?;
    let digest = Fixed(Sha256::of(&begun.statement.payload).0);
    let agent_id: AgentId =
        answer.agent_id.parse().map_err(|_| protocol("an agent id that is none"))?;
    let receipt = answer.receipt.as_option().ok_or(Distrust::Missing("enrolment receipt"))?;
    verify_receipt(&identity, receipt, &digest, &agent_id)?;
    link.trust(*identity.thumbprint());
    let fingerprint = EnrolmentStatement::fingerprint(&begun.statement.payload);
    if answer.identity_fingerprint.parse() != Ok(fingerprint) {
        return Err(Distrust::Names { what: "answer", field: "fingerprint" }.into());
    }
    let approved = approved(&answer)?;
    let given = answer.api_key.filter(|key| !key.is_empty()).map(SecretText::new);
    let api_key = match given {
        Some(_) if begun.key_by_hand => {
            return Err(protocol("an API key where an operator was to hand it over"));
        }
        Some(key) => key,
        // A key in the settings is kept once a handshake has proved it, not before.
        None if key_is_known => SecretText::new(String::new()),
        None => return Err(EnrolError::KeyLost),
    };
    let registered = Registered {
        server_url: link.url().to_string(),
        server_thumbprint: begun.server_thumbprint,
        server_identity_key: *identity.key(),
        server_serial: identity.serial(),
        command_serial: 0,
        agent_id,
        name: begun.name.clone(),
        api_key,
        machine_id: statement.machine_id,
        fingerprint,
        statement_sha256: digest,
        account_id: statement.account_id,
        org: None,
        continuation: None,
    };
    Ok((registered, approved))
}

/// The identity of the server that answered: the pinned one, the one of the first contact, or the
/// one to which either is led.
fn believe(answer: &RegisterResponse, begun: &Enrolling) -> Result<ServerIdentity, EnrolError> {
    let keys = answer.server_keys.as_option().ok_or(Distrust::NoIdentity)?;
    Ok(followed_identity(keys, &begun.server_thumbprint, 0)?)
}

fn approved(answer: &RegisterResponse) -> Result<bool, EnrolError> {
    match answer.enrollment_status.as_known() {
        Some(EnrollmentStatus::ENROLLMENT_STATUS_CONFIRMED) => Ok(true),
        Some(EnrollmentStatus::ENROLLMENT_STATUS_AWAITING_CONFIRMATION) => Ok(false),
        Some(
            EnrollmentStatus::ENROLLMENT_STATUS_UNSPECIFIED
            | EnrollmentStatus::ENROLLMENT_STATUS_PENDING
            | EnrollmentStatus::ENROLLMENT_STATUS_REJECTED
            | EnrollmentStatus::ENROLLMENT_STATUS_EXPIRED
            | EnrollmentStatus::ENROLLMENT_STATUS_CANCELLED,
        )
        | None => Err(protocol("an enrolment status that is no answer to a registration")),
    }
}

fn protocol(what: &'static str) -> EnrolError {
    EnrolError::Server(CallError::Protocol(what).into())
}
