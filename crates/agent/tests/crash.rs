//! Crashes at every durable step: a process that ends there leaves a state from which the next one
//! goes on, and a command still ends once.
//!
//! Each test runs this same program as a child that ends itself at a failpoint. Needs the feature
//! `failpoints`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use argosy_agent::{
    boot::BootId,
    credentials::{Credentials, Enrolling, SecretText},
    engine::{
        CommandRunner, Engine, EngineEvent, EngineParts, FinishedCommand, Offered, Probed,
        RunOutcome, ServerIdentity,
    },
    journal::{Journal, RecordState},
    keys::Keys,
    packages::Request,
    policy_file::PolicyFile,
    state_dir::StateDir,
};
use argosy_config::host::{OsEntropy, SystemClock};
use argosy_domain::{
    command::{CommandKind, CommandParams, CommandSeq, Outcome},
    digest::Sha256,
    id::{CommandId, IdSource, OrgId},
    time::{Clock as _, Timestamp},
};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    sign::{Signed, thumbprint},
    statement::{CommandStatement, KeyCertificate, ResultAckStatement, ServerPin, digest},
};
use ed25519_dalek::SigningKey;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

const PARAMS: &[u8] = b"{\"subsystem\":\"system\"}";

/// Writes a line for every time that it is run: the effect.
struct Effect(PathBuf);

impl CommandRunner for Effect {
    fn run<'a>(
        &'a self,
        id: &'a CommandId,
        _params: CommandParams,
        _request: Option<Request>,
    ) -> BoxFuture<'a, RunOutcome> {
        Box::pin(async move {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(&self.0).unwrap();
            writeln!(file, "{id}").unwrap();
            RunOutcome::Succeeded { report: b"{}".to_vec() }
        })
    }

    fn timeout(&self, _params: &CommandParams) -> Duration {
        Duration::from_secs(60)
    }

    fn probe(&self, _id: &CommandId, _kind: CommandKind) -> Probed {
        Probed::Unknown
    }
}

fn server_key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn public(key: &SigningKey) -> Bytes32 {
    Fixed(key.verifying_key().to_bytes())
}

fn certified() -> Signed {
    let certificate = KeyCertificate {
        server: thumbprint(&public(&server_key())),
        usage: "command".into(),
        public_key: public(&SigningKey::from_bytes(&[2; 32])),
        serial: 1,
        not_before: Timestamp::from_seconds(0),
        not_after: Timestamp::from_seconds(4_000_000_000),
    };
    Signed::new(&server_key(), &certificate)
}

fn command() -> Signed {
    let now = SystemClock.now();
    let statement = CommandStatement {
        server: thumbprint(&public(&server_key())),
        org: OrgId::default_org(),
        agent: "a1".parse().unwrap(),
        command_id: "c1".parse().unwrap(),
        kind: "subsystem.run".into(),
        params_sha256: digest(Sha256::of(PARAMS)),
        sequence: CommandSeq(1),
        not_before: now,
        expires_at: now.plus(Duration::from_secs(3_600)),
        server_time: now,
    };
    Signed::new(&SigningKey::from_bytes(&[2; 32]), &statement)
}

fn ack(finished: &FinishedCommand) -> Signed {
    let statement = ResultAckStatement {
        server: thumbprint(&public(&server_key())),
        agent: "a1".parse().unwrap(),
        command_id: finished.command_id.clone(),
        result_sha256: digest(Sha256::of(&finished.payload)),
    };
    Signed::new(&SigningKey::from_bytes(&[2; 32]), &statement)
}

fn open_journal(root: &Path) -> (StateDir, Journal) {
    let dir = StateDir::open(&root.join("state")).unwrap();
    let ids = IdSource::new(Arc::new(SystemClock), Arc::new(OsEntropy));
    let journal = Journal::open(&dir, &ids).unwrap();
    (dir, journal)
}

/// The whole life of one command, with a server that sends again whatever it has not seen end.
async fn live(root: &Path) {
    let (dir, journal) = open_journal(root);
    let parts = EngineParts {
        journal: Arc::new(journal),
        policy: PolicyFile::defaults(),
        runner: Arc::new(Effect(root.join("effects"))),
        clock: Arc::new(SystemClock),
        keys: Arc::new(Keys::load_or_create(&dir, &OsEntropy).unwrap()),
        agent: "a1".parse().unwrap(),
        org: None,
        server: ServerIdentity::new(public(&server_key())),
        boot: BootId::of_host().unwrap(),
        capacity: 8,
        concurrency: 2,
    };
    let (engine, mut events) = Engine::new(parts).unwrap();
    let worker = engine.clone();
    let work = tokio::spawn(async move { worker.run(CancellationToken::new()).await });
    let finished = match engine.offer(command(), PARAMS.to_vec(), certified()).await {
        Offered::Acknowledged { .. } => return,
        Offered::Finished(finished) => finished,
        Offered::Received(id) => {
            while events.recv().await.unwrap() != EngineEvent::Finished(id.clone()) {}
            engine.result(id).await.unwrap().unwrap()
        }
        other @ (Offered::Busy { .. } | Offered::Replayed(_) | Offered::Invalid { .. }) => {
            panic!("{other:?}")
        }
    };
    engine.acknowledge(ack(&finished), certified()).await.unwrap();
    work.abort();
}

