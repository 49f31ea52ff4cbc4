//! Fleets of any size, put into the store: for pictures, and for how fast pages are with many.

use std::{collections::BTreeMap, time::Duration};

use argosy_domain::{
    agent::{Agent, AgentIdentity, AgentState, Approval, Closure, Decider},
    command::{Command, CommandKind, CommandSeq, CommandState, End, Outcome},
    digest::{Fingerprint, Sha256},
    id::{AccountId, AgentId, OrgId},
    labels::Labels,
    limits::TELEMETRY_SERIES_MAX,
    review::{Appearance, KeyDelivery, Review, ReviewReason},
    subsystem::Subsystem,
    telemetry::{MetricName, Sample},
    time::{Clock as _, Timestamp},
};
use argosy_e2e::server::TestServer;
use argosy_store::{InventoryRow, Store, Tx};

use crate::{packages::put, world::SYSTEM};

const STORAGE: &str = r#"{"subsystem":"storage","mounts":[{"mount_point":"/","device":"/dev/vda1",
"fs":"ext4","total_bytes":107374182400,"used_bytes":68719476736,"free_bytes":38654705664,
"used_percent":64.0,"level":"ok","read_only":false},{"mount_point":"/var/lib/postgresql",
"device":"/dev/vdb","fs":"xfs","total_bytes":536870912000,"used_bytes":490733568000,
"free_bytes":46137344000,"used_percent":91.4,"level":"high","read_only":false}],"unreadable":[],
"truncated":false}"#;
const KINDS: [&str; 5] = ["web", "db", "cache", "build", "edge"];

fn ago(now: Timestamp, s: u64) -> Timestamp {
    now.minus(Duration::from_secs(s))
}

fn name_of(n: usize) -> String {
    format!("{}-{:02}", KINDS[n % KINDS.len()], n / KINDS.len() + 1)
}

fn state(n: usize, now: Timestamp) -> AgentState {
    let by = Decider("user:ada".to_owned());
    let fingerprint = Some(Fingerprint::of(Sha256::of(format!("agent {n}").as_bytes())));
    let approval = Approval { by: by.clone(), at: ago(now, 80_000), fingerprint };
    match n % 40 {
        7 | 23 | 31 => AgentState::Pending { since: ago(now, 600) },
        11 => AgentState::Quarantined {
            approval,
            closure: Closure { by: Decider("server".to_owned()), at: ago(now, 900), reason: None },
        },
        17 => AgentState::Revoked(Closure {
            by,
            at: ago(now, 4_000),
            reason: Some("the machine was sold".to_owned()),
        }),
        _ => AgentState::Approved(approval),
    }
}

fn review(n: usize, now: Timestamp) -> Option<Review> {
    let seen = |source: &str, machine: &str, s| Appearance {
        source: Some(source.to_owned()),
        machine_id: Some(machine.to_owned()),
        version: Some("0.1.0".to_owned()),
        at: ago(now, s),
    };
    let reason = match n % 40 {
        11 => ReviewReason::Clone,
        13 => ReviewReason::MachineMismatch,
        _ => return None,
    };
    let known = Some(seen("192.0.2.17", "known", 86_000));
    Some(Review::of(None, reason, known, seen("198.51.100.4", "other", 900)))
}

fn agent(n: usize, now: Timestamp) -> Agent {
    let digest = Sha256::of(format!("agent {n}").as_bytes());
    let labels = BTreeMap::from([
        ("env".to_owned(), if n.is_multiple_of(3) { "staging" } else { "prod" }.to_owned()),
        ("site".to_owned(), if n.is_multiple_of(2) { "fra1" } else { "ams3" }.to_owned()),
    ]);
    // What waits longer than a day has expired.
    let age_s = if matches!(state(n, now), AgentState::Pending { .. }) { 600 } else { 90_000 };
    Agent {
        id: format!("01a20{n:06x}-7b0e-7c3a-9d70-f4399251{:04x}", n % 65_536).parse().unwrap(),
        org: OrgId::default_org(),
        account: AccountId::DEFAULT,
        name: name_of(n),
        state: state(n, now),
        identity: Some(AgentIdentity {
            identity_key: digest.0,
            encryption_key: Sha256::of(&digest.0).0,
            fingerprint: Fingerprint::of(digest),
            statement_sha256: digest,
            machine_id: Some(format!("machine {n}")),
        }),
        version: Some(if n % 40 == 19 { "0.0.9" } else { "0.1.0" }.to_owned()),
        platform: Some(if n.is_multiple_of(4) { "linux-arm64" } else { "linux-amd64" }.to_owned()),
        hostname: Some(format!("{}.example.com", name_of(n))),
        labels: Labels::try_from(labels).unwrap(),
        token: None,
        source: Some(format!("192.0.2.{}", n % 250 + 1)),
        registered_at: ago(now, age_s).minus(Duration::from_millis(n as u64)),
        epoch: 1,
        key_delivery: KeyDelivery::Direct,
        last_origin: None,
        review: review(n, now),
    }
}

/// Seconds since an agent was heard.
fn silence(n: usize) -> u64 {
    match n % 20 {
        5 => 500,
        9 => 40_000,
        15 => 2_000,
        _ => 5 + (n as u64 * 7) % 50,
    }
}

