//! Real processes: started, watched, killed by their own id, and always ended.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::{Child, Command};

use crate::http::plain;

/// How long a condition is waited for. Wide: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A program that this workspace builds, beside the test's own binary; `previous/NAME` is that of the
/// release before.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().and_then(Path::parent).unwrap();
    let path = folder.join(name);
    let advice = if name.starts_with("previous/") {
        "scripts/previous-release, then cargo build --workspace --bins"
    } else {
        "cargo build --workspace --bins"
    };
    assert!(path.exists(), "{} is missing: {advice}", path.display());
    path
}

/// A running program; killed when dropped.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program with arguments and variables; its output goes to `log`.
    pub fn start(name: &str, arguments: &[&str], variables: &[(&str, &str)], log: &Path) -> Self {
        Self::start_by(&[], name, arguments, variables, log)
    }

    /// The same by way of another program, which becomes this one.
    pub fn start_by(
        prefix: &[String],
        name: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
        log: &Path,
    ) -> Self {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut words = prefix.iter().map(OsString::from).chain([program(name).into_os_string()]);
        let child = Command::new(words.next().unwrap())
            .args(words)
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child }
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to end (`SIGTERM`), and gives its exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        self.ended().await
    }

    /// Its id.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end and gives the exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap().code()
    }
}

/// Runs a program to its end and gives standard output; it must succeed.
pub async fn run(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let command = Command::new(program(name))
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output();
    let output = tokio::time::timeout(PATIENCE, command).await.unwrap().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} {arguments:?}: {out}{err}");
    out.into_owned()
}

/// Runs a program that must fail, and gives everything that it said.
pub async fn fails(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let command = Command::new(program(name))
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output();
    let output = tokio::time::timeout(PATIENCE, command).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!output.status.success(), "{name} {arguments:?} succeeded: {said}");
    said
}

/// The folder of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The interpreter with the packages of `e2e/python/requirements.txt`; made when it is missing.
pub async fn python() -> String {
    let script = root().join("scripts/python-env");
    let output = Command::new(&script).output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {told}", script.display());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Waits until `condition` gives a value.
pub async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            if let Some(value) = condition().await {
                return value;
            }
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Waits until the server at `url` is ready.
pub async fn ready(url: &str) {
    let (http, address) = (plain(), format!("{url}/ready"));
    until("the server to be ready", || async {
        http.get(&address).send().await.ok()?.status().is_success().then_some(())
    })
    .await;
}

/// A port of loopback that was free a moment ago.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
