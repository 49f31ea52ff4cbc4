//! Attack 21 at random: `kill -9` of agent, server or both at any moment of the lives of several
//! commands. Each ends exactly once in the record, and what may happen once happens once at most.
//!
//! `ARGOSY_KILLS` says how many kills, `ARGOSY_KILLS_SEED` which; both are printed with what happened.
//! `make kills` asks for two hundred.

use std::{collections::BTreeMap, time::Duration};

use argosy_config::host::OsEntropy;
use argosy_domain::entropy::random_bytes;
use argosy_e2e::{database::Place, on_both};
use serde_json::Value;

use crate::{
    commands::sequences,
    fleet::{AgentProcess, Fleet},
};

/// Kills of an ordinary run of the tests.
const KILLS: usize = 24;
/// Commands that are given for each kill: one that may be repeated, and one that may not.
const GIVEN: [&str; 2] = ["subsystem.run", "agent.restart"];
/// What the agent's log says when it does the latter.
const RESTARTING: &str = "restarting, as commanded";
/// A kill comes within this time after its commands were given; the life of one takes a part of it.
const MOMENT_MAX: Duration = Duration::from_millis(300);
/// Kills between two looks at how all commands ended.
const KILLS_PER_LOOK: usize = 4;

fn asked<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

/// SplitMix64: the same seed gives the same kills.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What happened.
#[derive(Debug, Default)]
struct Counts {
    server: usize,
    agent: usize,
    both: usize,
    /// How far commands were, for the record, when somebody was back.
    found: BTreeMap<String, usize>,
    /// Restarts that were cut off before they were marked, and so did not happen.
    interrupted: usize,
}

struct Run {
    fleet: Fleet,
    agent: AgentProcess,
    id: String,
    dice: Dice,
    counts: Counts,
}

impl Run {
    async fn start(place: &Place, seed: u64) -> Self {
        let (fleet, agent, id) = Fleet::with_agent(place).await;
        Self { fleet, agent, id, dice: Dice(seed), counts: Counts::default() }
    }

    /// Gives commands, kills somebody meanwhile, and answers the commands' ids.
    async fn kill(&mut self, round: usize) -> Vec<String> {
        let given = GIVEN.map(|kind| self.fleet.insist(&self.id, kind, format!("{kind}-{round}")));
        let (victim, micros) =
            (self.dice.below(3), self.dice.below(MOMENT_MAX.as_micros().try_into().unwrap()));
        // The moment is the attack; nothing waits for what happens in this time.
        tokio::time::sleep(Duration::from_micros(micros)).await;
        if victim != 0 {
            self.agent.kill().await;
        }
        if victim != 1 {
            self.fleet.kill_server().await;
            self.fleet.start_server().await;
        }
        let mut ids = Vec::new();
        for command in given {
            ids.push(command.await.unwrap());
        }
        for id in &ids {
            let shown = self.fleet.get(&format!("/api/v1/commands/{id}")).await;
            let state = shown["state"].as_str().unwrap().to_owned();
            *self.counts.found.entry(state).or_default() += 1;
        }
        match victim {
            0 => self.counts.server += 1,
            1 => self.counts.agent += 1,
            _ => self.counts.both += 1,
        }
        if victim != 0 {
            self.agent.start_again();
        }
        ids
    }

    async fn ended(&mut self, ids: &[String]) -> Vec<Value> {
        let mut ended = Vec::new();
        for id in ids {
            let command = self.fleet.over(id).await;
            assert_eq!(command["receipt_available"], true, "{command}");
            if command["state"] == "failed" {
                assert_eq!(command["kind"], "agent.restart", "{command}");
                assert_eq!(command["result"]["code"], "interrupted", "{command}");
                assert_eq!(self.restarts(id), 0, "{command}");
                self.counts.interrupted += 1;
            } else {
                assert_eq!(command["state"], "succeeded", "{command}");
                assert!(self.restarts(id) <= 1, "{command}");
            }
            ended.push(command);
        }
        ended
    }

    /// How often a command has restarted the agent.
    fn restarts(&self, id: &str) -> usize {
        let log = std::fs::read_to_string(self.fleet.folder.join("agent.log")).unwrap();
        log.lines().filter(|line| line.contains(RESTARTING) && line.contains(id)).count()
    }
}

async fn commands_end_once_whenever_somebody_is_killed(place: Place) {
    let kills = asked("ARGOSY_KILLS").unwrap_or(KILLS);
    let seed = asked("ARGOSY_KILLS_SEED")
        .unwrap_or_else(|| u64::from(u32::from_le_bytes(random_bytes(&OsEntropy))));
    println!("kills: seed {seed}, {kills} kills");
    let mut run = Run::start(&place, seed).await;
    let (mut open, mut ended) = (Vec::new(), Vec::new());
    for round in 0..kills {
        open.extend(run.kill(round).await);
        if (round + 1) % KILLS_PER_LOOK == 0 || round + 1 == kills {
            ended.extend(run.ended(&open).await);
            open.clear();
        }
    }
    run.fleet.stands(&ended).await;
    assert_eq!(sequences(&ended), kills * GIVEN.len());
    run.fleet.every_receipt_counted().await;
    println!("kills: seed {seed}, {} commands ended once, {:?}", ended.len(), run.counts);
}

on_both!(commands_end_once_whenever_somebody_is_killed);
