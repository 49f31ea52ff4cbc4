//! The connected half of the agent against a gateway of the test's own, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod refusals;
mod server;

use std::{path::Path, sync::Arc, time::Duration};

use argosy_agent::{
    config::AgentSettings,
    credentials::{Credentials, SecretText},
    error::AgentError,
    run::{Deps, Ended, run},
    status::report::StatusReport,
};
use argosy_config::host::{OsEntropy, SystemClock};
use argosy_wire::token::{Secret32, TokenProof, TokenString, proof_key};
use ed25519_dalek::SigningKey;
use server::{Fake, Refusing, Seen};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// Far above what anything here takes.
const WIDE: Duration = Duration::from_secs(180);

struct Scene {
    seen: mpsc::UnboundedReceiver<Seen>,
    agent: JoinHandle<Result<Ended, AgentError>>,
    stop: CancellationToken,
    token: TokenString,
    url: String,
    refusing: Refusing,
    home: TempDir,
}

async fn begin(impostor: Option<SigningKey>) -> Scene {
    begin_at(tempfile::tempdir().unwrap(), impostor, None).await
}

async fn begin_at(
    home: TempDir,
    impostor: Option<SigningKey>,
    refusing: Option<&'static str>,
) -> Scene {
    let (sender, seen) = mpsc::unbounded_channel();
    let refusing = Refusing::new(refusing.into());
    let fake = Fake {
        identity: SigningKey::from_bytes(&[1; 32]),
        command: SigningKey::from_bytes(&[2; 32]),
        impostor,
        refusing: Arc::clone(&refusing),
        lost: false.into(),
        seen: sender,
    };
    let secret = Secret32::new([7; 32]);
    let token = TokenString { id: "t1".parse().unwrap(), secret, pin: Some(fake.pin()) };
    let url = fake.serve().await;
    let settings = AgentSettings {
        server_url: Some(url.clone()),
        bootstrap_token: Some(SecretText::new(token.reveal())),
        state_dir: Some(home.path().join("state")),
        policy_file: home.path().join("policy.toml"),
        package_helper_socket: home.path().join("package-helper.sock"),
        package_helper_file: home.path().join("package-helper.toml"),
        ..AgentSettings::default()
    };
    let deps = Deps { clock: Arc::new(SystemClock), entropy: Arc::new(OsEntropy) };
    let stop = CancellationToken::new();
    let agent = tokio::spawn(run(settings, deps, stop.clone()));
    Scene { seen, agent, stop, token, url, refusing, home }
}

impl Scene {
    /// What the agent does next that `wanted` asks for; the rest is passed over.
    async fn until<T>(&mut self, mut wanted: impl FnMut(&Seen) -> Option<T>) -> T {
        timeout(WIDE, async {
            loop {
                let seen = self.seen.recv().await.unwrap();
                if let Some(found) = wanted(&seen) {
                    return found;
                }
            }
        })
        .await
        .unwrap()
    }

    fn state(&self) -> std::path::PathBuf {
        self.home.path().join("state")
    }
}

fn continuation(seen: &Seen) -> Option<Option<Vec<u8>>> {
    if let Seen::Completed { continuation } = seen { Some(continuation.clone()) } else { None }
}

fn kept_continuation(state: &Path) -> Vec<u8> {
    let Credentials::Registered(registered) = Credentials::peek(state).unwrap() else {
        panic!("not registered")
    };
    registered.continuation.unwrap().0.to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_enrols_with_a_proof_connects_and_renews_in_time() {
    let mut scene = begin(None).await;
    let (proof, statement) = scene
        .until(|seen| {
            let Seen::Registered { token, statement } = seen else { return None };
            Some((token.clone(), statement.clone()))
        })
        .await;
    let proof = TokenProof::parse(&proof).expect("a proof, not the token");
    assert!(proof.verifies(&proof_key(&scene.token.secret), &statement));

    assert_eq!(scene.until(continuation).await, None, "the first handshake continues nothing");
    scene.until(|seen| (*seen == Seen::NonceAsked).then_some(())).await;
    scene.until(|seen| (*seen == Seen::Heartbeat).then_some(())).await;

    let kept = kept_continuation(&scene.state());
    assert_eq!(scene.until(continuation).await, Some(kept), "the next continues the first");
    scene.until(|seen| matches!(seen, Seen::Renewed { .. }).then_some(())).await;

    scene.stop.cancel();
    timeout(WIDE, scene.agent).await.unwrap().unwrap().unwrap();
    let report = StatusReport::gather(&scene.home.path().join("state")).unwrap();
    assert_eq!((report.state, report.running), ("registered", false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_reach_the_server() {
    let mut scene = begin(None).await;
    let mut missing = vec!["system", "storage"];
    scene
        .until(|seen| {
            if let Seen::Inventory(name) = seen {
                missing.retain(|wanted| wanted != name);
            }
            missing.is_empty().then_some(())
        })
        .await;
    scene.stop.cancel();
    timeout(WIDE, scene.agent).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telemetry_whose_answer_was_lost_is_sent_again_as_the_same_batch() {
    let mut scene = begin(None).await;
    let event = |seen: &Seen| matches!(seen, Seen::Event(kind) if kind == "agent.started");
    scene.until(|seen| event(seen).then_some(())).await;
    let mut batches = Vec::new();
    scene
        .until(|seen| {
            let Seen::Telemetry(batch) = seen else { return None };
            let known = batches.contains(batch);
            batches.push(batch.clone());
            known.then_some(())
        })
        .await;
    scene.stop.cancel();
    timeout(WIDE, scene.agent).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_signed_for_a_server_with_another_identity() {
    let mut scene = begin(Some(SigningKey::from_bytes(&[9; 32]))).await;
    for _ in 0..3 {
        scene
            .until(|seen| {
                assert!(continuation(seen).is_none(), "the agent answered an impostor");
                (*seen == Seen::Began).then_some(())
            })
            .await;
    }
    scene.stop.cancel();
    timeout(WIDE, scene.agent).await.unwrap().unwrap().unwrap();
}
