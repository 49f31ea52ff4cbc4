//! Attack 38: the disk under the database is full, then slow; the agent's is full. Nobody is told that
//! something is kept which is not, what was acknowledged stands, and all goes on as soon as there is room.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use argosy_e2e::{
    database::{Place, on_sqlite},
    postgres::OwnPostgres,
    power::Power,
    process::until,
};
use serde_json::json;

use crate::{
    acknowledged::{Acknowledged, kept, mint},
    fleet::{AgentProcess, Fleet},
};

/// How long a sync takes on a slow disk.
const SLOW_SYNC: Duration = Duration::from_millis(300);
/// Who writes at once on a slow disk.
const AT_ONCE: usize = 24;
/// Keys that a server with a full disk keeps at most: there may be room left in its files.
const KEYS_MAX: usize = 2_000;
/// Commands that an agent with a full disk is given at most.
const COMMANDS_MAX: usize = 200;

async fn a_full_and_a_slow_disk_lose_nothing(fleet: &Fleet, disk: &Power) {
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let _agent = AgentProcess::start(fleet, &token);
    let id = fleet.connected().await;
    let mut acknowledged = Acknowledged::default();
    acknowledged.more(fleet, &id).await;
    acknowledged.end(fleet).await;

    disk.fill();
    let refused = loop {
        assert!(acknowledged.keys.len() < KEYS_MAX, "the disk does not fill");
        match mint(fleet).await {
            Ok(key) => acknowledged.keys.push(key),
            Err(answer) => break answer,
        }
    };
    refused.refused(503, "unavailable");
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    // What only reads goes on.
    fleet.get("/health").await;
    acknowledged.stands(fleet).await;

    disk.make_room();
    let written = async || mint(fleet).await.ok();
    acknowledged.keys.push(until("a write that is kept again", written).await);
    acknowledged.more(fleet, &id).await;
    acknowledged.end(fleet).await;

    disk.slow_down(SLOW_SYNC);
    let began = Instant::now();
    acknowledged.keys.push(mint(fleet).await.unwrap());
    assert!(began.elapsed() >= SLOW_SYNC, "the disk is not slow");
    let at_once = futures::future::join_all((0..AT_ONCE).map(|_| mint(fleet))).await;
    acknowledged.keys.extend(at_once.into_iter().map(Result::unwrap));
    acknowledged.more(fleet, &id).await;
    acknowledged.end(fleet).await;
    disk.hurry();
    acknowledged.stands(fleet).await;
    fleet.stands(&acknowledged.ended).await;
}

async fn the_disk_of_sqlite(place: Place) {
    let disk = Power::under(&place.data_dir);
    let fleet = Fleet::start_with(&place, "server", kept(disk.bare_variables())).await;
    a_full_and_a_slow_disk_lose_nothing(&fleet, &disk).await;
}

async fn the_disk_of_postgres(folder: &Path) {
    // PostgreSQL may run as a user of its own.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let files = folder.join("postgres");
    let disk = Power::under(&files);
    let mut variables = kept(disk.bare_variables()).to_vec();
    variables.push(("TMPDIR", files.to_str().unwrap()));
    let postgres = OwnPostgres::start_with(&files, &variables).await;
    let place = Place { data_dir: folder.join("data"), database_url: Some(postgres.url.clone()) };
    let fleet = Fleet::start(&place, "server").await;
    a_full_and_a_slow_disk_lose_nothing(&fleet, &disk).await;
    drop(fleet);
    postgres.end().await;
}

/// An agent that cannot write down what it does does nothing, and ends; once there is room, it is started
/// again and everything is carried out once.
async fn the_disk_of_an_agent(place: Place) {
    let disk = Power::under(&place.data_dir.with_file_name("agent"));
    let fleet = Fleet::start(&place, "server").await;
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let mut agent = AgentProcess::start_with(&fleet, &token, kept(disk.bare_variables()));
    let id = fleet.connected().await;
    let mut given = vec![fleet.command(&id, "system").await];
    let mut ended = fleet.all_succeeded(&given).await;

    disk.fill();
    let log = fleet.folder.join("agent.log");
    let gave_up =
        || std::fs::read_to_string(&log).unwrap().contains("the journal cannot be written");
    while !gave_up() {
        assert!(given.len() < COMMANDS_MAX, "the disk does not fill");
        let last = fleet.command(&id, "system").await;
        until("the command to end, or the agent", async || {
            let command = fleet.get(&format!("/api/v1/commands/{last}")).await;
            (command["state"] == "succeeded" || gave_up()).then_some(())
        })
        .await;
        given.push(last);
    }
    assert_eq!(agent.exit_code().await, Some(1));
    given.push(fleet.command(&id, "storage").await);

    disk.make_room();
    agent.start_again();
    ended.extend(fleet.all_succeeded(&given[1..]).await);
    fleet.stands(&ended).await;
    fleet.every_receipt_counted().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    on_sqlite(the_disk_of_sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    let folder = tempfile::tempdir().unwrap();
    the_disk_of_postgres(folder.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent() {
    on_sqlite(the_disk_of_an_agent).await;
}
