//! Attack 15: every route and every RPC × every kind of caller. The matrix that comes out is the
//! one of `docs/access.md`, line by line.

use std::path::Path;

use argosy_domain::access::Permission;
use argosy_e2e::{database::Place, on_both, server::TestServer};
use argosy_server::rpc;
use reqwest::Method;

use crate::{
    callers::{Callers, Kind, key_with},
    routes::{self, Need, Route},
    rpcs::{RpcClient, rpc},
    targets::{Noun, Targets},
};

/// A server with callers and things to call about.
struct World {
    server: TestServer,
    callers: Callers,
    targets: Targets,
    rpc: RpcClient,
}

/// What a status says about the gate. What is refused behind it has passed it.
fn class(status: u16, call: &str) -> &'static str {
    match status {
        200..=299 | 400 | 409 | 422 => "allowed",
        401 => "401",
        403 => "403",
        404 => "404",
        _ => panic!("{call} was answered with {status}"),
    }
}

pub(crate) fn line(call: &str, cells: &[&str]) -> String {
    format!("| `{call}` | {} |", cells.join(" | "))
}

impl World {
    async fn start(place: &Place) -> Self {
        let server = TestServer::start(place).await;
        let callers = Callers::make(&server).await;
        let targets = Targets::new(&server).await;
        Self { server, callers, targets, rpc: RpcClient::new() }
    }

    async fn route(&mut self, route: &Route, template: &str, kind: Kind) -> &'static str {
        let server = &self.server;
        let own = match Noun::of(template) {
            Some(Noun::Session) => self.callers.session(kind),
            _ => self.callers.agent(kind),
        };
        let path = self.targets.path(server, template, own).await;
        let about = (&route.method, path.as_str());
        let headers = self.callers.credentials(server, kind, &route.need, about);
        let mut headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push(("content-type", "application/json"));
        let body = route.body(&self.targets.fresh_name(), self.targets.token());
        let answer = server.client.send(route.method.clone(), &path, &headers, body.as_ref()).await;
        let changed = route.method != Method::GET && (200..300).contains(&answer.status);
        if let Some(noun) = Noun::of(template).filter(|_| changed) {
            self.targets.spend(noun);
        }
        if changed && template.starts_with("/api/v1/auth/") {
            self.callers.refresh(&self.server, kind).await;
        }
        class(answer.status, &format!("{} {path} of {}", route.method, kind.title()))
    }

    async fn procedure(&mut self, procedure: &str, kind: Kind) -> &'static str {
        let (server, called) = (&self.server, rpc(procedure));
        let id = match (called.noun, self.callers.agent(kind)) {
            (Some(Noun::Agent), Some(own)) => own.to_owned(),
            (Some(noun), _) => self.targets.id(server, noun).await,
            (None, _) => String::new(),
        };
        let message = called.message(&id, &self.targets.fresh_name(), self.targets.token());
        let about = (&Method::POST, procedure);
        let headers = self.callers.credentials(server, kind, &called.need, about);
        let streams = called.streams;
        let answer = self.rpc.call(server, procedure, &headers, &message, streams).await;
        if let Some(noun) = called.noun.filter(|_| answer.status == 200) {
            self.targets.spend(noun);
        }
        class(answer.status, &format!("{procedure} of {}", kind.title()))
    }
}

/// The lines of a matrix as they are written, without what dresses them up.
pub(crate) fn written(heading: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/access.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).expect("a section of its own");
    let section = section.split("\n## ").next().unwrap();
    let lines =
        section.lines().filter(|line| line.starts_with("| `") || line.starts_with("| call"));
    let spaced = |line: &str| line.split('|').map(str::trim).collect::<Vec<_>>().join(" | ");
    lines.map(|line| spaced(line).trim().to_owned()).collect()
}

async fn the_matrix_is_the_written_one(place: Place) {
    let mut world = World::start(&place).await;
    let titles: Vec<&str> = Kind::ALL.into_iter().map(Kind::title).collect();
    let mut lines = vec![format!("| call | {} |", titles.join(" | "))];
    for route in routes::all(&world.server).await {
        let mut cells = Vec::new();
        for kind in Kind::ALL {
            let cell = world.route(&route, &route.template, kind).await;
            if let Some(mirror) = route.mirror() {
                let mirrored = world.route(&route, &mirror, kind).await;
                assert_eq!(mirrored, cell, "{} {mirror} of {}", route.method, kind.title());
            }
            cells.push(cell);
        }
        lines.push(line(&format!("{} {}", route.method, route.template), &cells));
    }
    for procedure in rpc::procedures() {
        let mut cells = Vec::new();
        for kind in Kind::ALL {
            cells.push(world.procedure(&procedure, kind).await);
        }
        lines.push(line(&procedure, &cells));
    }
    must_be_written("The matrix", &lines);
}

/// Holds the lines against a section of the page.
pub(crate) fn must_be_written(heading: &str, lines: &[String]) {
    let written = written(heading);
    let missing: Vec<&String> = lines.iter().filter(|line| !written.contains(line)).collect();
    let untrue: Vec<&String> = written.iter().filter(|line| !lines.contains(line)).collect();
    assert!(
        missing.is_empty() && untrue.is_empty() && lines.len() == written.len(),
        "docs/access.md, section {heading}\nlacks {missing:#?}\nsays wrongly {untrue:#?}\n\
         should hold\n{}",
        lines.join("\n")
    );
}

async fn every_scope_opens_something_and_every_scope_is_known(place: Place) {
    let server = TestServer::start(&place).await;
    let routes = routes::all(&server).await.into_iter().map(|route| route.need);
    let procedures = rpc::procedures().into_iter().map(|procedure| rpc(&procedure).need);
    let mut asked: Vec<String> = routes
        .chain(procedures)
        .filter_map(|need| match need {
            Need::Scopes(scopes) => Some(scopes),
            Need::Nothing | Need::Somebody => None,
        })
        .flatten()
        .collect();
    asked.sort();
    asked.dedup();
    let mut known = Permission::ALL.map(|permission| permission.scope().to_owned());
    known.sort();
    assert_eq!(asked, known);
}

/// The matrix tries the first of several scopes that a call accepts.
async fn each_accepted_scope_is_enough(place: Place) {
    let mut world = World::start(&place).await;
    let routes = routes::all(&world.server).await.into_iter();
    let several = |need: &Need| matches!(need, Need::Scopes(scopes) if scopes.len() > 1);
    let (mut tried, scope) = (0, "discovery:read");
    let key = key_with(&world.server, &[scope]).await;
    for route in routes.filter(|route| several(&route.need)) {
        assert_eq!(route.need, Need::scopes(&["agents:read", scope]), "{}", route.template);
        for template in std::iter::once(route.template.clone()).chain(route.mirror()) {
            let path = world.targets.path(&world.server, &template, None).await;
            world.server.client.get(&path, &key).await.expect(200);
            tried += 1;
        }
    }
    assert_eq!(tried, 4);
    let headers = [("authorization", format!("Bearer {key}"))];
    let list = "/agentadmin.v1.AgentAdminService/ListAgents";
    let message = rpc(list).message("", "", "");
    let answer = world.rpc.call(&world.server, list, &headers, &message, false).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

on_both!(
    the_matrix_is_the_written_one,
    every_scope_opens_something_and_every_scope_is_known,
    each_accepted_scope_is_enough,
);
