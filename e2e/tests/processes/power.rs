//! Attack 21 with the power gone: what was acknowledged is on the disk, and not only in its cache. SQLite
//! and the agent's database lose every write that was not synced; PostgreSQL loses its postmaster.

use std::{collections::BTreeSet, path::Path};

use argosy_e2e::{
    database::{Place, on_sqlite},
    http::plain,
    postgres::OwnPostgres,
    power::{Fate, Power},
    process::until,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    commands::LIFE,
    fleet::{AgentProcess, Fleet},
};

type Variables = &'static [(&'static str, &'static str)];

/// Which writes survive, from cut to cut: none, some, half of each.
const CUTS: [&[Fate]; 4] = [
    &[Fate::Lost],
    &[Fate::Kept, Fate::Lost],
    &[Fate::Torn],
    &[Fate::Lost, Fate::Kept, Fate::Torn],
];
const ROUNDS: usize = 8;
/// Who writes at the moment of a cut.
const WRITERS: usize = 4;
const KEYS: &str = "/api/v1/auth/keys";
const POSTMASTER_ROUNDS: usize = 3;

/// Variables as processes of this test take them: until its end.
fn kept(variables: Vec<(&'static str, String)>) -> Variables {
    let variables = variables.into_iter().map(|(name, text)| (name, &*text.leak()));
    variables.collect::<Vec<_>>().leak()
}

fn cut(power: &Power, round: usize) -> usize {
    let mut fates = CUTS[round % CUTS.len()].iter().cycle();
    power.cut(|| *fates.next().unwrap())
}

fn life(command: &Value) -> usize {
    let state = command["state"].as_str().unwrap();
    LIFE.iter().position(|at| *at == state).unwrap_or_else(|| panic!("{command}"))
}

/// What the server has acknowledged.
#[derive(Default)]
struct Acknowledged {
    keys: Vec<String>,
    /// With the last state that somebody saw.
    commands: Vec<(String, usize)>,
    ended: Vec<Value>,
}

impl Acknowledged {
    async fn more(&mut self, fleet: &Fleet, agent: &str) {
        for subsystem in ["system", "storage"] {
            self.commands.push((fleet.command(agent, subsystem).await, 0));
        }
    }

    async fn look(&mut self, fleet: &Fleet) {
        for (id, seen) in &mut self.commands {
            *seen = life(&fleet.get(&format!("/api/v1/commands/{id}")).await);
        }
    }

    /// All of it is there, and nothing has gone back.
    async fn stands(&mut self, fleet: &Fleet) {
        let there = keys(fleet).await;
        let gone: Vec<&String> = self.keys.iter().filter(|id| !there.contains(*id)).collect();
        assert!(gone.is_empty(), "{gone:?} of {} are gone", self.keys.len());
        for (id, seen) in &self.commands {
            let now = life(&fleet.get(&format!("/api/v1/commands/{id}")).await);
            assert!(now >= *seen, "{id} was {}, and is {}", LIFE[*seen], LIFE[now]);
        }
        fleet.unchanged(&self.ended).await;
    }

    async fn end(&mut self, fleet: &Fleet) {
        for (id, _) in self.commands.drain(..) {
            self.ended.push(fleet.succeeded(&id).await);
        }
    }
}

/// The ids of all API keys.
async fn keys(fleet: &Fleet) -> BTreeSet<String> {
    let (mut ids, mut path) = (BTreeSet::new(), format!("{KEYS}?limit=500"));
    loop {
        let page = fleet.get(&path).await;
        let items = page["items"].as_array().unwrap().iter();
        ids.extend(items.map(|key| key["id"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { return ids };
        path = format!("{KEYS}?limit=500&cursor={cursor}");
    }
}

/// Mints API keys until there is nobody to do it, or it is enough. Answers the ids of those that were
/// acknowledged.
fn busy(fleet: &Fleet, enough: &CancellationToken) -> JoinHandle<Vec<String>> {
    let enough = enough.clone();
    let (url, key, http) = (format!("{}{KEYS}", fleet.url), fleet.admin_key(), plain());
    tokio::spawn(async move {
        let mut ids = Vec::new();
        while !enough.is_cancelled() {
            let request = http
                .post(&url)
                .bearer_auth(&key)
                .body(r#"{"name":"busy","scopes":["agents:read"]}"#);
            let Ok(answer) = request.send().await else { return ids };
            let status = answer.status();
            let Ok(text) = answer.text().await else { return ids };
            if status != 201 {
                return ids;
            }
            let made: Value = serde_json::from_str(&text).unwrap();
            ids.push(made["id"].as_str().unwrap().to_owned());
        }
        ids
    })
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
        let enough = CancellationToken::new();
        let writers: Vec<_> = (0..WRITERS).map(|_| busy(&fleet, &enough)).collect();
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
        enough.cancel();
        for writer in writers {
            acknowledged.keys.extend(writer.await.unwrap());
        }
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
        let enough = CancellationToken::new();
        let writers: Vec<_> = (0..WRITERS).map(|_| busy(&fleet, &enough)).collect();
        acknowledged.more(&fleet, &id).await;
        let first = acknowledged.commands[0].0.clone();
        fleet.command_in(&first, &LIFE[2 * round..]).await;
        acknowledged.look(&fleet).await;
        postgres.kill().await;
        until("the server to have its database back", || async {
            let answer = fleet.client.get("/api/v1/agents", &fleet.admin_key()).await;
            (answer.status == 200).then_some(())
        })
        .await;
        enough.cancel();
        for writer in writers {
            acknowledged.keys.extend(writer.await.unwrap());
        }
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
