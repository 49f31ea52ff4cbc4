//! One statement of each purpose with the least and the most that it can say, and what must be
//! refused in its place.

use argosy_domain::{
    chain::ChainPosition, command::CommandSeq, configuration::Generation, digest::Sha256,
};
use argosy_domain::{id::AccountId, time::Timestamp};
use argosy_wire::{
    bytes::{Bytes32, Fixed, encode},
    sign::{Purpose, Signed, Statement, pae, sign_payload, thumbprint},
    statement::{
        AuditCheckpoint, CancelStatement, ChallengeStatement, CommandStatement, ConfigStatement,
        EnrolmentReceipt, EnrolmentStatement, HandshakeStatement, HelloStatement, KeyCertificate,
        KeyRotation, ReceiptStatement, ResultAckStatement, ServerPin, Successor, digest,
    },
};
use serde_json::{Value, json};

use crate::{
    keys::{
        AGENT_DEVICE, AGENT_IDENTITY, AGENT_SUCCESSOR, SERVER_AUDIT, SERVER_COMMAND,
        SERVER_IDENTITY, SERVER_SUCCESSOR, STRANGER, VectorKey,
    },
    refused,
};

/// A text that JSON has to escape, or must not.
pub(crate) const HARD_TEXT: &str = "Büro „7“ \u{1f5a5} \"\\/\u{1}\u{7f}\u{2028}\t";
/// 2026-01-31T08:00:00Z and some microseconds.
const AT: i64 = 1_769_846_400_000_042;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(AT + seconds * 1_000_000)
}

pub(crate) fn server() -> Bytes32 {
    thumbprint(&SERVER_IDENTITY.public())
}

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

pub(crate) fn enrolment() -> EnrolmentStatement {
    EnrolmentStatement {
        server: ServerPin::Pinned(server()),
        token_id: id("019c1305-8c00-7000-8000-000000000001"),
        name: "build-7".into(),
        account_id: AccountId(1),
        identity_key: AGENT_IDENTITY.public(),
        encryption_key: Fixed([0x42; 32]),
        device_signing_key: Some(AGENT_DEVICE.public()),
        machine_id: Some(Fixed([0x43; 32])),
        hostname: HARD_TEXT.into(),
        platform: "linux-amd64".into(),
        version: "0.1.0".into(),
        release_root_sha256: Some(Fixed([0x44; 32])),
        nonce: Fixed([0x45; 32]),
    }
}

fn handshake() -> HandshakeStatement {
    HandshakeStatement {
        server: server(),
        agent: id("019c1305-8c00-7000-8000-00000000000a"),
        challenge: Fixed([0x51; 32]),
        machine_id: Some(Fixed([0x43; 32])),
        version: "0.1.0".into(),
        continuation: Some(Fixed([0x52; 32])),
        nonce: Some("5d0c3c4e-0000-4000-8000-000000000001:1769846400:c2ln".into()),
    }
}

