//! Three real servers on one PostgreSQL behind a plain TCP balancer, and real agents that know nothing but the
//! balancer: one server is killed, one is blind, the database crashes under all of them. What any of them
//! acknowledged is done, and what one does for all goes on.

mod server;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use argosy_e2e::{
    database::Place,
    http::{Client, plain},
    on_shared,
    postgres::OwnPostgres,
    process::{Process, free_port, ready, until},
    proxy::Proxy,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinHandle};

use self::server::{Server, database};

const SERVERS: usize = 3;
/// Two for each server.
const AGENTS: usize = 6;
/// Commands that each server is given while something happens.
const GIVEN: usize = 12;
/// Acknowledgments after which it happens.
const ACKNOWLEDGED_FIRST: u32 = 6;
/// A second is promised for a command's way to an agent at another server; the machine of a test may be busy,
/// and so the quickest counts.
const SOON: Duration = Duration::from_secs(4);

struct Trio {
    folder: PathBuf,
    database_url: String,
    key: String,
    balancer: Proxy,
    servers: Vec<Server>,
    agents: Vec<String>,
    processes: Vec<Process>,
}

impl Trio {
    async fn start(folder: &Path, database_url: &str) -> Self {
        let mut servers = Vec::new();
        for _ in 0..SERVERS {
            servers.push(Server::prepare(folder, database_url, free_port()).await);
        }
        let targets = servers.iter().map(|one| SocketAddr::from(([127, 0, 0, 1], one.port)));
        let balancer = Proxy::balancer(targets.collect()).await;
        let mut trio = Self {
            folder: folder.to_owned(),
            database_url: database_url.to_owned(),
            key: String::new(),
            balancer,
            servers,
            agents: Vec::new(),
            processes: Vec::new(),
        };
        for number in 0..SERVERS {
            trio.start_server(number).await;
        }
        let key = std::fs::read_to_string(trio.servers[0].data_dir.join("admin.key")).unwrap();
        key.trim().clone_into(&mut trio.key);
        trio.start_agents().await;
        trio
    }

    /// The first one makes the master key, and the others are given it.
    async fn start_server(&mut self, number: usize) {
        let master_key = self.servers[0].data_dir.join("master.key");
        let whole = (self.folder.as_path(), self.database_url.as_str(), &self.balancer.address);
        self.servers[number].start(whole, &master_key).await;
    }

    async fn start_agents(&mut self) {
        let body = json!({
            "name": "trio", "require_proof": true, "auto_approve": true, "max_uses": AGENTS,
        });
        let (made, _) = self.post(0, "/api/v1/bootstrap-tokens", &body).await;
        let token = made["token"].as_str().unwrap();
        let url = format!("http://{}", self.balancer.address);
        for number in 0..AGENTS {
            let (name, state) = (format!("web-{number}"), self.folder.join(format!("a{number}")));
            let policy = self.folder.join("policy.toml");
            let variables = [
                ("ARGOSY_SERVER_URL", url.as_str()),
                ("ARGOSY_BOOTSTRAP_TOKEN", token),
                ("ARGOSY_AGENT_NAME", &name),
                ("ARGOSY_STATE_DIR", state.to_str().unwrap()),
                ("ARGOSY_POLICY_FILE", policy.to_str().unwrap()),
            ];
            let log = self.folder.join(format!("agent-{number}.log"));
            self.processes.push(Process::start("argosy-agent", &["run"], &variables, &log));
        }
        let page = until("every agent", || async {
            let page = self.get(0, "/api/v1/agents").await;
            (page["items"].as_array().unwrap().len() == AGENTS).then_some(page)
        })
        .await;
        let agents = page["items"].as_array().unwrap().iter();
        self.agents = agents.map(|agent| agent["agent_id"].as_str().unwrap().to_owned()).collect();
        self.spread().await;
    }

    /// Every server that runs holds streams, and together they hold all. Those of one server may have come
    /// to be on fewer: then all are dealt out anew.
    async fn spread(&self) {
        until("streams on each server", || async {
            let streams = self.streams().await;
            if streams.values().sum::<u64>() != u64::try_from(AGENTS).unwrap() {
                return None;
            }
            if streams.values().all(|count| *count > 0) {
                return Some(());
            }
            self.balancer.cut();
            None
        })
        .await;
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Server)> {
        self.servers.iter().enumerate().filter(|(_, server)| server.process.is_some())
    }

    /// How many streams each server that runs holds.
    async fn streams(&self) -> BTreeMap<usize, u64> {
        let mut streams = BTreeMap::new();
        for (number, server) in self.running() {
            streams.insert(number, server.metric("argosy_streams_open").await);
        }
        streams
    }

    /// What a server answers to the administrator, once it can: one that waited for a core was blind.
    async fn get(&self, server: usize, path: &str) -> Value {
        until("an answer", || async {
            let answer = self.servers[server].client.get(path, &self.key).await;
            (answer.status != 503).then(|| answer.expect(200))
        })
        .await
    }

