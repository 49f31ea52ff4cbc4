//! The server that is measured: started for one scenario with data of its own, asked what it has
//! done, and ended.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use argosy_agent::{server_url::ServerUrl, transport::Link};
use argosy_store::Target;
use argosy_wire::token::TokenString;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    Outcome,
    programs::{Program, free_port},
    scenario::Common,
};

/// How long the server may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// The most calls of one principal in a minute that can be set.
const REQUESTS_PER_MINUTE: u32 = 10_000_000;

/// How agents reach a server.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    url: ServerUrl,
    ca_file: Option<PathBuf>,
}

impl Way {
    /// A connection of an agent, opened when it is first needed. `token` names whom to expect.
    pub(crate) fn link(&self, token: Option<&TokenString>) -> Outcome<Link> {
        let pin = token.and_then(|token| token.pin);
        Ok(Link::new(self.url.clone(), self.ca_file.as_deref(), pin)?)
    }
}

/// A running server.
pub(crate) struct Server {
    /// None while it is down.
    program: Option<Program>,
    /// The key that another server on this database made; none where it makes its own.
    master_key: Option<PathBuf>,
    setup: Setup,
    folder: TempDir,
    address: String,
    way: Way,
    database_url: Option<String>,
    admin_key: String,
    http: reqwest::Client,
}

/// How a server is set up.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Setup {
    /// It speaks TLS.
    pub(crate) tls: bool,
    /// It believes callers on loopback who say for whom they call.
    pub(crate) behind_proxy: bool,
}

/// What a server has spent and counted so far.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// Time on a core.
    pub(crate) cpu: Duration,
    /// Memory of its own.
    pub(crate) private_kib: u64,
    counters: BTreeMap<String, f64>,
}

impl Snapshot {
    /// Takes in what another server has spent and counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.cpu += other.cpu;
        self.private_kib += other.private_kib;
        for (name, value) in &other.counters {
            *self.counters.entry(name.clone()).or_default() += value;
        }
    }

    /// A metric, summed over its labels; 0 where there is none.
    pub(crate) fn counter(&self, name: &str) -> f64 {
        let own = |key: &&String| key.split('{').next() == Some(name);
        self.counters.keys().filter(own).filter_map(|key| self.counters.get(key)).sum()
    }
}

impl Server {
    /// Starts one and waits until it is ready.
    pub(crate) async fn start(common: &Common, setup: Setup) -> Outcome<Self> {
        let folder = tempfile::tempdir_in(common.folder()?)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let scheme = if setup.tls { "https" } else { "http" };
        let ca_file = if setup.tls { Some(make_certificates(folder.path())?) } else { None };
        let mut http = reqwest::Client::builder().no_proxy().timeout(READY_WITHIN);
        if let Some(file) = &ca_file {
            let authority = reqwest::Certificate::from_pem(&std::fs::read(file)?)?;
            http = http.tls_certs_only([authority]);
        }
        let mut server = Self {
            program: None,
            master_key: None,
            setup,
            way: Way { url: format!("{scheme}://{address}").parse()?, ca_file },
            folder,
            address,
            database_url: common.database_url.clone(),
            admin_key: String::new(),
            http: http.build()?,
        };
        server.run().await?;
        let key = std::fs::read_to_string(server.folder.path().join("data/admin.key"))?;
        key.trim().clone_into(&mut server.admin_key);
        let settings = json!({ "requests_per_minute": REQUESTS_PER_MINUTE });
        server.call(Method::PATCH, "/api/v1/settings", Some(&settings)).await?;
        Ok(server)
    }

    /// Starts another one on the same PostgreSQL and waits until it is ready.
    pub(crate) async fn beside(&self, common: &Common) -> Outcome<Self> {
        let folder = tempfile::tempdir_in(common.folder()?)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut server = Self {
            program: None,
            master_key: Some(self.folder.path().join("data/master.key")),
            setup: self.setup,
            way: Way { url: format!("http://{address}").parse()?, ca_file: None },
            folder,
            address,
            database_url: self.database_url.clone(),
            admin_key: self.admin_key.clone(),
            http: self.http.clone(),
        };
        server.run().await?;
        Ok(server)
    }

