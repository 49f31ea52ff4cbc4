//! What the documentation lists is what the code has: settings, routes with their scopes, roles,
//! and links.

use std::{collections::BTreeSet, fs, path::Path};

use argosy_agent::config::AgentSettings;
use argosy_config::load::{Settings as _, load};
use argosy_domain::access::{Permission, Role};
use argosy_server::{config::Settings, console};
use serde_json::Value;

use super::{pages, read, root};

/// Variables of the command line, and the agent's configuration file.
const OTHER_VARIABLES: [&str; 5] =
    ["ARGOSY_CONFIG", "ARGOSY_KEY", "ARGOSY_PIN", "ARGOSY_PROFILE", "ARGOSY_SERVER"];

/// The cells of every table row of a page, without code marks.
fn rows(page: &str) -> Vec<Vec<String>> {
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let cell = |text: &str| text.trim().replace('`', "");
    rows.map(|row| row.trim_matches('|').split('|').map(cell).collect()).collect()
}

/// Variables and values of `.env.example`, where each stands in a comment.
fn example() -> Vec<(String, String)> {
    let text = read(".env.example");
    let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
    let pairs = lines.filter(|line| line.starts_with("ARGOSY_"));
    pairs
        .map(|line| {
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("no value: {line}"));
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

fn variable(key: &&str) -> String {
    format!("ARGOSY_{}", key.to_uppercase())
}

#[test]
fn the_example_environment_holds_every_variable_and_no_other() {
    let listed: BTreeSet<String> = example()
        .into_iter()
        .map(|(name, _)| name.split("__").next().unwrap_or_default().to_owned())
        .collect();
    let keys = Settings::KEYS.iter().chain(AgentSettings::KEYS).map(variable);
    let known: BTreeSet<String> = keys.chain(OTHER_VARIABLES.map(str::to_owned)).collect();
    assert_eq!(listed, known);
    let named = read("crates/cli/src/start.rs");
    let is_name = |text: &&str| text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    for name in named.split('"').filter(|text| text.starts_with("ARGOSY_")).filter(is_name) {
        assert!(OTHER_VARIABLES.contains(&name), "{name} is not in .env.example");
    }
}

#[test]
fn the_example_environment_can_be_used_as_it_stands() {
    // What only its owner can fill in stands there as `…`.
    let values = || example().into_iter().filter(|(_, value)| !value.contains('…'));
    let server = load::<Settings>(None, values(), &[], AgentSettings::KEYS).unwrap();
    server.settings.checked().unwrap();
    let agent = load::<AgentSettings>(None, values(), &[], Settings::KEYS).unwrap();
    agent.settings.check().unwrap();
}

#[test]
fn every_setting_is_explained() {
    let page = read("docs/configuration.md");
    let explained: BTreeSet<String> =
        rows(&page).into_iter().filter_map(|row| row.into_iter().next()).collect();
    for key in Settings::KEYS.iter().chain(AgentSettings::KEYS) {
        assert!(explained.contains(*key), "docs/configuration.md does not explain {key}");
    }
}

/// Method, path and scope of every route, from the OpenAPI document.
fn routes() -> BTreeSet<Vec<String>> {
    let document = serde_json::to_value(argosy_server::http::document()).unwrap();
    let mut routes = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, about) in methods.as_object().unwrap() {
            let scope = match about["security"].as_array() {
                None => "none".to_owned(),
                Some(schemes) => scope(schemes),
            };
            routes.insert(vec![method.to_uppercase(), path.clone(), scope]);
        }
    }
    for route in console::ROUTES {
        let need = match route.need {
            console::Need::Nothing => "none",
            console::Need::User => "signed in",
            console::Need::Scope(permission) => permission.scope(),
        };
        routes.insert(vec![route.method.to_uppercase(), route.path.into(), need.into()]);
    }
    routes
}

fn scope(schemes: &[Value]) -> String {
    let scopes = schemes.iter().filter_map(|scheme| scheme["api_key"].as_array()).flatten();
    let scopes: Vec<&str> = scopes.filter_map(Value::as_str).collect();
    if scopes.is_empty() { "any credential".to_owned() } else { scopes.join(" or ") }
}

#[test]
fn the_written_access_matrix_is_the_one_of_the_code() {
    const METHODS: [&str; 5] = ["GET", "POST", "PATCH", "PUT", "DELETE"];
    let page = read("docs/access.md");
    let written: BTreeSet<Vec<String>> = rows(&page)
        .into_iter()
        .filter(|row| METHODS.contains(&row[0].as_str()))
        .map(|row| row[..3].to_vec())
        .collect();
    assert_eq!(written, routes());
}

#[test]
fn the_written_roles_are_those_of_the_code() {
    let page = read("docs/access.md");
    let written: BTreeSet<Vec<String>> =
        rows(&page).into_iter().filter(|row| row[0].contains(':') && row.len() == 4).collect();
    let may = |role: Role, permission| if role.scopes().grant(permission) { "yes" } else { "" };
    let roles = [Role::Viewer, Role::Operator, Role::Admin];
    let known = Permission::ALL.map(|permission| {
        let mut row = vec![permission.scope().to_owned()];
        row.extend(roles.map(|role| may(role, permission).to_owned()));
        row
    });
    assert_eq!(written, BTreeSet::from(known));
}

/// The target of each `[text](target)` that is no address of another host.
fn links(page: &str) -> Vec<String> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://"));
    local.map(str::to_owned).collect()
}

/// The anchor of a heading, as repository hosts make it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = read(&page);
        for link in links(&text) {
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => root().join(&page),
                file => root().join(&page).parent().map(|at| at.join(file)).unwrap_or_default(),
            };
            assert!(target.exists(), "{page}: {link} leads nowhere");
            assert!(heading.is_empty() || has_heading(&target, heading), "{page}: no {link}");
        }
    }
}

fn has_heading(file: &Path, heading: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == heading)
}
