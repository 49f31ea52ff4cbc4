//! What tests of real processes do with commands: give them, wait for them, and hold the record to how they
//! ended.

use std::{collections::BTreeSet, time::Duration};

use argosy_e2e::{http::plain, process::until};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::fleet::Fleet;

/// States by how far they are, of a command that goes well.
pub(crate) const LIFE: [&str; 5] = ["queued", "sent", "received", "running", "succeeded"];
/// How a command can end.
const ENDS: [&str; 7] =
    ["succeeded", "failed", "timed_out", "rejected", "cancelled", "expired", "lost"];
/// Commands on a page of the list.
const PAGE: usize = 500;

/// How many places in the order these commands have.
pub(crate) fn sequences(commands: &[Value]) -> usize {
    let sequences = commands.iter().map(|command| command["sequence"].as_i64().unwrap());
    sequences.collect::<BTreeSet<_>>().len()
}

impl Fleet {
    /// Gives a command.
    pub(crate) async fn command(&self, agent: &str, subsystem: &str) -> String {
        let path = format!("/api/v1/agents/{agent}/commands");
        let body = json!({ "kind": "subsystem.run", "params": { "subsystem": subsystem } });
        let answer = self.client.post(&path, &self.admin_key(), &body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.text("id")
    }

    /// Gives a command under an idempotency key, again and again until a server has answered: there may
    /// be none just now, and one may die of it. Answers the command's id.
    pub(crate) fn insist(&self, agent: &str, kind: &str, key: String) -> JoinHandle<String> {
        let url = format!("{}/api/v1/agents/{agent}/commands", self.url);
        let params = match kind {
            "subsystem.run" => json!({ "subsystem": "system" }),
            _ => json!({}),
        };
        let body = json!({ "kind": kind, "params": params, "idempotency_key": key });
        let (http, admin_key) = (plain(), self.admin_key());
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            loop {
                ticks.tick().await;
                let request = http.post(&url).bearer_auth(&admin_key).body(body.to_string());
                let Ok(answer) = request.send().await else { continue };
                if answer.status() != 202 {
                    continue;
                }
                let Ok(text) = answer.text().await else { continue };
                let command: Value = serde_json::from_str(&text).unwrap();
                return command["id"].as_str().unwrap().to_owned();
            }
        })
    }

    /// The command once its state is one of those named.
    pub(crate) async fn command_in(&self, id: &str, states: &[&str]) -> Value {
        until(&format!("command {id} to be one of {states:?}"), || async {
            let command = self.get(&format!("/api/v1/commands/{id}")).await;
            states.contains(&command["state"].as_str().unwrap()).then_some(command)
        })
        .await
    }

    /// The command once it has ended.
    pub(crate) async fn over(&self, id: &str) -> Value {
        self.command_in(id, &ENDS).await
    }

    /// The command once it has succeeded, which its agent has signed.
    pub(crate) async fn succeeded(&self, id: &str) -> Value {
        let command = self.over(id).await;
        assert_eq!(command["state"], "succeeded", "{command}");
        assert_eq!(command["receipt_available"], true, "{command}");
        command
    }

    /// The same for several.
    pub(crate) async fn all_succeeded(&self, ids: &[String]) -> Vec<Value> {
        let mut ended = Vec::new();
        for id in ids {
            ended.push(self.succeeded(id).await);
        }
        ended
    }

    /// What ended stays as it ended: no later delivery, result or restart has touched it.
    pub(crate) async fn unchanged(&self, ended: &[Value]) {
        for command in ended {
            let path = format!("/api/v1/commands/{}", command["id"].as_str().unwrap());
            assert_eq!(&self.get(&path).await, command);
        }
    }

    /// The record has these commands, as they ended, and no other.
    pub(crate) async fn stands(&self, ended: &[Value]) {
        self.unchanged(ended).await;
        let page = self.get(&format!("/api/v1/commands?limit={PAGE}")).await;
        assert_eq!(page["items"].as_array().unwrap().len(), ended.len().min(PAGE), "{page}");
    }

    /// No receipt that came was refused.
    pub(crate) async fn every_receipt_counted(&self) {
        let refused = self.get("/api/v1/audit?action=command.receipt_refused").await;
        assert_eq!(refused["items"], json!([]));
    }
}
