//! A PostgreSQL of a test's own, which the test may crash.

use std::{
    net::SocketAddr, os::unix::fs::MetadataExt as _, path::Path, process::Stdio, time::Duration,
};

use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::process::{Child, ChildStdin, Command};

use crate::process::{PATIENCE, free_port, root, until};

/// A cluster that nobody else uses; taken away when dropped, at the latest.
pub struct OwnPostgres {
    /// The address of its database.
    pub url: String,
    /// Its programs.
    bin: String,
    /// Its files.
    data: String,
    /// The script that made it waits for the end of this.
    stdin: ChildStdin,
    script: Child,
}

impl OwnPostgres {
    /// Starts one; `folder` is the test's own.
    pub async fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[]).await
    }

    /// The same with variables.
    pub async fn start_with(folder: &Path, variables: &[(&str, &str)]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let file = folder.join("postgres-url");
        let mut script = Command::new(root().join("scripts/with-postgres"))
            .args(["bash", "-c", "echo \"$ARGOSY_TEST_POSTGRES_URL\" > \"$0\"; cat > /dev/null"])
            .arg(&file)
            .env_remove("ARGOSY_TEST_POSTGRES_URL")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = script.stdin.take().unwrap();
        let url = until("a PostgreSQL of the test's own", async || {
            let text = std::fs::read_to_string(&file).ok()?;
            text.ends_with('\n').then(|| text.trim().to_owned())
        })
        .await;
        let mut admin = PgConnection::connect(&url).await.unwrap();
        let ask = "SELECT current_setting('data_directory')";
        let data: String = sqlx::query_scalar(ask).fetch_one(&mut admin).await.unwrap();
        let ask = "SELECT setting FROM pg_config WHERE name = 'BINDIR'";
        let bin: String = sqlx::query_scalar(ask).fetch_one(&mut admin).await.unwrap();
        Self { url, bin, data, stdin, script }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        let options: PgConnectOptions = self.url.parse().unwrap();
        SocketAddr::from(([127, 0, 0, 1], options.get_port()))
    }

    /// The address of its database by way of somebody who passes everything on.
    pub fn url_at(&self, address: SocketAddr) -> String {
        self.url.replace(&self.address().to_string(), &address.to_string())
    }

    /// Ends every process of it without a checkpoint, as a crash does, and starts it again.
    pub async fn crash(&self) {
        assert!(self.restart().await, "PostgreSQL did not come back");
    }

    /// `kill -9` of the process that all others descend from.
    pub async fn strike(&self) {
        let text = std::fs::read_to_string(format!("{}/postmaster.pid", self.data)).unwrap();
        let postmaster = text.lines().next().unwrap();
        let killed = Command::new("kill").args(["-9", postmaster]).status().await.unwrap();
        assert!(killed.success());
    }

    /// The same, and a start as soon as they are gone too.
    pub async fn kill(&self) {
        self.strike().await;
        until("PostgreSQL after the kill", || async { self.restart().await.then_some(()) }).await;
    }

    async fn restart(&self) -> bool {
        let log = format!("{}/crash.log", self.data);
        let own = ["-D", &self.data, "-l", &log, "-m", "immediate", "-w", "-t", "60", "restart"];
        self.run("pg_ctl", &own).await
    }

    /// Runs one of its programs as its own user; answers whether that went well.
    async fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let mut command = Command::from(as_owner(&self.bin, &self.data, program));
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let ended = tokio::time::timeout(Duration::from_secs(120), command.status()).await;
        ended.unwrap().unwrap().success()
    }

    /// Another that follows this one, on a copy of its files beside them: from now on nothing is
    /// acknowledged before both have it.
    pub async fn standby(&self) -> Standby {
        let source: PgConnectOptions = self.url.parse().unwrap();
        let (from, port) = (source.get_port().to_string(), free_port());
        let data = format!("{}.standby", self.data);
        let copied =
            ["-D", &data, "-h", "127.0.0.1", "-p", &from, "-U", source.get_username(), "-R"];
        assert!(self.run("pg_basebackup", &copied).await, "no copy of the database");
        let standby = Standby { bin: self.bin.clone(), data: data.clone(), port };
        let listens = format!("-p {port} -h 127.0.0.1 -k {data} -c max_connections=300");
        let log = format!("{data}/standby.log");
        let started = ["-D", &data, "-l", &log, "-o", &listens, "-w", "-t", "60", "start"];
        assert!(self.run("pg_ctl", &started).await, "the copy does not start");
        let mut admin = PgConnection::connect(&self.url).await.unwrap();
        for sql in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
            sqlx::query(sql).execute(&mut admin).await.unwrap();
        }
        until("the copy to follow", async || {
            let mut admin = PgConnection::connect(&self.url).await.unwrap();
            let ask = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            let count: i64 = sqlx::query_scalar(ask).fetch_one(&mut admin).await.unwrap();
            (count == 1).then_some(())
        })
        .await;
        standby
    }

    /// Takes it away, and waits until it is gone.
    pub async fn end(mut self) {
        drop(self.stdin);
        let ended = tokio::time::timeout(PATIENCE, self.script.wait()).await;
        assert!(ended.unwrap().unwrap().success(), "PostgreSQL did not end");
    }
}

/// A copy that follows another, until it takes over; ended when dropped.
pub struct Standby {
    bin: String,
    data: String,
    port: u16,
}

impl Standby {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// It takes over.
    pub fn promote(&self) {
        assert!(self.control(&["-w", "promote"]), "the copy does not take over");
    }

    fn control(&self, words: &[&str]) -> bool {
        let mut command = as_owner(&self.bin, &self.data, "pg_ctl");
        command.args(["-D", &self.data]).args(words).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let stopped = self.control(&["-m", "immediate", "-w", "stop"]);
        assert!(stopped || std::thread::panicking(), "the copy does not end");
    }
}

/// One of a cluster's programs, run by whoever owns its files: PostgreSQL refuses to run as root.
fn as_owner(bin: &str, data: &str, program: &str) -> std::process::Command {
    let program = format!("{bin}/{program}");
    let owner = std::fs::metadata(data).unwrap().uid();
    let mut command = if owner == std::fs::metadata("/proc/self").unwrap().uid() {
        std::process::Command::new(program)
    } else {
        let mut command = std::process::Command::new("setpriv");
        let (user, group) = (format!("--reuid={owner}"), "--clear-groups");
        command.args([&user, group, "--", &program]);
        command
    };
    command.current_dir("/");
    command
}
