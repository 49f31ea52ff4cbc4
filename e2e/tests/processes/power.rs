//! Attack 21 with the power gone: what was acknowledged is on the disk, and not only in its cache. SQLite
//! and the agent's database lose every write that was not synced; PostgreSQL loses its postmaster.

use std::path::Path;

use argosy_e2e::{
    database::{Place, on_sqlite},
    postgres::OwnPostgres,
    power::{Fate, Power},
};
use serde_json::json;

use crate::{
    acknowledged::{Acknowledged, Writers, kept},
    commands::LIFE,
    fleet::{AgentProcess, Fleet},
};

/// Which writes survive, from cut to cut: none, some, half of each.
const CUTS: [&[Fate]; 4] = [
    &[Fate::Lost],
    &[Fate::Kept, Fate::Lost],
    &[Fate::Torn],
    &[Fate::Lost, Fate::Kept, Fate::Torn],
];
const ROUNDS: usize = 8;
const POSTMASTER_ROUNDS: usize = 3;

fn cut(power: &Power, round: usize) -> usize {
    let mut fates = CUTS[round % CUTS.len()].iter().cycle();
    power.cut(|| *fates.next().unwrap())
}

async fn what_is_acknowledged_survives_without_power(place: Place) {
    let folder = place.data_dir.parent().unwrap().to_owned();
    let disk = Power::under(&place.data_dir);
    let agents_disk = Power::under(&folder.join("agent"));
    let mut fleet = Fleet::start_with(&place, "server", kept(disk.variables())).await;
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let mut agent = AgentProcess::start_with(&fleet, &token, kept(agents_disk.variables()));
    let id = fleet.connected().await;
    let mut acknowledged = Acknowledged::default();
    let (mut servers, mut agents) = (0, 0);
    for round in 0..ROUNDS {
        let writers = Writers::start(&fleet);
        acknowledged.more(&fleet, &id).await;
        // The cut comes at one place of their lives in one round, at another in the next.
        let first = acknowledged.commands[0].0.clone();
        fleet.command_in(&first, &LIFE[round % LIFE.len()..]).await;
        acknowledged.look(&fleet).await;
        let (server_too, agent_too) = (round % 3 != 1, round % 3 != 0);
        if agent_too {
            agent.kill().await;
            agents += cut(&agents_disk, round);
        }
        if server_too {
            fleet.kill_server().await;
            servers += cut(&disk, round);
            fleet.start_server().await;
        }
        acknowledged.keys.extend(writers.end().await);
        acknowledged.stands(&fleet).await;
        if agent_too {
            agent.start_again();
        }
        acknowledged.end(&fleet).await;
    }
    acknowledged.stands(&fleet).await;
    fleet.stands(&acknowledged.ended).await;
    assert_eq!(acknowledged.ended.len(), 2 * ROUNDS);
    assert!(!acknowledged.keys.is_empty());
    println!("power: {} keys and {} commands", acknowledged.keys.len(), acknowledged.ended.len());
    println!("power: {servers} writes of the server and {agents} of the agent were not synced");
}

/// The tests above would see it: on a disk that acknowledges what it does not keep, all is gone.
async fn a_disk_that_lies_is_noticed(place: Place) {
    let disk = Power::under(&place.data_dir);
    let mut variables = disk.variables();
    variables.push(("ARGOSY_POWER_LIES", "1".to_owned()));
    let mut fleet = Fleet::start_with(&place, "server", kept(variables)).await;
    fleet.token(json!({})).await;
    let there = |name: &str| std::fs::metadata(place.data_dir.join(name)).unwrap().len();
    let before = ["argosy.db", "argosy.db-wal", "master.key"].map(there);
    assert!(before[0] + before[1] > 0 && before[2] > 0, "{before:?}");
    fleet.kill_server().await;
    assert!(disk.cut(|| Fate::Lost) > 0);
    assert_eq!(["argosy.db", "argosy.db-wal", "master.key"].map(there), [0; 3]);
}

async fn what_is_acknowledged_survives_the_postmaster(folder: &Path) {
    let postgres = OwnPostgres::start(&folder.join("postgres")).await;
    let data_dir = folder.join("data");
    let place = Place { data_dir, database_url: Some(postgres.url.clone()) };
    let fleet = Fleet::start(&place, "server").await;
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let _agent = AgentProcess::start(&fleet, &token);
    let id = fleet.connected().await;
    let mut acknowledged = Acknowledged::default();
    for round in 0..POSTMASTER_ROUNDS {
        let writers = Writers::start(&fleet);
        acknowledged.more(&fleet, &id).await;
        let first = acknowledged.commands[0].0.clone();
        fleet.command_in(&first, &LIFE[2 * round..]).await;
        acknowledged.look(&fleet).await;
        postgres.kill().await;
        fleet.sees_its_database().await;
        acknowledged.keys.extend(writers.end().await);
        acknowledged.stands(&fleet).await;
        acknowledged.end(&fleet).await;
    }
    acknowledged.stands(&fleet).await;
    drop(fleet);
    postgres.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts() {
    on_sqlite(what_is_acknowledged_survives_without_power).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies() {
    on_sqlite(a_disk_that_lies_is_noticed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postmasters() {
    let folder = tempfile::tempdir().unwrap();
    what_is_acknowledged_survives_the_postmaster(folder.path()).await;
}
