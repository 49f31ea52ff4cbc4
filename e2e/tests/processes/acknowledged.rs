//! What a server has acknowledged, and whether it still stands.

use std::collections::BTreeSet;

use argosy_e2e::http::{Answer, plain};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{commands::LIFE, fleet::Fleet};

type Variables = &'static [(&'static str, &'static str)];

const KEYS: &str = "/api/v1/auth/keys";
/// Who writes at the moment of a mishap.
const WRITERS: usize = 4;

/// Variables as processes of this test take them: until its end.
pub(crate) fn kept(variables: Vec<(&'static str, String)>) -> Variables {
    let variables = variables.into_iter().map(|(name, text)| (name, &*text.leak()));
    variables.collect::<Vec<_>>().leak()
}

fn life(command: &Value) -> usize {
    let state = command["state"].as_str().unwrap();
    LIFE.iter().position(|at| *at == state).unwrap_or_else(|| panic!("{command}"))
}

/// What the server has acknowledged.
#[derive(Default)]
pub(crate) struct Acknowledged {
    pub(crate) keys: Vec<String>,
    /// With the last state that somebody saw.
    pub(crate) commands: Vec<(String, usize)>,
    pub(crate) ended: Vec<Value>,
}

impl Acknowledged {
    /// Two commands more.
    pub(crate) async fn more(&mut self, fleet: &Fleet, agent: &str) {
        for subsystem in ["system", "storage"] {
            self.commands.push((fleet.command(agent, subsystem).await, 0));
        }
    }

    /// Sees how far the commands are.
    pub(crate) async fn look(&mut self, fleet: &Fleet) {
        for (id, seen) in &mut self.commands {
            *seen = life(&fleet.get(&format!("/api/v1/commands/{id}")).await);
        }
    }

    /// All of it is there, and nothing has gone back.
    pub(crate) async fn stands(&mut self, fleet: &Fleet) {
        let there = keys(fleet).await;
        let gone: Vec<&String> = self.keys.iter().filter(|id| !there.contains(*id)).collect();
        assert!(gone.is_empty(), "{gone:?} of {} are gone", self.keys.len());
        for (id, seen) in &self.commands {
            let now = life(&fleet.get(&format!("/api/v1/commands/{id}")).await);
            assert!(now >= *seen, "{id} was {}, and is {}", LIFE[*seen], LIFE[now]);
        }
        fleet.unchanged(&self.ended).await;
    }

    /// Waits until every command has succeeded.
    pub(crate) async fn end(&mut self, fleet: &Fleet) {
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

/// Mints an API key. Answers its id, or how that was refused.
pub(crate) async fn mint(fleet: &Fleet) -> Result<String, Answer> {
    let body = json!({ "name": "busy", "scopes": ["agents:read"] });
    let answer = fleet.client.post(KEYS, &fleet.admin_key(), &body).await;
    if answer.status == 201 { Ok(answer.text("id")) } else { Err(answer) }
}

/// Several who mint API keys until there is nobody to do it, or it is enough.
pub(crate) struct Writers {
    enough: CancellationToken,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Writers {
    /// Starts them.
    pub(crate) fn start(fleet: &Fleet) -> Self {
        let enough = CancellationToken::new();
        let tasks = (0..WRITERS).map(|_| busy(fleet, &enough)).collect();
        Self { enough, tasks }
    }

    /// Ends them. Answers the ids of all keys that were acknowledged.
    pub(crate) async fn end(self) -> Vec<String> {
        self.enough.cancel();
        let mut ids = Vec::new();
        for task in self.tasks {
            ids.extend(task.await.unwrap());
        }
        ids
    }
}

/// One of them. Answers the ids of those that were acknowledged.
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
