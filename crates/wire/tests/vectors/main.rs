//! The test vectors in `proto/vectors/` are what this crate makes from public seeds, and what it
//! accepts and refuses.
//!
//! After a change of the protocol: `ARGOSY_REGENERATE=1 cargo test -p argosy-wire --test vectors`.
//! The check that owes nothing to this crate is `e2e/python/check_vectors.py`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod dpop;
mod enrolment;
mod keys;
mod refused;
mod signatures;
mod statements;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use argosy_wire::{
    bytes::{Bytes32, Fixed, decode},
    sign::{InvalidSigned, Purpose, Signed, Statement, pae, verify_payload},
    statement::{
        AuditCheckpoint, CancelStatement, ChallengeStatement, CommandStatement, ConfigStatement,
        EnrolmentReceipt, EnrolmentStatement, HandshakeStatement, HelloStatement, KeyCertificate,
        KeyRotation, ReceiptStatement, ResultAckStatement, Successor,
    },
    token::{Secret32, TokenProof, TokenString},
};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/vectors")
}

/// Every file of vectors, as this crate makes it.
fn fresh() -> BTreeMap<String, Value> {
    let mut files = BTreeMap::from([
        ("keys.json".to_owned(), keys::document()),
        ("signatures.json".to_owned(), signatures::document()),
        ("enrolment-token.json".to_owned(), enrolment::tokens()),
        ("machine-id.json".to_owned(), enrolment::machine_ids()),
        ("dpop.json".to_owned(), dpop::document()),
        ("audit-export.json".to_owned(), audit::document()),
    ]);
    for purpose in Purpose::ALL {
        files.insert(statement_file(purpose), statements::document(purpose));
    }
    files
}

fn statement_file(purpose: Purpose) -> String {
    format!("statement.{}.json", purpose.as_str())
}

fn committed(name: &str) -> Value {
    let path = folder().join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_str(&text).unwrap()
}

/// The items of a list in a file; a list without items is a mistake.
fn items<'a>(file: &'a Value, list: &str) -> &'a [Value] {
    let items = file[list].as_array().unwrap();
    assert!(!items.is_empty(), "{list} is empty");
    items
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap_or_else(|| panic!("no text {field} in {case}"))
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    decode(text(case, field)).unwrap()
}

fn fixed<const N: usize>(case: &Value, field: &str) -> Fixed<N> {
    text(case, field).parse().unwrap()
}

#[test]
fn the_committed_vectors_are_those_of_the_code() {
    let fresh = fresh();
    if std::env::var_os("ARGOSY_REGENERATE").is_some() {
        fs::create_dir_all(folder()).unwrap();
        for (name, value) in &fresh {
            let text = serde_json::to_string_pretty(value).unwrap();
            fs::write(folder().join(name), text + "\n").unwrap();
        }
    }
    let there: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, fresh.keys().cloned().collect());
    for (name, value) in fresh {
        assert!(committed(&name) == value, "{name} is not what the code makes");
    }
}

#[test]
fn every_purpose_has_vectors_that_hold() {
    for purpose in Purpose::ALL {
        match purpose {
            Purpose::KeyCertificate => check::<KeyCertificate>(),
            Purpose::Enrolment => check::<EnrolmentStatement>(),
            Purpose::EnrolmentReceipt => check::<EnrolmentReceipt>(),
            Purpose::Challenge => check::<ChallengeStatement>(),
            Purpose::Handshake => check::<HandshakeStatement>(),
            Purpose::Hello => check::<HelloStatement>(),
            Purpose::Command => check::<CommandStatement>(),
            Purpose::Receipt => check::<ReceiptStatement>(),
            Purpose::ResultAck => check::<ResultAckStatement>(),
            Purpose::AuditCheckpoint => check::<AuditCheckpoint>(),
            Purpose::Successor => check::<Successor>(),
            Purpose::KeyRotation => check::<KeyRotation>(),
            Purpose::Cancel => check::<CancelStatement>(),
            Purpose::Config => check::<ConfigStatement>(),
        }
    }
}

