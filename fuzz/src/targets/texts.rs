//! Texts with a form of their own: tokens, proofs of tokens, API keys, identifiers, cursors,
//! times, addresses, and the host's policy.

use std::{fmt::Display, str::FromStr};

use argosy_agent::server_url::ServerUrl;
use argosy_domain::{
    command::{CommandKind, CommandParams},
    id::{AgentId, KeyId, OrgId},
    policy::Policy,
    subsystem::Subsystem,
    time::Timestamp,
    version::Version,
};
use argosy_store::Cursor;
use argosy_wire::{
    bytes::{Bytes32, Fixed, decode, encode},
    token::{ApiKeyString, TokenProof, TokenString},
};

use crate::seeds::vectors;

/// Every text of the vectors of tokens, and one of each other form.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    for file in ["enrolment-token.json", "machine-id.json", "keys.json"] {
        collect(&vectors(file), &mut texts);
    }
    let key = encode(&[5; 32]);
    texts.extend([
        format!("argosy_0195-a_b_{key}"),
        format!("agent_k1_{key}"),
        "2026-11-22T08:00:00.000001Z".to_owned(),
        "1.2.3-rc.1+build".to_owned(),
        "https://fleet.example:8443".to_owned(),
        "http://[::1]:80/".to_owned(),
        "1763798400000000.019c1305-8c00-7000-8000-00000000000a".to_owned(),
        encode(&[3; 64]),
        format!(" agent_k1_{key}"),
        format!("bootproof_t1_{key}\n"),
        format!(" boot_t1_{key}.{} ", encode(&[6; 32])),
    ]);
    texts.into_iter().map(String::into_bytes).collect()
}

fn collect(value: &serde_json::Value, texts: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => texts.push(text.clone()),
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        serde_json::Value::Object(map) => map.values().for_each(|item| collect(item, texts)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

/// What is read from a text writes itself as that text.
fn exact<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text, "read and written otherwise");
    }
}

/// What is read writes itself in a form that reads as the same.
fn stable<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let written = value.to_string();
        let again = written.parse::<T>().map(|again| again.to_string());
        assert_eq!(again.ok().as_ref(), Some(&written), "{text:?} is not stable");
    }
}

/// The secret part does not show, unless somebody has put it into the public part.
fn hides(value: &impl std::fmt::Debug, public: &str, secret: &[u8; 32]) {
    let (shown, secret) = (format!("{value:?}"), encode(secret));
    assert!(!shown.contains(&secret) || public.contains(&secret), "a secret shows");
}

pub(super) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(token) = TokenString::parse(text) {
        assert_eq!(token.reveal(), text.trim());
        hides(&token, token.id.as_str(), token.secret.expose());
    }
    if let Ok(proof) = TokenProof::parse(text) {
        assert_eq!(proof.to_text(), text);
    }
    if let Ok(key) = ApiKeyString::parse(text) {
        assert_eq!(key.reveal(), text);
        hides(&key, key.id.as_str(), key.secret.expose());
    }
    if let Ok(bytes) = decode(text) {
        assert_eq!(encode(&bytes), text, "two texts for the same bytes");
    }
    exact::<Bytes32>(text);
    exact::<Fixed<64>>(text);
    exact::<AgentId>(text);
    exact::<OrgId>(text);
    exact::<KeyId>(text);
    stable::<Timestamp>(text);
    stable::<Version>(text);
    stable::<ServerUrl>(text);
    if let Ok(cursor) = Cursor::parse(text) {
        assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
    }
}

/// Policies as owners write them, and misspelt ones.
pub(super) fn policy_seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 6] = [
        b"",
        b"[commands]\nallow = [\"subsystem.run\"]\n",
        b"[commands]\nallow = []\n\n[subsystems]\nallow = [\"system\", \"storage\"]\n",
        b"subsystems.allow = [\"updates\", \"subsystem.run\"]",
        b"[command]\nallow = [\"subsystem.run\"]\n",
        b"# nothing\n[commands]\nallow = [\"agent.restart\", \"subsystem.run\"] # two\n",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}

/// A policy allows what it lists, and nothing else.
pub(super) fn policy(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(policy) = Policy::parse(text) else { return };
    let lists = |list: &[String], name: &str| list.iter().any(|listed| listed == name);
    for subsystem in Subsystem::ALL {
        let listed = lists(&policy.subsystems.allow, subsystem.as_str());
        assert_eq!(policy.allows_subsystem(subsystem).is_ok(), listed, "{subsystem:?}");
        let json = format!(r#"{{"subsystem":"{}"}}"#, subsystem.as_str());
        for kind in CommandKind::ALL {
            let Ok(params) = CommandParams::parse(kind, json.as_bytes()) else { continue };
            let both = listed && lists(&policy.commands.allow, kind.as_str());
            assert_eq!(policy.allows(&params).is_ok(), both, "{kind:?} {subsystem:?}");
        }
    }
}
