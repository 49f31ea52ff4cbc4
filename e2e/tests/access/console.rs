//! Attack 15 for pages: every route of the console × who may come. What comes out is the matrix of
//! `docs/access.md`, line by line.

use argosy_e2e::{database::Place, http::Answer, on_both, server::TestServer};
use reqwest::Method;

use crate::{
    callers::{Callers, Kind},
    matrix::{line, must_be_written},
    routes::{self, Need, Route},
    targets::{Noun, Targets},
};

/// The columns: a key, an agent and a stranger are all strangers to pages.
const KINDS: [Kind; 7] = [
    Kind::Nobody,
    Kind::Admin,
    Kind::InSession,
    Kind::UserViewer,
    Kind::UserOperator,
    Kind::UserAdmin,
    Kind::UserOwing,
];

/// What an answer says about the gate. Whoever signs out is led to the way in, without being asked.
fn class(route: &Route, answer: &Answer) -> &'static str {
    let asked = answer.location().starts_with("/console/sign-in")
        && !answer.headers.contains_key("set-cookie");
    match answer.status {
        500.. => panic!("{} {} was answered with {answer:?}", route.method, route.template),
        _ if route.need == Need::Nothing => "allowed",
        303 if asked => "sign in",
        303 if answer.location() == "/console/password" => "new password",
        200 | 303 | 409 | 422 => "allowed",
        403 => "403",
        404 => "404",
        _ => panic!("{} {} was answered with {answer:?}", route.method, route.template),
    }
}

struct World {
    server: TestServer,
    callers: Callers,
    targets: Targets,
}

impl World {
    async fn route(&mut self, route: &Route, kind: Kind) -> &'static str {
        let server = &self.server;
        let noun = Noun::of(&route.template);
        let own = match noun {
            Some(Noun::Session) => self.callers.session(kind),
            _ => None,
        };
        let path = self.targets.path(server, &route.template, own).await;
        let about = (&route.method, path.as_str());
        let shown = self.callers.credentials(server, kind, &route.need, about);
        let mut headers: Vec<(&str, &str)> =
            shown.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.retain(|(name, _)| !["x-csrf-token", "sec-fetch-site"].contains(name));
        headers.push(("sec-fetch-site", "same-origin"));
        let csrf = shown.iter().find(|(name, _)| *name == "x-csrf-token");
        let csrf = csrf.map_or("", |(_, value)| value.as_str());
        let name = self.targets.fresh_name();
        let fields = [("csrf", csrf), ("name", &name), ("subsystem", "system"), ("role", "viewer")];
        let answer = match route.method {
            Method::GET => server.client.send(Method::GET, &path, &headers, None).await,
            _ => server.client.send_form(&path, &headers, &fields).await,
        };
        let cell = class(route, &answer);
        if route.method != Method::GET && cell == "allowed" {
            if let Some(noun) = noun {
                self.targets.spend(noun);
            }
            self.callers.refresh(&self.server, kind).await;
        }
        cell
    }
}

async fn the_matrix_of_pages_is_the_written_one(place: Place) {
    let server = TestServer::start(&place).await;
    let callers = Callers::make(&server).await;
    let targets = Targets::new(&server).await;
    let mut world = World { server, callers, targets };
    let titles: Vec<&str> = KINDS.into_iter().map(Kind::title).collect();
    let mut lines = vec![format!("| call | {} |", titles.join(" | "))];
    for route in routes::of_console() {
        let mut cells = Vec::new();
        for kind in KINDS {
            cells.push(world.route(&route, kind).await);
        }
        lines.push(line(&format!("{} {}", route.method, route.template), &cells));
    }
    must_be_written("The matrix of the console", &lines);
}

/// A page tells the same of what another organisation has as of what nobody has.
async fn pages_of_things_that_are_not_there_are_all_the_same(place: Place) {
    let server = TestServer::start(&place).await;
    let user = argosy_e2e::user::TestUser::make(&server, "ada", "admin").await;
    for route in routes::of_console() {
        if route.method != Method::GET || Noun::of(&route.template).is_none() {
            continue;
        }
        for unknown in ["nobody", "%00", "a%20b", "%ff"] {
            let path = route.template.replace("{id}", unknown);
            let answer = user.page(&server, &path).await;
            assert_eq!(answer.status, 404, "{path}: {answer:?}");
        }
    }
}

on_both!(
    the_matrix_of_pages_is_the_written_one,
    pages_of_things_that_are_not_there_are_all_the_same,
);