    /// The same with something to do; when that was said the last time too.
    async fn post(&self, server: usize, path: &str, body: &Value) -> (Value, Instant) {
        until("an answer", || async {
            let began = Instant::now();
            let answer = self.servers[server].client.post(path, &self.key, body).await;
            assert!([201, 202, 503].contains(&answer.status), "{answer:?}");
            (answer.status != 503).then_some((answer.body, began))
        })
        .await
    }

    /// The agents whose streams are on a server, once the books have any.
    async fn agents_at(&self, server: usize) -> Vec<String> {
        until("the books to have a stream of the server", || async {
            let ask = "SELECT agent_id FROM agent_presence WHERE connected AND replica = $1";
            let query = sqlx::query_scalar(ask).bind(&self.servers[server].id);
            let found: Vec<String> =
                query.fetch_all(&mut database(&self.database_url).await).await.unwrap();
            (!found.is_empty()).then_some(found)
        })
        .await
    }

    /// A server that is blind takes nothing, over a connection that it cannot have let go yet.
    async fn refuses(&self, server: usize, path: &str, body: &Value) {
        let client = Client::new(&self.servers[server].url);
        client.post(path, &self.key, body).await.refused(503, "unavailable");
    }

    /// How far a command is; none while the server cannot say.
    async fn state(&self, server: usize, command: &str) -> Option<String> {
        let path = format!("/api/v1/commands/{command}");
        let answer = self.servers[server].client.get(&path, &self.key).await;
        (answer.status == 200).then(|| answer.text("state"))
    }

    /// Who holds the lease of what one does for all, and its epoch.
    async fn lease(&self) -> (String, i64) {
        let ask = "SELECT holder, epoch FROM leases WHERE name = 'housekeeping'";
        sqlx::query_as(ask).fetch_one(&mut database(&self.database_url).await).await.unwrap()
    }

    /// The one server that says to lead, which holds the lease; the epoch of that too.
    async fn leader(&self) -> (usize, i64) {
        until("one server to lead", || async {
            let mut leading = Vec::new();
            for (number, server) in self.running() {
                if server.metric("argosy_leads").await == 1 {
                    leading.push(number);
                }
            }
            let (holder, epoch) = self.lease().await;
            let leader = leading.pop()?;
            // They were asked one after the other: who led before it must have ceased by now.
            for before in leading {
                assert_eq!(self.servers[before].metric("argosy_leads").await, 0, "two lead");
            }
            (self.servers[leader].id == holder).then_some((leader, epoch))
        })
        .await
    }

    /// Another server leads than the one that did, in a later epoch, and does the work of that.
    async fn leads_on(&self, before: (usize, i64)) -> usize {
        let (leader, epoch) = until("another server to lead", || async {
            let (holder, epoch) = self.lease().await;
            if holder == self.servers[before.0].id {
                return None;
            }
            assert!(epoch > before.1, "the epoch was {}, and is {epoch}", before.1);
            Some(self.leader().await)
        })
        .await;
        assert!(leader != before.0 && epoch > before.1);
        until("the audit log to be sealed", || async {
            let ask = "SELECT COUNT(*) FROM audit_entries WHERE position IS NULL";
            let query = sqlx::query_scalar(ask);
            let left: i64 = query.fetch_one(&mut database(&self.database_url).await).await.unwrap();
            (left == 0).then_some(())
        })
        .await;
        leader
    }

    /// Gives a command by one server; how long it takes until the agent is known to have it.
    async fn reaches(&self, server: usize, agent: &str) -> Duration {
        let (path, body) = order(agent);
        let (given, began) = self.post(server, &path, &body).await;
        let id = given["id"].as_str().unwrap();
        until("the command to reach its agent", || async {
            let state = self.state(server, id).await?;
            ["received", "running", "succeeded"].contains(&state.as_str()).then(|| began.elapsed())
        })
        .await
    }

    /// From each of these servers a command reaches an agent at each of the others; how long each took, in
    /// order.
    async fn commands_reach_everybody(&self, from: &[usize]) -> Vec<Duration> {
        let mut took = Vec::new();
        for (to, _) in self.running() {
            let agents = self.agents_at(to).await;
            for from in from.iter().filter(|from| **from != to) {
                took.push(self.reaches(*from, &agents[0]).await);
            }
        }
        took.sort_unstable();
        took
    }

    /// Gives commands by every server that runs, again where one cannot take them now. `told` has a permit
    /// for each that was acknowledged.
    fn give(&self, told: &Arc<Semaphore>) -> Vec<JoinHandle<Vec<String>>> {
        let one = |(_, server): (usize, &Server)| {
            let (url, key, told) = (server.url.clone(), self.key.clone(), Arc::clone(told));
            tokio::spawn(given(url, key, self.agents.clone(), told))
        };
        self.running().map(one).collect()
    }

