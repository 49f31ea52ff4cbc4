//! Signed statements: canonical JSON under one purpose, and the signature around it.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Debug,
    sync::OnceLock,
};

use argosy_wire::{
    bytes::{Bytes32, Fixed},
    sign::{InvalidSigned, Purpose, Signed, Statement, read, sign_payload, verify_payload},
    statement::{
        AuditCheckpoint, CancelStatement, ChallengeStatement, CommandStatement, ConfigStatement,
        EnrolmentReceipt, EnrolmentStatement, HandshakeStatement, HelloStatement, KeyCertificate,
        KeyRotation, ReceiptStatement, ResultAckStatement, Successor,
    },
};
use ed25519_dalek::SigningKey;

use crate::seeds::{bytes, cases, vectors};

/// Every purpose by its place in the list, which the first byte of an input names.
fn purposes() -> impl Iterator<Item = (u8, Purpose)> {
    (0..).zip(Purpose::ALL)
}

fn purpose(selector: u8) -> Purpose {
    Purpose::ALL[usize::from(selector) % Purpose::ALL.len()]
}

fn statement_vectors(purpose: Purpose) -> serde_json::Value {
    vectors(&format!("statement.{}.json", purpose.as_str()))
}

/// A purpose, then a payload, of every vector.
pub(super) fn statement_seeds() -> Vec<Vec<u8>> {
    let of = |(selector, purpose)| {
        let file = statement_vectors(purpose);
        let all = [cases(&file, "accepted"), cases(&file, "refused")].concat();
        let payloads = all.iter().filter_map(|case| bytes(case, "payload")).collect::<Vec<_>>();
        payloads.into_iter().map(move |payload| [vec![selector], payload].concat())
    };
    purposes().flat_map(of).collect()
}

/// A payload that is genuinely signed, whatever it is.
pub(super) fn statement(input: &[u8]) {
    let Some((selector, payload)) = input.split_first() else { return };
    match purpose(*selector) {
        Purpose::KeyCertificate => holds::<KeyCertificate>(payload),
        Purpose::Enrolment => holds::<EnrolmentStatement>(payload),
        Purpose::EnrolmentReceipt => holds::<EnrolmentReceipt>(payload),
        Purpose::Challenge => holds::<ChallengeStatement>(payload),
        Purpose::Handshake => holds::<HandshakeStatement>(payload),
        Purpose::Hello => holds::<HelloStatement>(payload),
        Purpose::Command => holds::<CommandStatement>(payload),
        Purpose::Receipt => holds::<ReceiptStatement>(payload),
        Purpose::ResultAck => holds::<ResultAckStatement>(payload),
        Purpose::AuditCheckpoint => holds::<AuditCheckpoint>(payload),
        Purpose::Successor => holds::<Successor>(payload),
        Purpose::KeyRotation => holds::<KeyRotation>(payload),
        Purpose::Cancel => holds::<CancelStatement>(payload),
        Purpose::Config => holds::<ConfigStatement>(payload),
    }
}

fn holds<S: Statement + PartialEq + Debug>(payload: &[u8]) {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public: Bytes32 = Fixed(key.verifying_key().to_bytes());
    let (signature, content) = (sign_payload(&key, S::PURPOSE, payload), read::<S>(payload));
    let signed = Signed { payload: payload.to_vec(), signature };
    assert_eq!(signed.verify::<S>(&public), content, "verifying changes what is read");
    let other = Purpose::ALL.into_iter().find(|other| *other != S::PURPOSE).unwrap();
    assert!(verify_payload(&public, other, payload, &signature).is_err(), "one purpose only");
    let Ok(statement) = content else { return };
    assert_eq!(statement.to_payload(), payload, "what was read writes itself otherwise");
    let flat: BTreeMap<String, String> = serde_json::from_slice(payload).unwrap();
    assert!(flat.keys().all(|key| key.is_ascii()), "a key that is not ASCII");
    let mut turned = signed;
    let at = usize::from(turned.signature.0[0]) % payload.len();
    turned.payload[at] ^= 1 << (turned.signature.0[1] % 8);
    assert_eq!(turned.verify::<S>(&public), Err(InvalidSigned::Signature), "a bit was turned");
}

const KEY: usize = 32;
const SIGNATURE: usize = 64;

fn envelope_of(selector: u8, key: &[u8], case: &serde_json::Value) -> Option<Vec<u8>> {
    let (payload, signature) = (bytes(case, "payload")?, bytes(case, "signature")?);
    Some([&[selector], key, &signature, &payload].concat())
}

fn envelopes(list: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for (selector, purpose) in purposes() {
        let file = statement_vectors(purpose);
        let key = bytes(&file, "public_key").unwrap();
        let cases = cases(&file, list);
        found.extend(cases.iter().filter_map(|case| envelope_of(selector, &key, case)));
    }
    let file = vectors("signatures.json");
    let (selector, _) =
        purposes().find(|(_, purpose)| file["purpose"].as_str() == Some(purpose.as_str())).unwrap();
    let own = |case: &_| envelope_of(selector, &bytes(case, "public_key")?, case);
    found.extend(cases(&file, list).iter().filter_map(own));
    found
}

/// A purpose, a key, a signature and a payload, of every vector.
pub(super) fn envelope_seeds() -> Vec<Vec<u8>> {
    [envelopes("accepted"), envelopes("refused")].concat()
}

/// Nothing verifies but what the vectors' keys signed: nobody can make another by changing one.
pub(super) fn envelope(input: &[u8]) {
    static GENUINE: OnceLock<HashSet<Vec<u8>>> = OnceLock::new();
    let Some((selector, rest)) = input.split_first() else { return };
    let Some((key, rest)) = rest.split_first_chunk::<KEY>() else { return };
    let Some((signature, payload)) = rest.split_first_chunk::<SIGNATURE>() else { return };
    let purpose = purpose(*selector);
    if verify_payload(&Fixed(*key), purpose, payload, &Fixed(*signature)).is_ok() {
        let genuine = GENUINE.get_or_init(|| {
            // A payload that is refused for its form was signed all the same.
            let all = envelope_seeds().into_iter();
            all.filter(|seed| {
                let (selector, rest) = seed.split_first().unwrap();
                let (key, rest) = rest.split_first_chunk::<KEY>().unwrap();
                let (signature, payload) = rest.split_first_chunk::<SIGNATURE>().unwrap();
                let purpose = Purpose::ALL[usize::from(*selector)];
                verify_payload(&Fixed(*key), purpose, payload, &Fixed(*signature)).is_ok()
            })
            .collect()
        });
        let (selector, _) = purposes().find(|(_, known)| *known == purpose).unwrap();
        let canonical = [&[selector], &input[1..]].concat();
        assert!(genuine.contains(&canonical), "a forged signature was accepted");
    }
}
