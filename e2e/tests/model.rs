//! Enrolment and the life of an agent against a simple model: random sequences of what machines and
//! operators do, through the sockets, on both databases.
//!
//! The model knows tokens (seats, life, revocation) and machines (state, key, session) and says the
//! answer to each step beforehand; after each step the agent must stand where the model has it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use argosy_e2e::{
    agent::TestAgent,
    database::Place,
    http::Answer,
    on_both,
    server::{TestServer, settings},
};
use proptest::{
    collection::vec,
    prelude::{Strategy, any, prop_oneof},
    test_runner::{Config, TestCaseError, TestError, TestRng, TestRunner},
};
use serde_json::{Value, json};

const MACHINES: usize = 3;
const TOKENS: usize = 2;
/// Sequences that are played on each database.
const SEQUENCES: u32 = 24;
/// Steps of a sequence at most.
const STEPS_MAX: usize = 30;
/// Longer than a token, a registration or a session lives.
const A_DAY_AND_AN_HOUR: Duration = Duration::from_secs(25 * 3_600);

/// What somebody does. Machines and tokens are named by their places.
#[derive(Debug, Clone, Copy)]
enum Step {
    Mint { token: usize, seats: u32, auto_approve: bool },
    RevokeToken { token: usize },
    Register { machine: usize, token: usize },
    Repeat { machine: usize },
    Decide { machine: usize, decision: Decision },
    Delete { machine: usize },
    Handshake { machine: usize },
    Heartbeat { machine: usize },
    TimePasses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Approve,
    Reject,
    Quarantine,
    Restore,
    Revoke,
}

impl Decision {
    const ALL: [Self; 5] =
        [Self::Approve, Self::Reject, Self::Quarantine, Self::Restore, Self::Revoke];

    fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Quarantine => "quarantine",
            Self::Restore => "restore",
            Self::Revoke => "revoke",
        }
    }

    /// Where it leads from a state; nowhere from all others.
    fn leads(self, from: &str) -> Option<&'static str> {
        match (self, from) {
            (Self::Approve, "pending") => Some("approved"),
            (Self::Reject, "pending") => Some("rejected"),
            (Self::Quarantine, "approved") => Some("quarantined"),
            (Self::Restore, "quarantined") => Some("approved"),
            (Self::Revoke, "approved" | "quarantined") => Some("revoked"),
            _ => None,
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (machine, token) = (|| 0..MACHINES, || 0..TOKENS);
    let mint = (token(), 1..3u32, any::<bool>());
    let decision = proptest::sample::select(Decision::ALL.to_vec());
    let step = prop_oneof![
        3 => mint.prop_map(|(token, seats, auto_approve)| Step::Mint { token, seats, auto_approve }),
        1 => token().prop_map(|token| Step::RevokeToken { token }),
        6 => (machine(), token()).prop_map(|(machine, token)| Step::Register { machine, token }),
        2 => machine().prop_map(|machine| Step::Repeat { machine }),
        8 => (machine(), decision).prop_map(|(machine, decision)| Step::Decide { machine, decision }),
        1 => machine().prop_map(|machine| Step::Delete { machine }),
        5 => machine().prop_map(|machine| Step::Handshake { machine }),
        4 => machine().prop_map(|machine| Step::Heartbeat { machine }),
        1 => proptest::strategy::Just(Step::TimePasses),
    ];
    vec(step, 1..STEPS_MAX)
}

struct Token {
    id: String,
    text: String,
    seats: u32,
    used: u32,
    auto_approve: bool,
    dead: bool,
}

struct Machine {
    agent: TestAgent,
    /// The last registration: the token that it used, and its body.
    sent: Option<(String, Value)>,
    /// Where the server has it; nothing once it was deleted.
    state: Option<&'static str>,
    /// It holds a session that was good when it was made.
    session: bool,
    session_over: bool,
}

struct Play<'s> {
    server: &'s TestServer,
    tokens: Vec<Option<Token>>,
    machines: Vec<Machine>,
}

fn is_live(state: Option<&str>) -> bool {
    matches!(state, Some("pending" | "approved" | "quarantined"))
}

