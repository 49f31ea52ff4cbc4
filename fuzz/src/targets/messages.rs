//! Messages of the RPC contract, in both directions.

use std::fmt::Debug;

use argosy_wire::rpc::{
    admin::{
        ConfirmAgentRequest, CreateEnrollmentCodeRequest, ListAgentsRequest,
        ListEnrollmentCodesRequest, RejectAgentRequest, RevokeAgentRequest,
        RevokeEnrollmentCodeRequest,
    },
    gateway::{
        Ack, BeginAuthHandshakeRequest, BeginAuthHandshakeResponse, Cancel, Command, CommandResult,
        CompleteAuthHandshakeRequest, CompleteAuthHandshakeResponse, Config, ControlStreamRequest,
        ControlStreamResponse, Goaway, Heartbeat, Hello, RegisterRequest, RegisterResponse,
        RegisteredKey, Renew, ResultAck, ServerKeys, SignedStatement, UploadHeartbeatRequest,
        UploadInventoryRequest,
    },
};
use buffa::Message;
use serde::{Serialize, de::DeserializeOwned};

/// What is read writes itself as bytes that read as the same, and as JSON that does.
fn stable<M>(bytes: &[u8])
where
    M: Message + PartialEq + Debug + Serialize + DeserializeOwned,
{
    let Ok(message) = M::decode_from_slice(bytes) else { return };
    let written = message.encode_to_vec();
    let again = M::decode_from_slice(&written).unwrap();
    assert_eq!(again, message);
    assert_eq!(again.encode_to_vec(), written, "two encodings of one message");
    // Unknown fields and enum numbers have no form in JSON; whatever JSON there is must be read.
    let json = serde_json::to_vec(&message).unwrap();
    let read: M = serde_json::from_slice(&json).unwrap();
    assert_eq!(serde_json::to_vec(&read).unwrap(), json);
}

/// Every message that a network brings, in the order that the first byte of an input names.
const MESSAGES: &[fn(&[u8])] = &[
    stable::<ControlStreamRequest>,
    stable::<ControlStreamResponse>,
    stable::<RegisterRequest>,
    stable::<RegisterResponse>,
    stable::<BeginAuthHandshakeRequest>,
    stable::<BeginAuthHandshakeResponse>,
    stable::<CompleteAuthHandshakeRequest>,
    stable::<CompleteAuthHandshakeResponse>,
    stable::<UploadHeartbeatRequest>,
    stable::<UploadInventoryRequest>,
    stable::<CreateEnrollmentCodeRequest>,
    stable::<ListEnrollmentCodesRequest>,
    stable::<RevokeEnrollmentCodeRequest>,
    stable::<ListAgentsRequest>,
    stable::<ConfirmAgentRequest>,
    stable::<RejectAgentRequest>,
    stable::<RevokeAgentRequest>,
    stable::<ServerKeys>,
];

/// A frame of each kind, and requests with all their fields.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let statement = || SignedStatement {
        payload: b"{}".to_vec(),
        signature: vec![1; 64],
        ..Default::default()
    };
    let some = || Some(statement()).into();
    let keys = ServerKeys {
        identity_key: vec![2; 32],
        certificates: vec![statement()],
        ..Default::default()
    };
    let register = RegisterRequest {
        enrollment_token: "boot_x".into(),
        name: "web-1".into(),
        account_id: Some(1),
        keys: vec![RegisteredKey { public_key: vec![3; 32], ..Default::default() }],
        statement: some(),
        version: Some("1.0.0".into()),
        ..Default::default()
    };
    let begun = BeginAuthHandshakeResponse {
        challenge: vec![4; 32],
        server_keys: Some(keys.clone()).into(),
        ..Default::default()
    };
    let report = UploadInventoryRequest {
        subsystem: "system".into(),
        report: b"{}".to_vec(),
        duration_ms: 12,
        ..Default::default()
    };
    let mut seeds: Vec<Vec<u8>> = one_of_each().into_iter().map(|frame| seed(0, &frame)).collect();
    let down = |frame| ControlStreamResponse { frame: Some(frame), ..Default::default() };
    let command = Command { envelope: some(), certificate: some(), ..Default::default() };
    let ack = ResultAck { envelope: some(), certificate: some(), ..Default::default() };
    let cancel = Cancel { envelope: some(), certificate: some(), ..Default::default() };
    let config = Config { envelope: some(), document: b"{}".to_vec(), ..Default::default() };
    let goaway = Goaway { delay_ms: 9, reason: "revoked".into(), ..Default::default() };
    seeds.extend([
        seed(1, &down(command.into())),
        seed(1, &down(ack.into())),
        seed(1, &down(cancel.into())),
        seed(1, &down(config.into())),
        seed(1, &down(goaway.into())),
        seed(2, &register),
        seed(5, &begun),
        seed(9, &report),
        seed(17, &keys),
    ]);
    seeds
}

fn seed(selector: u8, message: &impl Message) -> Vec<u8> {
    [vec![selector], message.encode_to_vec()].concat()
}

/// One frame of each kind that an agent sends.
pub(super) fn one_of_each() -> Vec<ControlStreamRequest> {
    let up = |frame| ControlStreamRequest { frame: Some(frame), ..Default::default() };
    let statement =
        SignedStatement { payload: b"{}".to_vec(), signature: vec![1; 64], ..Default::default() };
    let id = || "c-1".to_owned();
    vec![
        up(Hello { statement: Some(statement.clone()).into(), ..Default::default() }.into()),
        up(Heartbeat { sent_at: "2026-11-22T08:00:00Z".into(), ..Default::default() }.into()),
        up(Ack { command_id: id(), error: "x".into(), ..Default::default() }.into()),
        up(CommandResult {
            command_id: id(),
            outcome: "succeeded".into(),
            payload: b"{}".to_vec(),
            receipt: Some(statement).into(),
            ..Default::default()
        }
        .into()),
        up(Renew { session_token: "a.b.c".into(), proof: "d.e.f".into(), ..Default::default() }
            .into()),
    ]
}

pub(super) fn check(input: &[u8]) {
    let Some((selector, bytes)) = input.split_first() else { return };
    MESSAGES[usize::from(*selector) % MESSAGES.len()](bytes);
}
