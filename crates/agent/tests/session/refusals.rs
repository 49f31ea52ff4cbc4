//! Refusals, which nobody has signed: they end nothing and change nothing that is kept.

use std::process::{Command, Output};

use argosy_agent::{
    credentials::{Enrolling, Registered},
    journal::Journal,
    keys::Keys,
    state_dir::StateDir,
    status::Connection,
};
use argosy_domain::id::{IdSource, JournalId};
use argosy_wire::statement::ServerPin;
use argosy_wire::{bytes::Fixed, sign::Signed, statement::EnrolmentStatement};

use super::*;

fn statement(seen: &Seen) -> Option<Vec<u8>> {
    if let Seen::Registered { statement, .. } = seen { Some(statement.clone()) } else { None }
}

fn journal(state: &Path) -> JournalId {
    let ids = IdSource::new(Arc::new(SystemClock), Arc::new(OsEntropy));
    Journal::open(&StateDir::open(state).unwrap(), &ids).unwrap().id().clone()
}

/// What is kept, but for what changes with every handshake that succeeds.
fn without_continuation(state: &Path) -> Registered {
    let Credentials::Registered(registered) = Credentials::peek(state).unwrap() else {
        panic!("not registered")
    };
    Registered { continuation: None, ..registered }
}

/// What the agent shows of its connection, once it shows what is wanted.
async fn shown(state: &Path, wanted: impl Fn(&Connection) -> bool) -> Connection {
    let look = || Some(StatusReport::gather(state).ok()?.process?.live.connection);
    timeout(WIDE, async {
        loop {
            if let Some(connection) = look().filter(&wanted) {
                return connection;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap()
}

impl Scene {
    fn refuse(&self, code: Option<&'static str>) {
        *self.refusing.lock().unwrap() = code;
    }

    async fn end(self) -> TempDir {
        assert!(!self.agent.is_finished(), "the agent gave up by itself");
        self.stop.cancel();
        timeout(WIDE, self.agent).await.unwrap().unwrap().unwrap();
        self.home
    }

    /// `argosy-agent enroll`, with a token.
    async fn enroll(&self, flags: &'static [&'static str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_argosy-agent"));
        command.arg("enroll").args(flags).env_clear();
        command.env("ARGOSY_BOOTSTRAP_TOKEN", self.token.reveal());
        command.env("ARGOSY_SERVER_URL", &self.url).env("ARGOSY_STATE_DIR", self.state());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_agent_stays_says_so_and_is_back_by_itself() {
    let mut scene = begin(None).await;
    scene.until(|seen| (*seen == Seen::Heartbeat).then_some(())).await;
    let state = scene.state();
    scene.refuse(Some("unauthenticated"));
    // The session that it has ends, and no other is opened.
    let is_refused = |connection: &Connection| matches!(connection, Connection::Refused { .. });
    scene.until(|seen| (*seen == Seen::Began).then_some(())).await;
    let before = without_continuation(&state);
    scene.until(|seen| (*seen == Seen::Began).then_some(())).await;
    assert_eq!(without_continuation(&state), before);
    assert!(!scene.agent.is_finished());

    scene.refuse(None);
    scene.until(|seen| continuation(seen).is_some().then_some(())).await;
    let home = scene.end().await;

    // From the start: without a session it shows.
    let mut scene = begin_at(home, None, Some("forbidden")).await;
    scene.until(|seen| (*seen == Seen::Began).then_some(())).await;
    let Connection::Refused { said, advice } = shown(&state, is_refused).await else {
        panic!("not refused")
    };
    assert!(said.contains("(forbidden)") && advice.contains("--start-over"), "{said} {advice}");
    scene.refuse(None);
    shown(&state, |connection| *connection == Connection::Connected).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_registration_is_repeated_and_not_begun_anew() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    let leftover = journal(&state);
    let mut scene = begin_at(home, None, Some("invalid_token")).await;
    let first = scene.until(statement).await;
    assert!(matches!(Credentials::peek(&state).unwrap(), Credentials::Enrolling(_)));
    scene.refuse(None);
    assert_eq!(scene.until(statement).await, first);
    scene.until(|seen| (*seen == Seen::Heartbeat).then_some(())).await;
    let home = scene.end().await;
    assert_ne!(journal(&state), leftover, "the journal of an earlier registration was kept");
    drop(home);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_says_so_starts_over() {
    let mut scene = begin(None).await;
    scene.until(|seen| (*seen == Seen::Heartbeat).then_some(())).await;
    scene.stop.cancel();
    timeout(WIDE, &mut scene.agent).await.unwrap().unwrap().unwrap();
    let state = scene.state();
    let (before, kept) = (Credentials::peek(&state).unwrap(), journal(&state));

    scene.refuse(Some("unauthenticated"));
    let refused = scene.enroll(&[]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(77), "{said}");
    assert!(said.contains("argosy-agent enroll --start-over"), "{said}");
    assert_eq!(
        (Credentials::peek(&state).unwrap(), journal(&state)),
        (before.clone(), kept.clone())
    );

    scene.refuse(None);
    let anew = scene.enroll(&["--start-over"]).await;
    assert!(anew.status.success(), "{}", String::from_utf8_lossy(&anew.stderr));
    let after = Credentials::peek(&state).unwrap();
    assert!(matches!(after, Credentials::Registered(_)) && after != before);
    assert_ne!(journal(&state), kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_contact_is_trusted_once() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    let seen_first = Fixed([5; 32]);
    let (dir, begun) = {
        let dir = StateDir::open(&state).unwrap();
        let keys = Keys::load_or_create(&dir, &OsEntropy).unwrap();
        let statement = EnrolmentStatement {
            server: ServerPin::Tofu,
            token_id: "t1".parse().unwrap(),
            name: "web-1".into(),
            account_id: argosy_domain::id::AccountId::DEFAULT,
            identity_key: keys.identity_public(),
            encryption_key: keys.encryption_public(),
            device_signing_key: None,
            machine_id: None,
            hostname: "web-1".into(),
            platform: "linux-amd64".into(),
            version: "1.0.0".into(),
            release_root_sha256: None,
            nonce: Fixed([3; 32]),
        };
        let begun = Enrolling {
            key_by_hand: false,
            server_url: String::new(),
            pin: ServerPin::Tofu,
            server_thumbprint: seen_first,
            token_id: "t1".parse().unwrap(),
            proof: SecretText::new("bootproof_t1_x".into()),
            name: "web-1".into(),
            statement: Signed::new(&keys.identity(), &statement),
        };
        (dir, begun)
    };
    let (sender, mut seen) = mpsc::unbounded_channel();
    let fake = Fake {
        identity: SigningKey::from_bytes(&[1; 32]),
        command: SigningKey::from_bytes(&[2; 32]),
        impostor: None,
        refusing: Refusing::default(),
        lost: false.into(),
        seen: sender,
    };
    let other = fake.pin().to_string();
    let url = fake.serve().await;
    let begun = Credentials::Enrolling(Enrolling { server_url: url, ..begun });
    begun.save(&dir).unwrap();
    drop(dir);

    let settings = AgentSettings {
        state_dir: Some(state.clone()),
        policy_file: home.path().join("policy.toml"),
        package_helper_socket: home.path().join("package-helper.sock"),
        package_helper_file: home.path().join("package-helper.toml"),
        ..AgentSettings::default()
    };
    let deps = Deps { clock: Arc::new(SystemClock), entropy: Arc::new(OsEntropy) };
    let stop = CancellationToken::new();
    let agent = tokio::spawn(run(settings, deps, stop.clone()));
    let is_refused = |connection: &Connection| matches!(connection, Connection::Refused { .. });
    let Connection::Refused { said, .. } = shown(&state, is_refused).await else {
        panic!("not refused")
    };
    assert!(said.contains(&other) && said.contains(&seen_first.to_string()), "{said}");
    assert!(matches!(seen.recv().await, Some(Seen::Registered { .. })));
    assert_eq!(Credentials::peek(&state).unwrap(), begun);
    stop.cancel();
    timeout(WIDE, agent).await.unwrap().unwrap().unwrap();
}
