//! Attack 24 between the real programs: a network that crawls, cuts, corrupts and goes dead. Each command
//! ends once.

use std::time::Duration;

use argosy_e2e::{
    database::{Place, on_sqlite},
    process::until,
    proxy::Proxy,
};
use serde_json::{Value, json};

use crate::{
    commands::LIFE,
    fleet::{AgentProcess, Fleet},
};

const CUTS: usize = 6;

/// A fleet whose agent speaks with the server through a proxy.
struct Faulty {
    fleet: Fleet,
    proxy: Proxy,
    id: String,
    ended: Vec<Value>,
    _agent: AgentProcess,
}

impl Faulty {
    async fn start(place: &Place) -> Self {
        let (fleet, proxy) = Fleet::behind_a_proxy(place).await;
        let token = fleet.token(json!({ "auto_approve": true })).await;
        let agent = AgentProcess::through(&fleet, &proxy, &token);
        let id = fleet.connected().await;
        Self { fleet, proxy, id, ended: Vec::new(), _agent: agent }
    }

    async fn given(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(self.fleet.command(&self.id, "system").await);
        }
        ids
    }

    async fn end(&mut self, ids: &[String]) {
        self.ended.extend(self.fleet.all_succeeded(ids).await);
    }
}

async fn commands_end_once_whatever_the_network_does(place: Place) {
    let mut faulty = Faulty::start(&place).await;

    // A few bytes at a time.
    faulty.proxy.crawl(64, Duration::from_millis(2));
    let slow = faulty.given(2).await;
    faulty.end(&slow).await;
    faulty.proxy.hurry();

    // Cut, at one place of a command's life after another.
    for round in 0..CUTS {
        let cut = faulty.given(1).await;
        faulty.fleet.command_in(&cut[0], &LIFE[round % LIFE.len()..]).await;
        faulty.proxy.cut();
        faulty.end(&cut).await;
    }

    // Bytes arrive as others, until somebody notices or the line is cut.
    faulty.proxy.corrupt(61);
    let spoilt = faulty.given(3).await;
    let proxy = &faulty.proxy;
    until("bytes to be spoilt", || async { (proxy.corrupted() > 0).then_some(()) }).await;
    faulty.proxy.cut();
    faulty.end(&spoilt).await;

    // The line goes dead, and nobody says so: both sides ask whether the other is still there.
    faulty.proxy.forget();
    let dead = faulty.given(1).await;
    faulty.end(&dead).await;

    faulty.fleet.stands(&faulty.ended).await;
}

// The network is the same for both databases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults() {
    on_sqlite(commands_end_once_whatever_the_network_does).await;
}
