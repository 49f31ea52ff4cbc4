//! One of the three: a process, and its own way to the database, which a test can block.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use argosy_e2e::{
    http::{Client, plain},
    process::{Process, ready, until},
    proxy::Proxy,
};
use sqlx::{Connection as _, PgConnection};

/// One of the servers.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) url: String,
    pub(super) client: Client,
    pub(super) data_dir: PathBuf,
    /// Its way to the database.
    pub(super) way: Proxy,
    database_url: String,
    /// What it calls itself among the others.
    pub(super) id: String,
    pub(super) process: Option<Process>,
}

/// A connection of the test's own.
pub(super) async fn database(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

impl Server {
    /// One that is not started yet.
    pub(super) async fn prepare(folder: &Path, database_url: &str, port: u16) -> Self {
        let (way, database_url) = Proxy::before(database_url).await;
        let url = format!("http://127.0.0.1:{port}");
        let (client, data_dir) = (Client::new(&url), folder.join(format!("data-{port}")));
        Self { port, url, client, data_dir, way, database_url, id: String::new(), process: None }
    }

    /// Starts it (again) and learns what it calls itself.
    pub(super) async fn start(&mut self, trio: (&Path, &str, &SocketAddr), master_key: &Path) {
        let (folder, database_url, public) = trio;
        let listen = format!("127.0.0.1:{}", self.port);
        let data_dir = self.data_dir.to_str().unwrap();
        let arguments = ["--mode", "server", "--listen", &listen, "--data-dir", data_dir];
        let variables = [
            ("ARGOSY_DATABASE_URL", self.database_url.as_str()),
            ("ARGOSY_MASTER_KEY_FILE", master_key.to_str().unwrap()),
            ("ARGOSY_PUBLIC_URL", &format!("http://{public}")),
        ];
        let log = folder.join(format!("server-{}.log", self.port));
        self.process = Some(Process::start("argosyd", &arguments, &variables, &log));
        ready(&self.url).await;
        let ask = "SELECT id FROM replicas ORDER BY started_at DESC LIMIT 1";
        self.id =
            sqlx::query_scalar(ask).fetch_one(&mut database(database_url).await).await.unwrap();
    }

    /// A number that it tells. It may let go of the connection just then.
    pub(super) async fn metric(&self, name: &str) -> u64 {
        let (http, url) = (plain(), format!("{}/metrics", self.url));
        until("a metric", || async {
            let page = http.get(&url).send().await.ok()?.text().await.ok()?;
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            Some(line.unwrap().parse().unwrap())
        })
        .await
    }
}
