//! A PostgreSQL of a test's own, which the test may crash.

use std::{path::Path, process::Stdio, time::Duration};

use sqlx::{Connection as _, PgConnection};
use tokio::process::{Child, ChildStdin, Command};

use crate::process::{PATIENCE, root, until};

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
        std::fs::create_dir_all(folder).unwrap();
        let file = folder.join("postgres-url");
        let mut script = Command::new(root().join("scripts/with-postgres"))
            .args(["bash", "-c", "echo \"$ARGOSY_TEST_POSTGRES_URL\" > \"$0\"; cat > /dev/null"])
            .arg(&file)
            .env_remove("ARGOSY_TEST_POSTGRES_URL")
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

    /// Ends every process of it without a checkpoint, as a crash does, and starts it again.
    pub async fn crash(&self) {
        assert!(self.restart().await, "PostgreSQL did not come back");
    }

    /// `kill -9` of the process that all others descend from, and a start as soon as they are gone too.
    pub async fn kill(&self) {
        let text = std::fs::read_to_string(format!("{}/postmaster.pid", self.data)).unwrap();
        let postmaster = text.lines().next().unwrap();
        let killed = Command::new("kill").args(["-9", postmaster]).status().await.unwrap();
        assert!(killed.success());
        until("PostgreSQL after the kill", || async { self.restart().await.then_some(()) }).await;
    }

    async fn restart(&self) -> bool {
        let program = format!("{}/pg_ctl", self.bin);
        let log = format!("{}/crash.log", self.data);
        let own = ["-D", &self.data, "-l", &log, "-m", "immediate", "-w", "-t", "60", "restart"];
        let owner = Command::new("stat").args(["-c", "%U", &self.data]).output().await.unwrap();
        let owner = String::from_utf8(owner.stdout).unwrap();
        let me = Command::new("id").arg("-un").output().await.unwrap();
        let mut command = if me.stdout == owner.as_bytes() {
            Command::new(&program)
        } else {
            let mut command = Command::new("runuser");
            command.args(["-u", owner.trim(), "--", &program]);
            command
        };
        command.args(own).current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
        let ended = tokio::time::timeout(Duration::from_secs(120), command.status()).await;
        ended.unwrap().unwrap().success()
    }

    /// Takes it away, and waits until it is gone.
    pub async fn end(mut self) {
        drop(self.stdin);
        let ended = tokio::time::timeout(PATIENCE, self.script.wait()).await;
        assert!(ended.unwrap().unwrap().success(), "PostgreSQL did not end");
    }
}