fn enrolling(name: &str) -> Credentials {
    Credentials::Enrolling(Enrolling {
        key_by_hand: false,
        server_url: "http://localhost:8080".into(),
        pin: ServerPin::Tofu,
        server_thumbprint: Fixed([1; 32]),
        token_id: "t1".parse().unwrap(),
        proof: SecretText::new("proof".into()),
        name: name.into(),
        statement: Signed { payload: b"{}".to_vec(), signature: Fixed([1; 64]) },
    })
}

/// What a child does; the name says what, the environment where. Does nothing when it is run as
/// an ordinary test.
#[tokio::test]
async fn child() {
    let Some(root) = std::env::var_os("ARGOSY_CRASH_ROOT").map(PathBuf::from) else { return };
    match std::env::var("ARGOSY_CRASH_DOES").unwrap().as_str() {
        "live" => live(&root).await,
        "keys" => {
            let dir = StateDir::open(&root.join("state")).unwrap();
            Keys::load_or_create(&dir, &OsEntropy).unwrap();
        }
        name => {
            let dir = StateDir::open(&root.join("state")).unwrap();
            enrolling(name).save(&dir).unwrap();
        }
    }
}

/// Runs a child; says whether it came to its end.
fn run_child(root: &Path, does: &str, failpoint: Option<&str>) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["child", "--exact"]).env("ARGOSY_CRASH_ROOT", root).env("ARGOSY_CRASH_DOES", does);
    if let Some(failpoint) = failpoint {
        child.env("ARGOSY_FAILPOINT", failpoint);
    }
    child.output().unwrap().status.success()
}

#[test]
fn a_command_ends_once_wherever_the_agent_crashes() {
    for step in ["received", "started", "finished", "acknowledged"] {
        for moment in ["before", "before_commit", "after"] {
            let failpoint = format!("{step}.{moment}");
            let tmp = tempfile::tempdir().unwrap();
            assert!(run_child(tmp.path(), "keys", None));
            assert!(!run_child(tmp.path(), "live", Some(&failpoint)), "{failpoint} was not met");
            assert!(run_child(tmp.path(), "live", None), "{failpoint} was not recovered from");
            assert!(run_child(tmp.path(), "live", None), "{failpoint} was not recovered from");

            let effects = fs::read_to_string(tmp.path().join("effects")).unwrap().lines().count();
            let repeated =
                matches!(failpoint.as_str(), "finished.before" | "finished.before_commit");
            assert_eq!(effects, if repeated { 2 } else { 1 }, "{failpoint}");

            let (_dir, journal) = open_journal(tmp.path());
            assert_eq!(journal.high_water(), CommandSeq(1));
            assert_eq!(journal.open_records().unwrap(), [], "{failpoint}");
            let record = journal.get(&"c1".parse().unwrap()).unwrap().unwrap();
            let RecordState::Acknowledged(ended) = record.state else { panic!("{record:?}") };
            assert_eq!(ended.outcome, Outcome::Succeeded, "{failpoint}");
        }
    }
}

#[test]
fn keys_and_credentials_are_old_or_new_wherever_the_agent_crashes() {
    for moment in ["before_sync", "before_rename", "after_rename"] {
        let failpoint = format!("state_file.{moment}");
        let renamed = moment == "after_rename";
        let tmp = tempfile::tempdir().unwrap();
        assert!(!run_child(tmp.path(), "keys", Some(&failpoint)), "{failpoint} was not met");
        let keys_file = tmp.path().join("state/keys.json");
        assert_eq!(keys_file.exists(), renamed, "{failpoint}");
        assert!(run_child(tmp.path(), "keys", None));
        let keys = fs::read(&keys_file).unwrap();

        assert!(run_child(tmp.path(), "first", None));
        assert!(!run_child(tmp.path(), "second", Some(&failpoint)), "{failpoint} was not met");
        let dir = StateDir::open(&tmp.path().join("state")).unwrap();
        let expected = enrolling(if renamed { "second" } else { "first" });
        assert_eq!(Credentials::load(&dir).unwrap(), expected, "{failpoint}");
        assert_eq!(fs::read(&keys_file).unwrap(), keys);
    }
}
