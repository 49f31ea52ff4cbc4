//! JSON of the REST interface: bodies and answers, problems, reports, exports of the audit log.

use std::{collections::HashSet, sync::OnceLock};

use argosy_agent::packages::Request as PackageRequest;
use argosy_wire::{
    audit::AuditVerifier,
    bytes::Bytes32,
    problem::Problem,
    report::{SubsystemReport, TEXT_CHARS_MAX},
    rest::{
        agents::{Approve, Heartbeat, HeartbeatAnswer, UpdateAgent, WithReason},
        commands::{CreateCommand, Receipt},
        discovery::Ingest,
        enrolment::{
            BeginHandshake, Challenge, CompleteHandshake, Register, Registered, ServerKeys, Session,
        },
        keys::CreateKey,
        server_keys::RotateKeys,
        tokens::CreateToken,
        updates::{ApproveUpdates, InstallUpdates},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::seeds::{cases, vectors};

/// What is read and written is read again as the same.
fn stable<T: Serialize + DeserializeOwned>(json: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(json) {
        let written = serde_json::to_value(&value).unwrap();
        let again: T = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), written);
    }
}

/// Every shape that a network brings, in the order that the first byte of an input names.
const SHAPES: &[fn(&[u8])] = &[
    stable::<Register>,
    stable::<BeginHandshake>,
    stable::<CompleteHandshake>,
    stable::<Heartbeat>,
    stable::<Ingest>,
    stable::<Approve>,
    stable::<WithReason>,
    stable::<UpdateAgent>,
    stable::<CreateToken>,
    stable::<CreateKey>,
    stable::<CreateCommand>,
    stable::<RotateKeys>,
    stable::<Problem>,
    stable::<Registered>,
    stable::<Challenge>,
    stable::<Session>,
    stable::<ServerKeys>,
    stable::<Receipt>,
    stable::<HeartbeatAnswer>,
    stable::<ApproveUpdates>,
    stable::<InstallUpdates>,
    stable::<PackageRequest>,
];

/// One body of each shape, and JSON as deep as a decoder must survive.
pub(super) fn body_seeds() -> Vec<Vec<u8>> {
    let time = "2026-11-22T08:00:00Z";
    let bodies = [
        json!({ "name": "web-1", "bootstrap_token": "boot_x", "account_id": 1, "statement": "e30",
                "keys": [{ "use": "identity", "public_key": "AA", "proof": "AA" }] }),
        json!({ "api_key": "agent_x", "identity_key": "AA", "agent_nonce": "AA" }),
        json!({ "agent_id": "a", "challenge": "AA", "signature": "AA", "version": "1.0.0" }),
        json!({ "agent_id": "a", "account_id": 1, "version": "1.0.0", "hostname": "h" }),
        json!({ "resources": [{ "provider": "aws", "resource_type": "vpc", "resource_id": "v" }] }),
        json!({ "fingerprint": "0000 0000 0000 0000 0000 0000 0000 0000" }),
        json!({ "reason": "lost" }),
        json!({ "name": "n", "labels": { "a": "b" } }),
        json!({ "name": "t", "max_uses": 1, "expires_in": "24h", "labels": {} }),
        json!({ "name": "k", "scopes": ["agents:read"], "expires_in_days": 30 }),
        json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } }),
        json!({ "use": "command" }),
        json!({ "type": "urn:argosy:problem:invalid", "title": "t", "status": 422, "detail": "d",
                "error": "d", "code": "invalid", "trace_id": "x",
                "errors": [{ "field": "a", "message": "b" }] }),
        json!({ "agent_id": "a", "approval_status": "approved", "message": "m" }),
        json!({ "challenge": "AA", "server_time": time, "expires_at": time, "statement": "e30",
                "signature": "AA", "server_keys": { "identity_key": "AA", "thumbprint": "AA",
                "certificates": [{ "payload": "e30", "signature": "AA" }] } }),
        json!({ "session_token": "a.b.c", "expires_at": time, "continuation": "AA",
                "dpop_nonce": "AA" }),
    ];
    let body = |(shape, body): (u8, Value)| [vec![shape], body.to_string().into_bytes()].concat();
    let mut seeds: Vec<Vec<u8>> = (0..).zip(bodies).map(body).collect();
    let deep = "{\"a\":[".repeat(5_000);
    seeds.push([vec![10], format!("{{\"kind\":\"k\",\"params\":{deep}").into_bytes()].concat());
    seeds
}

pub(super) fn body(input: &[u8]) {
    let Some((shape, json)) = input.split_first() else { return };
    SHAPES[usize::from(*shape) % SHAPES.len()](json);
}