fn check<S: Statement + PartialEq + std::fmt::Debug>() {
    let file = committed(&statement_file(S::PURPOSE));
    assert_eq!(text(&file, "purpose"), S::PURPOSE.as_str());
    let key: Bytes32 = fixed(&file, "public_key");
    for case in items(&file, "accepted") {
        let meant: S = serde_json::from_value(case["fields"].clone()).unwrap();
        let signed =
            Signed { payload: bytes(case, "payload"), signature: fixed(case, "signature") };
        assert_eq!(signed.payload, text(case, "payload_text").as_bytes());
        assert_eq!(hex::encode(pae(S::PURPOSE, &signed.payload)), text(case, "pae_hex"));
        assert_eq!(meant.to_payload(), signed.payload);
        assert_eq!(signed.verify::<S>(&key), Ok(meant));
        if let Some(shown) = case["fingerprint"].as_str() {
            assert_eq!(EnrolmentStatement::fingerprint(&signed.payload).to_string(), shown);
        }
    }
    for case in items(&file, "refused") {
        let signed =
            Signed { payload: bytes(case, "payload"), signature: fixed(case, "signature") };
        let cause = match signed.verify::<S>(&key) {
            Ok(_) => "nothing",
            Err(InvalidSigned::Signature) => "signature",
            Err(InvalidSigned::Malformed | InvalidSigned::NotCanonical) => "statement",
        };
        assert_eq!(cause, text(case, "refused_for"), "{case}");
    }
}

#[test]
fn signatures_on_which_libraries_differ_are_refused() {
    let file = committed("signatures.json");
    let purpose = Purpose::Handshake;
    assert_eq!(text(&file, "purpose"), purpose.as_str());
    let verify = |case: &Value| {
        let (payload, signature) = (bytes(case, "payload"), fixed(case, "signature"));
        verify_payload(&fixed(case, "public_key"), purpose, &payload, &signature)
    };
    for case in items(&file, "accepted") {
        assert_eq!(verify(case), Ok(()), "{case}");
    }
    for case in items(&file, "refused") {
        assert_eq!(verify(case), Err(InvalidSigned::Signature), "{case}");
    }
    // Without such cases this test would prove nothing about `verify_strict`.
    assert!(items(&file, "refused").iter().any(|case| case["lax_verifiers_accept"] == true));
}

#[test]
fn tokens_and_proofs_are_read_as_the_vectors_say() {
    let file = committed("enrolment-token.json");
    for case in items(&file, "accepted") {
        let token = TokenString::parse(text(case, "token")).unwrap();
        assert_eq!(token.id.as_str(), text(case, "token_id"));
        assert_eq!(token.pin.map(|pin| pin.to_string()).as_deref(), case["pin"].as_str());
        assert_eq!(token.prove(&bytes(case, "enrolment")).to_text(), text(case, "proof"));
        let proof = TokenProof::parse(text(case, "proof")).unwrap();
        let key = Secret32::new(fixed::<32>(case, "proof_key").0);
        assert!(proof.verifies(&key, &bytes(case, "enrolment")), "{case}");
    }
    for case in items(&file, "refused_proofs") {
        let key = Secret32::new(fixed::<32>(case, "proof_key").0);
        let verdict = TokenProof::parse(text(case, "proof"))
            .is_ok_and(|proof| proof.verifies(&key, &bytes(case, "enrolment")));
        assert!(!verdict, "{case}");
    }
    for case in items(&file, "refused_tokens") {
        assert!(TokenString::parse(text(case, "token")).is_err(), "{case}");
    }
}

#[test]
fn audit_exports_are_read_as_the_vectors_say() {
    let file = committed("audit-export.json");
    for case in items(&file, "accepted") {
        let verified = audit::verify(case).unwrap_or_else(|error| panic!("{error}: {case}"));
        assert_eq!(verified.head.position.0, case["position"]);
        assert_eq!(Fixed(verified.head.link.0), fixed::<32>(case, "link"));
        assert_eq!(verified.checkpoints, case["checkpoints"]);
    }
    for case in items(&file, "refused") {
        let refused = audit::verify(case).unwrap_err();
        assert_eq!(refused.line, case["line"], "{refused}: {case}");
        let position = refused.position().map(|position| position.0);
        assert_eq!(position, case["position"].as_u64(), "{refused}: {case}");
    }
}

#[test]
fn dpop_proofs_are_read_as_the_vectors_say() {
    let file = committed("dpop.json");
    for case in items(&file, "accepted") {
        let proof = argosy_wire::dpop::read(text(case, "proof")).unwrap();
        assert_eq!(proof.key, fixed(case, "public_key"));
        assert_eq!(serde_json::to_value(&proof.claims).unwrap(), case["claims"]);
        assert_eq!(proof.claims.ath, argosy_wire::dpop::token_hash(text(case, "session_token")));
    }
    for case in items(&file, "refused") {
        assert!(argosy_wire::dpop::read(text(case, "proof")).is_err(), "{case}");
    }
}