fn command() -> CommandStatement {
    CommandStatement {
        server: server(),
        org: id("default"),
        agent: handshake().agent,
        command_id: id("019c1305-8c00-7000-8000-0000000000c1"),
        kind: "subsystem.run".into(),
        params_sha256: digest(Sha256::of(br#"{"subsystem":"system"}"#)),
        sequence: CommandSeq(9_007_199_254_740_993),
        not_before: at(0),
        expires_at: at(86_400),
        server_time: at(0),
    }
}

fn receipt() -> ReceiptStatement {
    ReceiptStatement {
        agent: handshake().agent,
        command_id: command().command_id,
        params_sha256: command().params_sha256,
        outcome: "succeeded".into(),
        result_sha256: digest(Sha256::of(b"{}")),
        policy_sha256: digest(Sha256::of(b"")),
        started_at: Some(at(1)),
        ended_at: at(2),
        boot_id: "3f2b1c9e-0000-4000-8000-000000000001".into(),
        journal_id: id("019c1305-8c00-7000-8000-00000000001f"),
    }
}

/// The document of a purpose. A new purpose is a new arm here.
pub(crate) fn document(purpose: Purpose) -> Value {
    match purpose {
        Purpose::KeyCertificate => of(&SERVER_IDENTITY, &[key_certificate()]),
        Purpose::Enrolment => enrolment_document(),
        Purpose::EnrolmentReceipt => of(&SERVER_IDENTITY, &[enrolment_receipt()]),
        Purpose::Challenge => of(&SERVER_COMMAND, &[challenge()]),
        Purpose::Handshake => {
            let least = HandshakeStatement {
                machine_id: None,
                continuation: None,
                nonce: None,
                ..handshake()
            };
            of(&AGENT_IDENTITY, &[handshake(), least])
        }
        Purpose::Hello => of(&AGENT_IDENTITY, &[hello()]),
        Purpose::Command => of(&SERVER_COMMAND, &[command()]),
        Purpose::Receipt => {
            let least =
                ReceiptStatement { started_at: None, outcome: "rejected".into(), ..receipt() };
            of(&AGENT_IDENTITY, &[receipt(), least])
        }
        Purpose::ResultAck => of(&SERVER_COMMAND, &[result_ack()]),
        Purpose::AuditCheckpoint => of(&SERVER_AUDIT, &[audit_checkpoint()]),
        Purpose::Successor => cosigned(&SERVER_IDENTITY, &SERVER_SUCCESSOR, &successor()),
        Purpose::Cancel => of(&SERVER_COMMAND, &[cancel()]),
        Purpose::Config => of(&SERVER_COMMAND, &[config()]),
        Purpose::KeyRotation => cosigned(&AGENT_IDENTITY, &AGENT_SUCCESSOR, &key_rotation()),
    }
}

fn key_certificate() -> KeyCertificate {
    KeyCertificate {
        server: server(),
        usage: "command".into(),
        public_key: SERVER_COMMAND.public(),
        serial: 1,
        not_before: at(-3_600),
        not_after: at(90 * 86_400),
    }
}

fn enrolment_receipt() -> EnrolmentReceipt {
    EnrolmentReceipt {
        server: server(),
        agent_id: handshake().agent,
        enrolment_sha256: digest(Sha256::of(&enrolment().to_payload())),
        status: "pending_approval".into(),
        time: at(0),
    }
}

fn challenge() -> ChallengeStatement {
    ChallengeStatement {
        server: server(),
        agent: handshake().agent,
        agent_nonce: Fixed([0x50; 32]),
        challenge: handshake().challenge,
        server_time: at(0),
    }
}

fn hello() -> HelloStatement {
    HelloStatement {
        agent: handshake().agent,
        session_sha256: digest(Sha256::of(b"header.payload.signature")),
        journal_id: receipt().journal_id,
        high_water: CommandSeq(0),
    }
}

fn cancel() -> CancelStatement {
    CancelStatement {
        server: server(),
        org: id("default"),
        agent: handshake().agent,
        command_id: command().command_id,
        kind: command().kind,
        params_sha256: command().params_sha256,
        sequence: command().sequence,
        server_time: at(1),
    }
}

fn config() -> ConfigStatement {
    ConfigStatement {
        server: server(),
        org: id("default"),
        agent: handshake().agent,
        generation: Generation(3),
        document_sha256: digest(Sha256::of(br#"{"subsystems":{}}"#)),
        server_time: at(0),
    }
}

fn result_ack() -> ResultAckStatement {
    ResultAckStatement {
        server: server(),
        agent: handshake().agent,
        command_id: command().command_id,
        result_sha256: receipt().result_sha256,
    }
}

fn audit_checkpoint() -> AuditCheckpoint {
    AuditCheckpoint {
        server: server(),
        org: id("default"),
        position: ChainPosition(1_000),
        link: digest(Sha256::of(b"the last link")),
        time: at(0),
    }
}

fn successor() -> Successor {
    Successor {
        server: server(),
        identity_key: SERVER_IDENTITY.public(),
        successor: SERVER_SUCCESSOR.public(),
        serial: 2,
        time: at(0),
    }
}

fn key_rotation() -> KeyRotation {
    KeyRotation {
        server: server(),
        agent: handshake().agent,
        identity_key: AGENT_IDENTITY.public(),
        successor: AGENT_SUCCESSOR.public(),
        serial: 2,
    }
}

/// What two keys sign also has the second signature, and the key that made it.
fn cosigned<S: Statement>(old: &VectorKey, new: &VectorKey, statement: &S) -> Value {
    let mut document = of(old, std::slice::from_ref(statement));
    let signature = sign_payload(&new.signer(), S::PURPOSE, &statement.to_payload());
    document["successor_key"] = new.name.into();
    document["successor_public_key"] = new.public().to_string().into();
    document["accepted"][0]["successor_signature"] = signature.to_string().into();
    document
}

/// Enrolment statements also have a fingerprint, and may name no server.
fn enrolment_document() -> Value {
    let least = EnrolmentStatement {
        server: ServerPin::Tofu,
        device_signing_key: None,
        machine_id: None,
        release_root_sha256: None,
        ..enrolment()
    };
    let statements = [enrolment(), least];
    let mut document = of(&AGENT_IDENTITY, &statements);
    for (case, statement) in statements.iter().enumerate() {
        let fingerprint = EnrolmentStatement::fingerprint(&statement.to_payload());
        document["accepted"][case]["fingerprint"] = fingerprint.to_string().into();
    }
    document
}

fn of<S: Statement>(key: &VectorKey, statements: &[S]) -> Value {
    let accepted: Vec<Value> = statements
        .iter()
        .map(|statement| {
            let signed = Signed::new(&key.signer(), statement);
            let text = String::from_utf8(signed.payload.clone()).unwrap();
            json!({
                "fields": serde_json::to_value(statement).unwrap(),
                "payload_text": text,
                "payload": encode(&signed.payload),
                "pae_hex": hex::encode(pae(S::PURPOSE, &signed.payload)),
                "signature": signed.signature.to_string(),
            })
        })
        .collect();
    let payload = statements[0].to_payload();
    json!({
        "purpose": S::PURPOSE.as_str(),
        "payload_type": format!("application/vnd.argosy.{}.v1+json", S::PURPOSE.as_str()),
        "key": key.name,
        "public_key": key.public().to_string(),
        "accepted": accepted,
        "refused": refusals(key, S::PURPOSE, &payload),
    })
}

fn refusals(key: &VectorKey, purpose: Purpose, payload: &[u8]) -> Vec<Value> {
    let case = |why: &str, cause: &str, payload: &[u8], signature: Fixed<64>| {
        json!({
            "why": why,
            "refused_for": cause,
            "payload": encode(payload),
            "signature": signature.to_string(),
        })
    };
    let good = sign_payload(&key.signer(), purpose, payload);
    let stranger = sign_payload(&STRANGER.signer(), purpose, payload);
    let mut cases: Vec<Value> = Purpose::ALL
        .into_iter()
        .filter(|other| *other != purpose)
        .map(|other| {
            let signature = sign_payload(&key.signer(), other, payload);
            case(&format!("signed as {}", other.as_str()), "signature", payload, signature)
        })
        .collect();
    let bare = refused::without_encoding(&key.signer(), payload);
    cases.push(case("signed without its payload type", "signature", payload, bare));
    cases.push(case("signed with another key", "signature", payload, stranger));
    cases.push(case("one bit of S flipped", "signature", payload, refused::flip_bit(good, 32)));
    cases.push(case("one bit of R flipped", "signature", payload, refused::flip_bit(good, 0)));
    cases.push(case(
        "S plus the order of the group",
        "signature",
        payload,
        refused::plus_order(good),
    ));
    for (why, changed) in refused::changed_after_signing(payload) {
        cases.push(case(why, "signature", &changed, good));
    }
    for (why, other) in refused::other_bytes(payload) {
        let signature = sign_payload(&key.signer(), purpose, &other);
        cases.push(case(&why, "statement", &other, signature));
    }
    cases
}