/// Status and code; the code is empty where nothing was refused.
fn expect(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

impl<'s> Play<'s> {
    fn new(server: &'s TestServer) -> Self {
        let name = argosy_wire::bytes::encode(&argosy_domain::entropy::random_bytes::<9>(
            &argosy_config::host::OsEntropy,
        ));
        let machine = |n| Machine {
            agent: TestAgent::new(&format!("m{name}-{n}")),
            sent: None,
            state: None,
            session: false,
            session_over: false,
        };
        let machines = (0..MACHINES).map(machine).collect();
        Self { server, tokens: (0..TOKENS).map(|_| None).collect(), machines }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Mint { token, seats, auto_approve } => {
                let body = json!({ "max_uses": seats, "auto_approve": auto_approve });
                let made = self.server.create_token(body).await.expect(201);
                let text = |field: &str| made[field].as_str().unwrap().to_owned();
                let (id, text) = (text("id"), text("token"));
                self.tokens[token] =
                    Some(Token { id, text, seats, used: 0, auto_approve, dead: false });
            }
            Step::RevokeToken { token } => self.revoke_token(token).await,
            Step::Register { machine, token } => self.register(machine, token).await,
            Step::Repeat { machine } => self.repeat(machine).await,
            Step::Decide { machine, decision } => self.decide(machine, decision).await,
            Step::Delete { machine } => self.delete(machine).await,
            Step::Handshake { machine } => self.handshake(machine).await,
            Step::Heartbeat { machine } => self.heartbeat(machine).await,
            Step::TimePasses => self.time_passes().await,
        }
        for machine in &self.machines {
            self.stands(&machine.agent.agent_id, machine.state).await;
        }
    }

    /// The agent is where the model has it.
    async fn stands(&self, id: &str, state: Option<&str>) {
        if id.is_empty() {
            return;
        }
        let path = format!("/api/v1/agents/{id}");
        let answer = self.server.client.get(&path, &self.server.admin_key).await;
        match state {
            Some(state) => assert_eq!(answer.expect(200)["status"], state),
            None => expect(&answer, 404, "not_found"),
        }
    }

    async fn revoke_token(&mut self, place: usize) {
        let Some(token) = &mut self.tokens[place] else { return };
        let path = format!("/api/v1/bootstrap-tokens/{}", token.id);
        let answer = self.server.client.delete(&path, &self.server.admin_key).await;
        assert!((200..300).contains(&answer.status), "{answer:?}");
        token.dead = true;
        for machine in &mut self.machines {
            let own = machine.sent.as_ref().is_some_and(|(used, _)| *used == token.id);
            if own && machine.state == Some("pending") {
                machine.state = Some("cancelled");
            }
        }
    }

    async fn register(&mut self, machine: usize, place: usize) {
        let machine = &mut self.machines[machine];
        let Some(token) = &mut self.tokens[place] else { return };
        let earlier = machine.agent.clone();
        let body = machine.agent.registration(&token.text);
        let answer = self.server.client.post_anonymous("/api/v1/agents/register", &body).await;
        let same_token = machine.sent.as_ref().is_some_and(|(used, _)| *used == token.id);
        if token.dead || token.used == token.seats {
            return expect(&answer, 401, "invalid_token");
        }
        if is_live(machine.state) && same_token {
            return expect(&answer, 409, "duplicate_key");
        }
        expect(&answer, 201, "");
        token.used += 1;
        let before = machine.state;
        machine.agent.agent_id = answer.text("agent_id");
        machine.agent.api_key = answer.text("api_key");
        machine.agent.continuation = None;
        machine.sent = Some((token.id.clone(), body));
        machine.state = Some(if token.auto_approve { "approved" } else { "pending" });
        let had_session = std::mem::take(&mut machine.session);
        machine.session_over = false;
        assert_ne!(earlier.agent_id, machine.agent.agent_id, "a fresh registration is a new agent");
        if is_live(before) {
            // The machine proved the key: its earlier self made room.
            let left = if before == Some("pending") { "cancelled" } else { "revoked" };
            self.stands(&earlier.agent_id, Some(left)).await;
            expect(&earlier.begin(self.server).await, 401, "unauthenticated");
            if had_session {
                let answer = earlier.clone().heartbeat(self.server).await;
                expect(&answer, 401, "invalid_session");
            }
        }
    }

    async fn repeat(&mut self, machine: usize) {
        let machine = &mut self.machines[machine];
        let (Some((used, body)), Some(state)) = (&machine.sent, machine.state) else { return };
        let token = self.tokens.iter().flatten().find(|token| token.id == *used);
        // A token whose place another took lives on; only time and revocation end it.
        let Some(token) = token else { return };
        let answer = self.server.client.post_anonymous("/api/v1/agents/register", body).await;
        if token.dead {
            return expect(&answer, 401, "invalid_token");
        }
        expect(&answer, 201, "");
        assert_eq!(answer.text("agent_id"), machine.agent.agent_id);
        if state == "pending" {
            let before = machine.agent.clone();
            machine.agent.api_key = answer.text("api_key");
            expect(&before.begin(self.server).await, 401, "unauthenticated");
        } else {
            assert!(answer.body["api_key"].is_null(), "a second key: {answer:?}");
        }
    }

    async fn decide(&mut self, machine: usize, decision: Decision) {
        let machine = &mut self.machines[machine];
        let id = &machine.agent.agent_id;
        if id.is_empty() {
            return;
        }
        let answer = self.server.decide(id, decision.name(), json!({})).await;
        match machine.state {
            None => expect(&answer, 404, "not_found"),
            Some(state) => match decision.leads(state) {
                Some(next) => {
                    expect(&answer, 200, "");
                    machine.state = Some(next);
                }
                None => expect(&answer, 409, "wrong_state"),
            },
        }
    }

    async fn delete(&mut self, machine: usize) {
        let machine = &mut self.machines[machine];
        if machine.agent.agent_id.is_empty() {
            return;
        }
        let path = format!("/api/v1/agents/{}", machine.agent.agent_id);
        let answer = self.server.client.delete(&path, &self.server.admin_key).await;
        match machine.state.take() {
            Some(_) => expect(&answer, 204, ""),
            None => expect(&answer, 404, "not_found"),
        }
    }

    async fn handshake(&mut self, machine: usize) {
        let machine = &mut self.machines[machine];
        if machine.agent.agent_id.is_empty() {
            return;
        }
        let answer = machine.agent.handshake(self.server).await;
        match machine.state {
            Some("approved" | "quarantined") => {
                expect(&answer, 200, "");
                (machine.session, machine.session_over) = (true, false);
            }
            Some("pending") => expect(&answer, 403, "not_approved"),
            Some(_) | None => expect(&answer, 401, "unauthenticated"),
        }
    }

    async fn heartbeat(&mut self, machine: usize) {
        let machine = &mut self.machines[machine];
        if !machine.session {
            return;
        }
        let answer = machine.agent.heartbeat(self.server).await;
        match machine.state {
            Some("approved" | "quarantined") if !machine.session_over => expect(&answer, 200, ""),
            Some(_) | None => expect(&answer, 401, "invalid_session"),
        }
    }

    async fn time_passes(&mut self) {
        self.server.clock.advance(A_DAY_AND_AN_HOUR);
        self.server.app.expire_registrations().await.unwrap();
        self.tokens.iter_mut().flatten().for_each(|token| token.dead = true);
        for machine in &mut self.machines {
            machine.session_over = true;
            if machine.state == Some("pending") {
                machine.state = Some("expired");
            }
        }
    }

    /// Seats were taken as often as the model says.
    async fn seats(&self) {
        let path = "/api/v1/bootstrap-tokens?limit=500";
        let page = self.server.client.get(path, &self.server.admin_key).await.expect(200);
        for token in self.tokens.iter().flatten() {
            let items = page["items"].as_array().unwrap();
            let shown = items.iter().find(|shown| shown["id"] == token.id.as_str()).unwrap();
            assert_eq!(shown["uses"], token.used, "{shown}");
        }
    }
}

async fn agents_live_as_the_model_says(place: Place) {
    let clock = argosy_e2e::clock::ManualClock::default();
    let server = TestServer::start_with(settings(&place), clock).await;
    let config = Config { cases: SEQUENCES, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let runtime = tokio::runtime::Handle::current();
    let outcome = tokio::task::block_in_place(|| {
        TestRunner::new_with_rng(config, rng).run(&steps(), |steps| {
            let played = std::panic::AssertUnwindSafe(|| {
                runtime.block_on(async {
                    let mut play = Play::new(&server);
                    for step in steps {
                        play.step(step).await;
                    }
                    play.seats().await;
                });
            });
            std::panic::catch_unwind(played).map_err(|panic| {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                TestCaseError::fail(text)
            })
        })
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, steps)) => panic!("{why}\nafter these steps: {steps:#?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

on_both!(agents_live_as_the_model_says);