    /// Starts the program, and answers after how long it was ready.
    pub(crate) async fn run(&mut self) -> Outcome<Duration> {
        let folder = self.folder.path();
        let text = |path: PathBuf| path.to_str().map(str::to_owned).ok_or("a path is not UTF-8");
        let data = text(folder.join("data"))?;
        let arguments = ["--mode", "server", "--listen", &self.address, "--data-dir", &data];
        let mut variables = vec![("ARGOSY_PUBLIC_URL", self.way.url.origin().to_owned())];
        if self.way.ca_file.is_some() {
            variables.push(("ARGOSY_TLS", "files".to_owned()));
            variables.push(("ARGOSY_TLS_CERT_FILE", text(folder.join("cert.pem"))?));
            variables.push(("ARGOSY_TLS_KEY_FILE", text(folder.join("key.pem"))?));
        }
        if let Some(file) = &self.master_key {
            variables.push(("ARGOSY_MASTER_KEY_FILE", text(file.clone())?));
        }
        if self.setup.behind_proxy {
            variables.push(("ARGOSY_TRUSTED_PROXIES", "127.0.0.1/32".to_owned()));
        }
        variables.extend(self.database_url.clone().map(|url| ("ARGOSY_DATABASE_URL", url)));
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let began = Instant::now();
        self.program =
            Some(Program::start("argosyd", &arguments, &variables, &folder.join("server.log"))?);
        let ready = format!("{}/ready", self.way.url.origin());
        loop {
            let answer = self.http.get(&ready).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > READY_WITHIN {
                return Err(format!("the server is not ready: {}", self.log()).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Its last words.
    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("server.log"));
        let log = log.unwrap_or_default();
        log.lines().rev().take(3).collect::<Vec<_>>().join(" | ")
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        self.program.take().map_or(Ok(()), |mut program| program.kill())
    }

    /// The running program.
    pub(crate) fn program(&self) -> Outcome<&Program> {
        self.program.as_ref().ok_or_else(|| "the server is down".into())
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its database.
    pub(crate) fn database(&self) -> Target {
        match &self.database_url {
            Some(url) => Target::Postgres(url.clone()),
            None => Target::Sqlite(self.folder.path().join("data/argosy.db")),
        }
    }

    /// The first administrator's key.
    pub(crate) fn admin_key(&self) -> &str {
        &self.admin_key
    }

    /// How agents reach it.
    pub(crate) fn way(&self) -> &Way {
        &self.way
    }

    /// A call of the administrator.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Outcome<Value> {
        let url = format!("{}{path}", self.way.url.origin());
        let request = self.http.request(method, url).bearer_auth(&self.admin_key);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            return Err(format!("{path}: {status}: {text}").into());
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// A token that approves whoever has it.
    pub(crate) async fn token(&self, seats: usize, require_proof: bool) -> Outcome<String> {
        let order = json!({
            "name": "bench", "auto_approve": true, "require_proof": require_proof,
            "max_uses": seats.clamp(1, 100_000),
        });
        let made = self.call(Method::POST, "/api/v1/bootstrap-tokens", Some(&order)).await?;
        Ok(made["token"].as_str().ok_or("no token in the answer")?.to_owned())
    }

    /// What it has spent and counted so far.
    pub(crate) async fn snapshot(&self) -> Outcome<Snapshot> {
        let url = format!("{}/metrics", self.way.url.origin());
        let text = self.http.get(url).send().await?.error_for_status()?.text().await?;
        let counter = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        let counters = text.lines().filter(|line| !line.starts_with('#')).filter_map(counter);
        let program = self.program()?;
        Ok(Snapshot {
            cpu: program.cpu()?,
            private_kib: program.status("RssAnon:")?,
            counters: counters.collect(),
        })
    }
}

/// Writes `cert.pem` and `key.pem` for loopback, and answers where their authority is.
fn make_certificates(folder: &Path) -> Outcome<PathBuf> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "Argosy bench authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &authority)?;
    let file = folder.join("ca.pem");
    std::fs::write(&file, authority.pem())?;
    std::fs::write(folder.join("cert.pem"), certificate.pem())?;
    std::fs::write(folder.join("key.pem"), key.serialize_pem())?;
    Ok(file)
}
