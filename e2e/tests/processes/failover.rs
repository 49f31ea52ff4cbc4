//! Attack 38: PostgreSQL fails over to its standby in the middle of what the server writes.

use std::path::Path;

use argosy_e2e::{database::Place, postgres::OwnPostgres, proxy::Proxy};
use serde_json::json;

use crate::{
    acknowledged::{Acknowledged, Writers},
    commands::LIFE,
    fleet::{AgentProcess, Fleet},
};

async fn what_is_acknowledged_survives_a_failover(folder: &Path) {
    let postgres = OwnPostgres::start(&folder.join("postgres")).await;
    let standby = postgres.standby().await;
    // The address under which clients find whoever is in charge.
    let proxy = Proxy::start(vec![postgres.address(), standby.address()]).await;
    let database_url = postgres.url_at(proxy.address);
    let place = Place { data_dir: folder.join("data"), database_url: Some(database_url) };
    let fleet = Fleet::start(&place, "server").await;
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let _agent = AgentProcess::start(&fleet, &token);
    let id = fleet.connected().await;

    let mut acknowledged = Acknowledged::default();
    // Some have ended, some are under way, and others begin at that moment.
    acknowledged.more(&fleet, &id).await;
    acknowledged.end(&fleet).await;
    let writers = Writers::start(&fleet);
    for state in LIFE {
        acknowledged.more(&fleet, &id).await;
        let last = acknowledged.commands.last().unwrap().0.clone();
        let at = LIFE.iter().position(|known| *known == state).unwrap();
        fleet.command_in(&last, &LIFE[at..]).await;
    }
    acknowledged.look(&fleet).await;
    postgres.strike().await;
    standby.promote();
    fleet.sees_its_database().await;
    acknowledged.keys.extend(writers.end().await);
    assert!(!acknowledged.keys.is_empty());
    acknowledged.stands(&fleet).await;
    acknowledged.end(&fleet).await;

    // And it goes on with the new one.
    acknowledged.more(&fleet, &id).await;
    acknowledged.end(&fleet).await;
    fleet.stands(&acknowledged.ended).await;
    drop(fleet);
    drop(standby);
    postgres.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    let folder = tempfile::tempdir().unwrap();
    what_is_acknowledged_survives_a_failover(folder.path()).await;
}
