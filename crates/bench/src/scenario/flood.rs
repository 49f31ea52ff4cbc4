//! Scenario `flood`: agents go on beating while somebody presents bad tokens and bad keys, from one
//! source and from many, and while machines join with raw tokens. Their p99 at most doubles.

use std::time::Duration;

use argosy_config::host::OsEntropy;
use argosy_domain::entropy::random_bytes;
use argosy_wire::bytes;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Common, heartbeat::beating};
use crate::{
    Outcome,
    connection::{Http1, good},
    host::must_fit,
    load::{self, Client, number},
    report::Report,
    server::{Server, Setup},
};

/// Connections that the flood comes over.
const FLOODERS: usize = 16;
/// Raw tokens at hand for machines that join meanwhile.
const SEATS: usize = 20_000;

/// How the scenario is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Agents that beat.
    #[arg(long, default_value_t = 200)]
    agents: usize,
    /// Heartbeats of all of them in a second.
    #[arg(long, default_value_t = 2_000.0)]
    per_second: f64,
    #[command(flatten)]
    common: Common,
}

/// Who disturbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flood {
    /// Nobody.
    None,
    /// One source with bad tokens: it is soon told to wait.
    OneSource,
    /// Another source for each bad token: each costs a hash.
    ManySources,
    /// Machines that join with a good raw token.
    Machines,
}

impl Flood {
    const ALL: [Self; 4] = [Self::None, Self::OneSource, Self::ManySources, Self::Machines];

    fn name(self) -> &'static str {
        match self {
            Self::None => "quiet",
            Self::OneSource => "bad_tokens_of_one_source",
            Self::ManySources => "bad_tokens_of_many_sources",
            Self::Machines => "machines_that_join",
        }
    }
}

/// Runs the scenario and prints what it found.
pub(crate) async fn run(arguments: &Arguments) -> Outcome<()> {
    let Arguments { agents, per_second, common } = arguments;
    must_fit(*agents)?;
    let mut report = Report::begin("flood", common).await?;
    let setup = Setup { behind_proxy: true, ..Setup::default() };
    let server = Server::start(common, setup).await?;
    let mut clients = beating(&server, *agents).await?;
    let token = server.token(SEATS, false).await?;
    (clients, _) = load::open(clients, common.span(), *per_second).await?;
    let mut quiet = f64::NAN;
    for flood in Flood::ALL {
        let floods = begin(&server, flood, &token).await?;
        let before = server.snapshot().await?;
        let (back, sample) = load::open(clients, common.span(), *per_second).await?;
        clients = back;
        let after = server.snapshot().await?;
        drop(floods);
        let mut figures = sample.to_json();
        let hashes = "argosy_token_hashes_total";
        let hashed = after.counter(hashes) - before.counter(hashes);
        let rounds = number(u64::try_from(common.span().as_millis())?) / 1_000.0;
        figures["hashes_per_second"] = (hashed / rounds).into();
        let p99 = sample.quantile_ms(0.99);
        if flood == Flood::None {
            quiet = p99;
        }
        figures["p99_over_quiet"] = (p99 / quiet).into();
        if p99 > quiet * 2.0 {
            report.mark(format!("{} more than doubled the p99 of heartbeats", flood.name()));
        }
        report.put(flood.name(), figures);
    }
    report.end(common).await
}

/// Somebody who disturbs. What is answered to bad tokens is of no interest.
struct Flooder {
    http: Http1,
    flood: Flood,
    token: String,
}

impl Client for Flooder {
    async fn once(&mut self) -> Outcome<()> {
        let drawn: [u8; 32] = random_bytes(&OsEntropy);
        let name = bytes::encode(&drawn[..12]);
        let source = format!("10.{}.{}.{}", drawn[0], drawn[1], drawn[2]);
        let (header, token) = match self.flood {
            Flood::None => return Ok(()),
            Flood::OneSource => (None, format!("boot_{}_{}", &name[..8], bytes::encode(&drawn))),
            Flood::ManySources => (
                Some(("x-forwarded-for", source.as_str())),
                format!("boot_{}_{}", &name[..8], bytes::encode(&drawn)),
            ),
            Flood::Machines => (None, self.token.clone()),
        };
        let body: Value = json!({ "name": name, "bootstrap_token": token });
        let answer = self.http.post("/api/v1/agents/register", header, body.to_string()).await?;
        match (self.flood, answer.0) {
            (Flood::OneSource | Flood::ManySources, status) if status.is_success() => {
                Err("a bad token was accepted".into())
            }
            (Flood::Machines, StatusCode::SERVICE_UNAVAILABLE) => Ok(()),
            (Flood::Machines, _) => good(answer).map(drop),
            (Flood::None | Flood::OneSource | Flood::ManySources, _) => Ok(()),
        }
    }
}

/// Begins to disturb; it ends with what is returned.
async fn begin(server: &Server, flood: Flood, token: &str) -> Outcome<JoinSet<()>> {
    let mut floods = JoinSet::new();
    if flood == Flood::None {
        return Ok(floods);
    }
    for _ in 0..FLOODERS {
        let http = Http1::connect(server.address()).await?;
        let mut flooder = Flooder { http, flood, token: token.to_owned() };
        floods.spawn(async move { while flooder.once().await.is_ok() {} });
    }
    // The first of them have to be under way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(floods)
}