async fn commands(tx: &mut Tx, now: Timestamp) {
    for n in 0..60_i64 {
        let given = ago(now, (n * 1_430).unsigned_abs() + 40);
        let outcome = if n % 9 == 4 { Outcome::Failed } else { Outcome::Succeeded };
        let detail =
            (outcome == Outcome::Failed).then(|| "the package manager is locked".to_owned());
        let at = given.plus(Duration::from_millis(700));
        let over = CommandState::Ended(End { outcome, at, detail });
        let state = if n == 0 { CommandState::Running { at: given } } else { over };
        let params = format!(r#"{{"subsystem":"{}"}}"#, Subsystem::ALL[n as usize % 3].as_str());
        let command = Command {
            id: format!("01a2{n:04x}-1111-7c3a-9d70-f43992519f95").parse().unwrap(),
            org: OrgId::default_org(),
            agent: agent(1, now).id,
            kind: CommandKind::SubsystemRun,
            params_sha256: Sha256::of(params.as_bytes()),
            params: params.into_bytes(),
            sequence: CommandSeq(1_000 - n),
            created_by: if n % 3 == 0 { "user:ada" } else { "service:cron" }.to_owned(),
            created_at: given,
            expires_at: given.plus(Duration::from_secs(86_400)),
            idempotency_key: None,
            state,
            withdrawn: None,
            result: None,
        };
        tx.commands().insert(&command).await.unwrap();
    }
}

fn wave(step: u64, slow: f64, fast: f64) -> f64 {
    let t = step as f64;
    (t / slow).sin() * 0.5 + (t / fast).sin() * 0.2 + 0.5
}

async fn measured(tx: &mut Tx, id: &AgentId, now: Timestamp) {
    let org = OrgId::default_org();
    let mut samples = Vec::new();
    for step in 0..288_u64 {
        let at = ago(now, (287 - step) * 300);
        let mut add = |metric: &str, label: &str, value: f64| {
            let metric = MetricName::parse(metric).unwrap();
            samples.push(Sample { metric, label: label.to_owned(), at, value });
        };
        let busy = wave(step, 38.0, 5.0).clamp(0.02, 1.0);
        add("cpu_used_percent", "", busy * 80.0);
        add("load_1m", "", busy * 3.0);
        add("memory_total_bytes", "", 8_589_934_592.0);
        add("memory_used_bytes", "", 3.2e9 + wave(step, 60.0, 9.0) * 1.5e9);
        add("disk_used_percent", "/", 64.0);
        add("disk_used_percent", "/var/lib/postgresql", 82.0 + step as f64 / 30.0);
    }
    for part in samples.chunks(1_000) {
        tx.telemetry().add(&org, id, part, TELEMETRY_SERIES_MAX, now).await.unwrap();
    }
}

async fn reported(tx: &mut Tx, id: &AgentId, now: Timestamp) {
    for (subsystem, report) in [(Subsystem::System, SYSTEM), (Subsystem::Storage, STORAGE)] {
        let row = InventoryRow {
            org: OrgId::default_org(),
            agent: id.clone(),
            subsystem,
            report: report.replace('\n', "").into_bytes(),
            captured_at: ago(now, 90),
            received_at: ago(now, 90),
            command: None,
            duration_ms: 212,
        };
        tx.inventory().put(&row).await.unwrap();
    }
}

/// What the hosts of a fleet have pending.
async fn outdated(tx: &mut Tx, now: Timestamp, count: usize) {
    let packages = [
        ("openssl", "3.0.11-1~deb12u2", "3.0.15-1~deb12u1", true),
        ("linux-image-amd64", "6.1.106-3", "6.1.112-1", true),
        ("curl", "7.88.1-10+deb12u7", "7.88.1-10+deb12u8", true),
        ("tzdata", "2024a-0+deb12u1", "2024b-0+deb12u1", false),
        ("postgresql-15", "15.8-0+deb12u1", "15.9-0+deb12u1", false),
        ("base-files", "12.4+deb12u7", "12.4+deb12u8", false),
    ];
    for n in 0..count.min(200) {
        let agent = agent(n, now);
        if matches!(agent.state, AgentState::Approved(_)) {
            put(tx, &agent.id, &packages[n % 3..n % 3 + 1 + n % 4]).await;
        }
    }
}

/// Puts a fleet of `count` into the store of a server. Gives the agent of which most is known.
pub(crate) async fn settle(server: &TestServer, count: usize) -> AgentId {
    let (store, now): (Store, _) = (server.store().await, server.clock.now());
    let mut seen = Vec::new();
    for from in (0..count).step_by(500) {
        let mut tx = store.write("test").await.unwrap();
        for n in from..(from + 500).min(count) {
            let agent = agent(n, now);
            tx.agents().insert(&agent).await.unwrap();
            if !matches!(agent.state, AgentState::Pending { .. }) {
                seen.push((agent.id.clone(), ago(now, silence(n))));
            }
            if n < 40 && silence(n) < 60 && matches!(agent.state, AgentState::Approved(_)) {
                tx.presence().open_stream(&agent.id, "test", ago(now, 3_000)).await.unwrap();
            }
        }
        tx.commit().await.unwrap();
    }
    let known = agent(1, now).id;
    let mut tx = store.write("test").await.unwrap();
    for part in seen.chunks(1_000) {
        tx.presence().touch_many(part).await.unwrap();
    }
    measured(&mut tx, &known, now).await;
    reported(&mut tx, &known, now).await;
    commands(&mut tx, now).await;
    outdated(&mut tx, now, count).await;
    tx.commit().await.unwrap();
    store.close().await;
    known
}
