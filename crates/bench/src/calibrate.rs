//! What this machine can do at this moment: beside it a figure means something.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use argosy_config::host::OsEntropy;
use argosy_domain::{digest::Sha256, entropy::random_bytes};
use argosy_wire::{
    bytes::Fixed,
    sign::{Purpose, sign_payload, verify_payload},
};
use axum::{Router, routing::get};
use ed25519_dalek::SigningKey;
use serde::Serialize;

use crate::{
    Outcome,
    connection::Http1,
    load::{self, Client},
    programs::{Program, free_port},
};

/// How long each probe runs.
const SPAN: Duration = Duration::from_millis(300);
/// How long the plain server is asked.
const HELLO_SPAN: Duration = Duration::from_millis(1_500);
/// Connections to the plain server.
const HELLO_CONNECTIONS: usize = 64;
/// How long the plain server may take to listen.
const HELLO_WITHIN: Duration = Duration::from_secs(30);
/// Memory in KiB, passes and lanes: as the server hashes tokens.
const ARGON2_COST: (u32, u32, u32) = (19 * 1024, 2, 1);

/// The arguments of the plain server.
#[derive(Debug, clap::Args)]
pub(crate) struct Hello {
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
}

/// Answers `GET /` until it is killed.
pub(crate) async fn serve_hello(arguments: &Hello) -> Outcome<()> {
    let app = Router::new().route("/", get(async || "hello"));
    let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
    Ok(axum::serve(listener, app).await?)
}

/// What was found, each in a second; one core, except for the disk.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Calibration {
    /// Answers of the plain server over HTTP/1.1.
    pub(crate) hello: f64,
    /// 4 KiB made durable, one after the other.
    pub(crate) fsync: f64,
    /// Ed25519 signatures verified.
    pub(crate) ed25519_verify: f64,
    /// Bytes of SHA-256, in MiB.
    pub(crate) sha256_mib: f64,
    /// Argon2id, 19 MiB and two passes.
    pub(crate) argon2id: f64,
}

impl Calibration {
    /// Asks machine and disk. `directory` is where the data of the scenario is.
    pub(crate) async fn take(directory: &Path) -> Outcome<Self> {
        let hello = Box::pin(hellos_per_second(directory)).await?;
        let key = SigningKey::from_bytes(&random_bytes(&OsEntropy));
        let (public, payload) = (Fixed(key.verifying_key().to_bytes()), [7; 256]);
        let signature = sign_payload(&key, Purpose::Command, &payload);
        let mut verified = true;
        let ed25519_verify = per_second(|| {
            verified &= verify_payload(&public, Purpose::Command, &payload, &signature).is_ok();
        });
        let block = vec![7; 1024 * 1024];
        let sha256_mib = per_second(|| {
            verified &= Sha256::of(&block).0 != [0; 32];
        });
        let (memory, passes, lanes) = ARGON2_COST;
        let params = Params::new(memory, passes, lanes, Some(32)).map_err(|e| e.to_string())?;
        let mut blocks = vec![Block::default(); params.block_count()];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let argon2id = per_second(|| {
            let hashed = argon2.hash_password_into_with_memory(
                &[7; 32],
                &[7; 16],
                &mut [0; 32],
                &mut blocks,
            );
            verified &= hashed.is_ok();
        });
        if !verified {
            return Err("a probe failed".into());
        }
        Ok(Self {
            hello,
            fsync: syncs_per_second(directory)?,
            ed25519_verify,
            sha256_mib,
            argon2id,
        })
    }

    /// The probes that moved more than twofold between this one and a later one.
    pub(crate) fn moved(&self, later: &Self) -> Vec<&'static str> {
        let pairs = [
            ("hello", self.hello, later.hello),
            ("fsync", self.fsync, later.fsync),
            ("ed25519_verify", self.ed25519_verify, later.ed25519_verify),
            ("sha256_mib", self.sha256_mib, later.sha256_mib),
            ("argon2id", self.argon2id, later.argon2id),
        ];
        let far = pairs.into_iter().filter(|(_, a, b)| *a > b * 2.0 || *b > a * 2.0);
        far.map(|(name, ..)| name).collect()
    }
}

fn per_second(mut work: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut done = 0_u32;
    while began.elapsed() < SPAN {
        work();
        done += 1;
    }
    f64::from(done) / began.elapsed().as_secs_f64()
}

/// How often a second this disk makes 4 KiB durable, one after the other.
pub(crate) fn syncs_per_second(directory: &Path) -> Outcome<f64> {
    let mut file = tempfile::tempfile_in(directory)?;
    let began = Instant::now();
    let mut syncs = 0_u32;
    while began.elapsed() < SPAN {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(f64::from(syncs) / began.elapsed().as_secs_f64())
}

struct Greeter(Http1);

impl Client for Greeter {
    async fn once(&mut self) -> Outcome<()> {
        self.0.get("/").await.map(drop)
    }
}

async fn hellos_per_second(directory: &Path) -> Outcome<f64> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let arguments = ["hello", "--listen", &address];
    let own = std::env::current_exe()?;
    let own = own.file_name().and_then(|name| name.to_str()).ok_or("a program without a name")?;
    let _program = Program::start(own, &arguments, &[], &directory.join("hello.log"))?;
    let began = Instant::now();
    while tokio::net::TcpStream::connect(&address).await.is_err() {
        if began.elapsed() > HELLO_WITHIN {
            return Err("the plain server did not start".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut clients = Vec::new();
    for _ in 0..HELLO_CONNECTIONS {
        clients.push(Greeter(Http1::connect(&address).await?));
    }
    let (clients, _) = load::closed(clients, SPAN).await?;
    let (_, sample) = load::closed(clients, HELLO_SPAN).await?;
    Ok(sample.per_second())
}