    /// Whatever was acknowledged is there, and is done.
    async fn all_done(&self, by: usize, given: Vec<JoinHandle<Vec<String>>>) -> usize {
        let mut all = 0;
        for giver in given {
            for id in giver.await.unwrap() {
                all += 1;
                until("an acknowledged command to succeed", || async {
                    (self.state(by, &id).await? == "succeeded").then_some(())
                })
                .await;
            }
        }
        all
    }
}

/// Where and what to post for a command.
fn order(agent: &str) -> (String, Value) {
    let body = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } });
    (format!("/api/v1/agents/{agent}/commands"), body)
}

/// Commands that a server acknowledged, until it is enough or the server is gone.
async fn given(url: String, key: String, agents: Vec<String>, told: Arc<Semaphore>) -> Vec<String> {
    let (http, mut ids) = (plain(), Vec::new());
    let mut again = tokio::time::interval(Duration::from_millis(50));
    while ids.len() < GIVEN {
        let (path, body) = order(&agents[ids.len() % agents.len()]);
        let request = http.post(format!("{url}{path}")).bearer_auth(&key).body(body.to_string());
        let Ok(answer) = request.send().await else { return ids };
        let status = answer.status();
        let Ok(text) = answer.text().await else { return ids };
        if status == 202 {
            let made: Value = serde_json::from_str(&text).unwrap();
            ids.push(made["id"].as_str().unwrap().to_owned());
            told.add_permits(1);
        } else {
            assert_eq!(status, 503, "{text}");
            again.tick().await;
        }
    }
    ids
}

async fn happens(told: &Semaphore) {
    told.acquire_many(ACKNOWLEDGED_FIRST).await.unwrap().forget();
}

async fn a_server_is_killed_and_the_database_crashes(trio: &mut Trio, postgres: &OwnPostgres) {
    let everybody: Vec<usize> = (0..SERVERS).collect();
    let took = trio.commands_reach_everybody(&everybody).await;
    assert!(took.first() < Some(&SOON), "{took:?}");

    // The one that leads, in the middle of commands.
    let before = trio.leader().await;
    let told = Arc::new(Semaphore::new(0));
    let given = trio.give(&told);
    happens(&told).await;
    trio.servers[before.0].process.take().unwrap().kill().await;
    let other = (before.0 + 1) % SERVERS;
    let all = trio.all_done(other, given).await;
    assert!(all >= (SERVERS - 1) * GIVEN, "{all}");
    trio.spread().await;
    trio.leads_on(before).await;

    // It comes back, and takes part.
    trio.start_server(before.0).await;
    trio.spread().await;

    let told = Arc::new(Semaphore::new(0));
    let given = trio.give(&told);
    happens(&told).await;
    postgres.crash().await;
    assert_eq!(trio.all_done(before.0, given).await, SERVERS * GIVEN);
    trio.leader().await;
    trio.commands_reach_everybody(&[before.0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = OwnPostgres::start(&folder.path().join("postgres")).await;
    let mut trio = Trio::start(folder.path(), &postgres.url).await;
    a_server_is_killed_and_the_database_crashes(&mut trio, &postgres).await;
    drop(trio);
    postgres.end().await;
}

async fn a_blind_server_is_left_for_those_that_see(place: Place) {
    let folder = place.data_dir.parent().unwrap();
    let trio = Trio::start(folder, place.database_url.as_deref().unwrap()).await;
    let before = trio.leader().await;
    let blind = before.0;
    let there = trio.agents_at(blind).await;
    trio.servers[blind].way.stop();
    let answer = until("the server to say that it is blind", || async {
        let answer = trio.servers[blind].client.send(Method::GET, "/ready", &[], None).await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(answer.body["checks"]["serving"], "ok", "{answer:?}");

    // It acknowledges nothing, and those that were with it find their way to others meanwhile.
    let (path, body) = order(&there[0]);
    trio.refuses(blind, &path, &body).await;
    until("its agents to leave it", || async {
        let streams = trio.streams().await;
        (streams[&blind] == 0 && streams.values().sum::<u64>() == AGENTS as u64).then_some(())
    })
    .await;
    trio.refuses(blind, &path, &body).await;
    let other = trio.leads_on(before).await;
    for agent in &there {
        trio.reaches(other, agent).await;
    }
    let ask = "SELECT COUNT(*) FROM commands";
    let query = sqlx::query_scalar(ask);
    let kept: i64 = query.fetch_one(&mut database(&trio.database_url).await).await.unwrap();
    assert_eq!(usize::try_from(kept).unwrap(), there.len());

    // It sees again, and is one of them.
    trio.servers[blind].way.go();
    ready(&trio.servers[blind].url).await;
    trio.balancer.cut();
    trio.spread().await;
    trio.commands_reach_everybody(&[blind]).await;
}

on_shared!(a_blind_server_is_left_for_those_that_see);
