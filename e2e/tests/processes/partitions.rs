//! Attack 24 in a network with a router: what passes is lost one way or both, and the agent moves to another
//! address in the middle. Each command ends once.
//!
//! Where this machine does not let a test make networks, a proxy on loopback stands in, which loses both
//! ways only; the test says so.

use argosy_e2e::{
    database::Place,
    island::{Island, Lost, MAINLAND},
    proxy::Proxy,
};
use serde_json::{Value, json};

use crate::{
    commands::LIFE,
    fleet::{AgentProcess, Fleet},
};

/// What lies between server and agent.
enum Network {
    Island(Box<Island>),
    Proxy(Proxy),
}

impl Network {
    fn lose(&self, lost: Lost) {
        match self {
            Self::Island(island) => island.lose(lost),
            Self::Proxy(proxy) => proxy.stop(),
        }
    }

    fn find(&self) {
        match self {
            Self::Island(island) => island.find(),
            Self::Proxy(proxy) => proxy.go(),
        }
    }

    /// Connections of the agent are dead from now on, and nobody is told.
    fn move_away(&mut self) {
        match self {
            Self::Island(island) => island.move_away(),
            Self::Proxy(proxy) => proxy.forget(),
        }
    }
}

async fn on_an_island(place: &Place, island: Island) -> (Fleet, Network, AgentProcess) {
    let mut fleet = Fleet::prepare_at(MAINLAND, place, "server");
    fleet.public_url(&fleet.url.clone());
    fleet.start_server().await;
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let agent = AgentProcess::start_by(&fleet, island.prefix(), &token);
    (fleet, Network::Island(Box::new(island)), agent)
}

async fn behind_a_proxy(place: &Place) -> (Fleet, Network, AgentProcess) {
    let (fleet, proxy) = Fleet::behind_a_proxy(place).await;
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let agent = AgentProcess::through(&fleet, &proxy, &token);
    (fleet, Network::Proxy(proxy), agent)
}

async fn commands_end_once_across_partitions(
    mut fleet: Fleet,
    mut network: Network,
    _agent: AgentProcess,
) {
    let id = fleet.connected().await;
    let mut ended: Vec<Value> = Vec::new();

    // On the way to the agent, on the way back, both: before and after the network parts.
    for lost in [Lost::ToIsland, Lost::FromIsland, Lost::Both] {
        for given_first in [true, false] {
            let mut given = Vec::new();
            if given_first {
                given.push(fleet.command(&id, "system").await);
            }
            network.lose(lost);
            given.push(fleet.command(&id, "storage").await);
            // The server has written it to a connection that looks alive.
            fleet.command_in(given.last().unwrap(), &LIFE[1..]).await;
            network.find();
            ended.extend(fleet.all_succeeded(&given).await);
        }
    }

    // The server is another when the network is whole again.
    network.lose(Lost::Both);
    let given = [fleet.command(&id, "system").await];
    fleet.kill_server().await;
    fleet.start_server().await;
    network.find();
    ended.extend(fleet.all_succeeded(&given).await);

    // The agent is elsewhere, and its connection is nowhere.
    let before = fleet.command(&id, "system").await;
    network.move_away();
    let after = fleet.command(&id, "storage").await;
    ended.extend(fleet.all_succeeded(&[before, after]).await);

    fleet.stands(&ended).await;
    fleet.every_receipt_counted().await;
}

// The network is the same for both databases.
#[test]
fn partitions() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place { data_dir: folder.path().join("data"), database_url: None };
    let island = Island::make();
    if let Ok(island) = &island {
        island.land();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (fleet, network, agent) = match island {
            Ok(island) => on_an_island(&place, island).await,
            Err(why) => {
                eprintln!("no network of the test's own ({why}): a proxy stands in");
                behind_a_proxy(&place).await
            }
        };
        commands_end_once_across_partitions(fleet, network, agent).await;
    });
}
