//! Scenario `heartbeat`: durable signs of life, over control streams or over REST with API keys.

use std::sync::Arc;

use argosy_agent::transport::Link;
use argosy_wire::rpc::gateway::control_stream_response::Frame;
use clap::ValueEnum;
use hyper::body::Bytes;
use serde_json::json;

use super::Common;
use crate::{
    Outcome,
    agent::{Events, SimAgent, Stream, send},
    connection::{Http1, good},
    fleet::{self, Member},
    host::must_fit,
    load::Client,
    measure::maximum_and_latencies,
    report::Report,
    server::{Server, Setup},
};

/// The way of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Via {
    /// On control streams, of agents with keys.
    Stream,
    /// By REST with an API key, of agents without.
    Rest,
}

/// How the scenario is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How heartbeats travel.
    #[arg(long, value_enum, default_value_t = Via::Stream)]
    via: Via,
    /// Agents; each has one heartbeat under way at a time.
    #[arg(long, default_value_t = 512)]
    agents: usize,
    /// Streams over TLS.
    #[arg(long)]
    tls: bool,
    #[command(flatten)]
    common: Common,
}

/// Runs the scenario and prints what it found.
pub(crate) async fn run(arguments: &Arguments) -> Outcome<()> {
    let Arguments { via, agents, tls, common } = arguments;
    must_fit(*agents)?;
    let mut report = Report::begin("heartbeat", common).await?;
    let server = Server::start(common, Setup { tls: *tls, ..Setup::default() }).await?;
    let figures = match via {
        Via::Stream => {
            let clients = beating(&server, *agents).await?;
            maximum_and_latencies(&server, clients, common).await?.1
        }
        Via::Rest => {
            let clients = posting(&server, *agents).await?;
            maximum_and_latencies(&server, clients, common).await?.1
        }
    };
    let most = &figures["closed_loop"]["per_second"]["median"];
    let over_hello = report.over(most, |calibration| calibration.hello);
    let name = if *via == Via::Stream { "over_streams" } else { "over_rest" };
    report.put(name, figures);
    report.put("ratios", json!({ "heartbeats_over_hello": over_hello }));
    report.end(common).await
}

/// An agent on its stream.
pub(crate) struct Beating {
    /// Whose stream it is.
    pub(crate) agent: Arc<SimAgent>,
    /// Its stream.
    pub(crate) stream: Stream,
    /// The stream's connection lives as long as this does.
    _link: Link,
}

impl Beating {
    /// An agent on a stream that it has opened, and what its engine says.
    pub(crate) fn of(member: Member, stream: Stream) -> (Self, Events) {
        let Member { agent, link, events } = member;
        (Self { agent, stream, _link: link }, events)
    }

    /// The same agent on a stream over another connection.
    pub(crate) async fn moved(self, link: Link) -> Outcome<Self> {
        let stream = self.agent.open(&link).await?;
        Ok(Self { agent: self.agent, stream, _link: link })
    }
}

impl Client for Beating {
    async fn once(&mut self) -> Outcome<()> {
        let Stream { send: half, incoming } = &mut self.stream;
        send(half, self.agent.heartbeat()).await?;
        loop {
            match incoming.next().await? {
                Frame::HeartbeatAck(_) => return Ok(()),
                Frame::Config(config) => send(half, self.agent.configured(*config)?).await?,
                Frame::Goaway(goaway) => return Err(goaway.reason.into()),
                Frame::Accepted(_)
                | Frame::Command(_)
                | Frame::Cancel(_)
                | Frame::ResultAck(_)
                | Frame::Renewed(_) => {}
            }
        }
    }
}

/// Agents with open streams.
pub(crate) async fn beating(server: &Server, agents: usize) -> Outcome<Vec<Beating>> {
    let members = fleet::ready(server, agents).await?;
    let streams = fleet::connect(members).await?;
    let beating = streams.into_iter().map(|(member, stream)| Beating::of(member, stream).0);
    Ok(beating.collect())
}

/// An agent without keys.
struct Posting {
    http: Http1,
    authorization: String,
    body: Bytes,
}

impl Client for Posting {
    async fn once(&mut self) -> Outcome<()> {
        let header = Some(("authorization", self.authorization.as_str()));
        let answer = self.http.post("/api/v1/agents/heartbeat", header, self.body.clone()).await?;
        good(answer).map(drop)
    }
}

/// Agents that were enrolled with a raw token and have a connection each.
async fn posting(server: &Server, agents: usize) -> Outcome<Vec<Posting>> {
    let token = server.token(agents, false).await?;
    let mut posting = Vec::with_capacity(agents);
    for number in 0..agents {
        let mut http = Http1::connect(server.address()).await?;
        let body = json!({ "name": format!("agent-{number:06}"), "bootstrap_token": token });
        let answer = http.post("/api/v1/agents/register", None, body.to_string()).await?;
        let made: serde_json::Value = serde_json::from_slice(&good(answer)?)?;
        let id = made["agent_id"].as_str().ok_or("no agent_id in the answer")?;
        let key = made["api_key"].as_str().ok_or("no api_key in the answer")?;
        let body = json!({ "agent_id": id, "version": "0.1.0", "hostname": "simulated" });
        let body = Bytes::from(body.to_string());
        posting.push(Posting { http, authorization: format!("Bearer {key}"), body });
    }
    Ok(posting)
}