/// Reports of the subsystems.
pub(super) fn report_seeds() -> Vec<Vec<u8>> {
    let system = json!({ "subsystem": "system", "hostname": "h", "os": { "name": "Debian",
        "version": "12", "arch": "x86_64" }, "kernel": "6.1", "uptime_s": 1, "cpu": { "model": "",
        "cores": 2, "usage_percent": 1.5 }, "memory": { "total_bytes": 2, "used_bytes": 1,
        "available_bytes": 1, "swap_total_bytes": 0, "swap_used_bytes": 0 }, "load": {
        "load_1m": 0.1, "load_5m": 0.2, "load_15m": 0.3 }, "processes": { "count": 1,
        "top_by_memory": [{ "name": "p", "pid": 1, "memory_bytes": 1, "cpu_usage_percent": 0.0 }] },
        "reboot_required": null, "reboot_packages": ["linux"] });
    let storage = json!({ "subsystem": "storage", "mounts": [{ "mount_point": "/", "device": "d",
        "fs": "ext4", "total_bytes": 1, "used_bytes": 1, "free_bytes": 0, "used_percent": 99.9,
        "level": "critical", "read_only": false }], "unreadable": [{ "mount_point": "/x",
        "reason": "no" }], "truncated": false });
    let updates = json!({ "subsystem": "updates", "manager": "apt", "pending": 1,
        "security_pending": 1, "packages": [{ "name": "a", "architecture": "amd64", "current": "1",
        "available": "2", "security": true, "repository": "main" }], "truncated": false,
        "refreshed_at": "2026-11-22T08:00:00Z" });
    let containers = json!({ "subsystem": "containers", "engine": { "name": "docker", "version": "29",
        "socket": "/run/docker.sock" }, "running": 1, "total": 1, "unhealthy": 1, "containers": [{
        "id": "9cd87474be90", "name": "web", "image": "nginx", "state": "running", "status": "Up",
        "health": "unhealthy", "created_at": "2026-11-22T08:00:00Z", "ports": [{ "private": 80,
        "public": 8080, "address": "::", "protocol": "tcp" }], "compose_project": "shop",
        "compose_service": "web" }], "images_total": 1, "images": [{ "id": "e216a057b1cb",
        "tags": ["nginx:1"], "size_bytes": 1, "created_at": null }], "truncated": false });
    let mut seeds = Vec::new();
    for report in [system, storage, updates, containers] {
        seeds.extend(stretched(&report).iter().map(|report| report.to_string().into_bytes()));
        seeds.push(report.to_string().into_bytes());
    }
    seeds
}

/// The value once for each text in it, with that text longer than any may be.
fn stretched(value: &Value) -> Vec<Value> {
    match value {
        Value::String(_) => vec![Value::String("x".repeat(TEXT_CHARS_MAX + 1))],
        Value::Array(items) => {
            let mut longer = Vec::new();
            for (i, item) in items.iter().enumerate() {
                longer.extend(stretched(item).into_iter().map(|stretched| {
                    let mut items = items.clone();
                    items[i] = stretched;
                    Value::Array(items)
                }));
            }
            longer
        }
        Value::Object(map) => {
            let mut longer = Vec::new();
            for (name, item) in map {
                longer.extend(stretched(item).into_iter().map(|stretched| {
                    let mut map = map.clone();
                    map.insert(name.clone(), stretched);
                    Value::Object(map)
                }));
            }
            longer
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// A report that passes its check writes itself back and is as small as the check promises.
pub(super) fn report(input: &[u8]) {
    let Ok(report) = serde_json::from_slice::<SubsystemReport>(input) else { return };
    if report.check().is_err() {
        return;
    }
    let written = serde_json::to_value(&report).unwrap();
    // A number without a finite value is written as null, which no longer reads as a number.
    if let Ok(again) = serde_json::from_value::<SubsystemReport>(written.clone()) {
        assert_eq!(serde_json::to_value(again).unwrap(), written);
    }
    bounded(&written);
}

fn bounded(value: &Value) {
    match value {
        Value::String(text) => assert!(text.chars().count() <= TEXT_CHARS_MAX, "a long text"),
        Value::Array(items) => items.iter().for_each(bounded),
        Value::Object(map) => map.values().for_each(bounded),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn exports(list: &str) -> Vec<(Value, Vec<u8>)> {
    let lines = |case: Value| {
        let lines: Vec<&str> =
            case["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let text = lines.join("\n").into_bytes();
        (case, text)
    };
    cases(&vectors("audit-export.json"), list).into_iter().map(lines).collect()
}

/// Exports of the vectors, whole and tampered with.
pub(super) fn export_seeds() -> Vec<Vec<u8>> {
    [exports("accepted"), exports("refused")].concat().into_iter().map(|(_, text)| text).collect()
}

/// What passes against the pin ends in a link that the pinned server signed.
pub(super) fn export(input: &[u8]) {
    static SIGNED: OnceLock<(Bytes32, HashSet<String>)> = OnceLock::new();
    let (pin, links) = SIGNED.get_or_init(|| {
        let accepted = exports("accepted");
        let pin = accepted[0].0["pin"].as_str().unwrap().parse().unwrap();
        let link = |(case, _): &(Value, _)| case["link"].as_str().unwrap().to_owned();
        (pin, accepted.iter().map(link).collect())
    });
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut verifier = AuditVerifier::new(Some(*pin));
    if text.split('\n').any(|line| verifier.line(line).is_err()) {
        return;
    }
    if let Ok(verified) = verifier.finish() {
        let link = argosy_wire::bytes::encode(&verified.head.link.0);
        assert!(links.contains(&link), "an export that nobody signed was accepted");
    }
}
