//! Azure as its reference has it: lists of the Resource Manager, tokens for applications and machines.

use std::collections::BTreeMap;

use argosy_e2e::{database::Place, on_both};
use serde_json::{Value, json};

use super::{
    QUIET, agent_of, ended, ids, kept, resources, run_again,
    stand_in::{Asked, Said, StandIn},
};
use crate::fleet::{AgentProcess, Fleet};

const ONE: &str = "11111111-0000-4000-8000-000000000001";
const TWO: &str = "22222222-0000-4000-8000-000000000002";
const OFF: &str = "33333333-0000-4000-8000-000000000003";
const SECRET: &str = "the-secret-of-the-test";
/// Items of one page.
const PAGE: usize = 100;

/// A subscription: what is on each of its lists.
#[derive(Default)]
struct Subscription {
    networks: Vec<Value>,
    addresses: Vec<Value>,
}

struct Azure {
    url: String,
    subscriptions: BTreeMap<&'static str, Subscription>,
    denied: Option<&'static str>,
    /// So many calls are asked for patience.
    busy: u32,
    /// Where pages lead that lead elsewhere.
    astray: Option<String>,
    /// Pages of networks that were served.
    pages: u32,
    tokens: u32,
    /// The next call is told that its token is not good any more.
    expired: bool,
    /// Requests that showed a token.
    shown: u32,
}

fn path_of(subscription: &str, kind: &str, name: &str) -> String {
    format!(
        "/subscriptions/{subscription}/resourceGroups/Rg/providers/Microsoft.Network/{kind}/{name}"
    )
}

impl Subscription {
    fn network(&mut self, of: &str, location: &str, (name, octet): (&str, usize)) {
        let id = path_of(of, "virtualNetworks", name);
        let card = path_of(of, "networkInterfaces", name) + "/ipConfigurations/first";
        self.networks.push(json!({
            "id": id, "name": name, "location": location, "tags": { "env": "test" },
            "properties": {
                "addressSpace": { "addressPrefixes": [format!("10.{octet}.0.0/16")] },
                "subnets": [{ "id": format!("{id}/subnets/default"), "name": "default", "properties": {
                    "addressPrefix": format!("10.{octet}.1.0/29"),
                    "ipConfigurations": [{ "id": card }, { "id": "/b" }, { "id": "/c" }] } }],
            },
        }));
    }

    fn address(&mut self, of: &str, location: &str, (name, on): (&str, &str)) {
        let card = path_of(of, "networkInterfaces", on) + "/ipConfigurations/first";
        self.addresses.push(json!({
            "id": path_of(of, "publicIPAddresses", name), "name": name, "location": location,
            "properties": { "ipAddress": "203.0.113.8", "ipConfiguration": { "id": card.to_uppercase() } },
        }));
    }
}

fn refused(status: u16, code: &str) -> Said {
    (status, json!({ "error": { "code": code, "message": "said by the test" } }))
}

impl Azure {
    fn new(url: &str) -> Self {
        let (mut one, mut two) = (Subscription::default(), Subscription::default());
        for number in 0..230 {
            one.network(ONE, "westeurope", (&format!("n{number}"), number));
        }
        one.network(ONE, "eastus", ("main", 240));
        one.address(ONE, "eastus", ("front", "main"));
        two.network(TWO, "westeurope", ("other", 250));
        Self {
            url: url.to_owned(),
            subscriptions: BTreeMap::from([(ONE, one), (TWO, two)]),
            denied: None,
            busy: 0,
            astray: None,
            pages: 0,
            tokens: 0,
            expired: false,
            shown: 0,
        }
    }

    fn token(&mut self, good: bool) -> Said {
        if !good {
            let why = "AADSTS7000215: Invalid client secret provided.";
            return (401, json!({ "error": "invalid_client", "error_description": why }));
        }
        self.tokens += 1;
        let token = format!("token-{}", self.tokens);
        (200, json!({ "access_token": token, "expires_in": "3599", "token_type": "Bearer" }))
    }

    fn answer(&mut self, asked: &Asked) -> Said {
        if asked.path == "/tenant-1/oauth2/v2.0/token" {
            let form = &asked.form;
            assert_eq!(form["scope"], format!("{}/.default", self.url));
            assert_eq!(form["grant_type"], "client_credentials");
            let assertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
            let federated = form.get("client_assertion").is_some_and(|word| word == "vouched")
                && form["client_assertion_type"] == assertion;
            let secret = form.get("client_secret").is_some_and(|secret| secret == SECRET);
            return self.token((secret || federated) && form["client_id"] == "client-1");
        }
        if asked.path == "/platform/token" {
            assert_eq!(
                (asked.query["client_id"].as_str(), asked.header("x-identity-header")),
                ("chosen", "word")
            );
            return self.token(true);
        }
        if asked.path == "/metadata/identity/oauth2/token" {
            assert_eq!(asked.query["resource"], self.url);
            return self.token(asked.header("metadata") == "true");
        }
        self.shown += u32::from(!asked.header("authorization").is_empty());
        if std::mem::take(&mut self.expired) {
            self.tokens += 1;
        }
        if asked.header("authorization") != format!("Bearer token-{}", self.tokens) {
            return refused(401, "ExpiredAuthenticationToken");
        }
        if self.busy > 0 {
            self.busy -= 1;
            return refused(429, "TooManyRequests");
        }
        assert!(asked.query.contains_key("api-version"), "{}", asked.path);
        self.list(asked)
    }

    fn list(&mut self, asked: &Asked) -> Said {
        if asked.path == "/subscriptions" {
            let one = |id: &str, state: &str| json!({ "subscriptionId": id, "state": state });
            let all = [one(ONE, "Enabled"), one(TWO, "Enabled"), one(OFF, "Disabled")];
            return (200, json!({ "value": all }));
        }
        let below = asked.path.strip_prefix("/subscriptions/").unwrap();
        let (id, list) = below.split_once('/').unwrap();
        let Some(subscription) = self.subscriptions.get(id) else {
            return refused(404, "SubscriptionNotFound");
        };
        let items = match list {
            "locations" => ["westeurope", "eastus", "europe"]
                .map(|name| {
                    let kind = if name == "europe" { "Logical" } else { "Physical" };
                    json!({ "name": name, "metadata": { "regionType": kind } })
                })
                .to_vec(),
            "providers/Microsoft.Network/virtualNetworks" if self.denied == Some(id) => {
                return refused(403, "AuthorizationFailed");
            }
            "providers/Microsoft.Network/virtualNetworks" => {
                self.pages += 1;
                subscription.networks.clone()
            }
            "providers/Microsoft.Network/publicIPAddresses" => subscription.addresses.clone(),
            other => return refused(404, other),
        };
        let first: usize = asked.query.get("$skiptoken").map_or(0, |token| token.parse().unwrap());
        let mut page = json!({ "value": items.iter().skip(first).take(PAGE).collect::<Vec<_>>() });
        if first + PAGE < items.len() {
            let host = self.astray.as_ref().unwrap_or(&self.url);
            let version = &asked.query["api-version"];
            let next = first + PAGE;
            let link = format!("{host}{}?api-version={version}&$skiptoken={next}", asked.path);
            page["nextLink"] = link.into();
        }
        (200, page)
    }
}

async fn agent(
    place: &Place,
    more: &[(&'static str, &str)],
) -> (StandIn<Azure>, Fleet, AgentProcess) {
    let (cloud, fleet) =
        tokio::join!(StandIn::start(Azure::new, Azure::answer), Fleet::start(place, "server"));
    let mut variables = vec![
        ("ARGOSY_AZURE__ENABLED", "true"),
        ("ARGOSY_AZURE__ENDPOINT", cloud.url.as_str()),
        ("AZURE_AUTHORITY_HOST", cloud.url.as_str()),
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", cloud.url.as_str()),
    ];
    variables.extend(more);
    let agent = agent_of(&fleet, &variables).await;
    (cloud, fleet, agent)
}

const APPLICATION: [(&str, &str); 3] = [
    ("AZURE_TENANT_ID", "tenant-1"),
    ("AZURE_CLIENT_ID", "client-1"),
    ("AZURE_CLIENT_SECRET", SECRET),
];

async fn subscriptions_are_read_and_only_what_is_gone_is_stale(place: Place) {
    let (cloud, fleet, _agent) = agent(&place, &APPLICATION).await;
    let first = ended(&fleet, 1).await;
    assert_eq!((&first["status"], &first["error"]), (&json!("completed"), &Value::Null), "{first}");
    assert_eq!(first["regions"].as_array().unwrap().len(), 2, "only places are regions: {first}");
    assert_eq!(resources(&fleet, "resource_type=vpc&region=westeurope").await.len(), 231);
    assert!(cloud.state().pages >= 4, "three pages of one, one of the other");

    // Networks are a tree with the addresses in it, and a subnet that is full stands out.
    let tree = fleet.get("/api/v1/discovery/tree?provider=azure&region=eastus").await;
    let root = &tree["items"][0];
    assert_eq!((&root["name"], &root["metadata"]["tags"]["env"]), (&json!("main"), &json!("test")));
    let address = &root["children"][0]["children"][0];
    assert_eq!((&address["name"], &address["cidr"]), (&json!("front"), &json!("203.0.113.8/32")));
    let insight = fleet.get("/api/v1/discovery/insight").await;
    assert_eq!(insight["crowded"][0]["used_percent"], 100, "{insight}");

    // A network goes, a region is emptied, and the token is refused in the middle.
    let gone = {
        let mut azure = cloud.state();
        azure.expired = true;
        let one = azure.subscriptions.get_mut(ONE).unwrap();
        one.networks.retain(|network| network["location"] == "westeurope");
        one.addresses.clear();
        one.networks.remove(150)["id"].as_str().unwrap().to_lowercase()
    };
    let second = run_again(&fleet, 2).await;
    assert_eq!(second["status"], "completed", "{second}");
    let mut expected = ids(&resources(&fleet, "region=eastus").await);
    assert_eq!(expected.len(), 3);
    expected.extend([format!("{gone}/subnets/default"), gone]);
    assert_eq!(ids(&resources(&fleet, "status=stale").await), expected);

    // A subscription refuses; then Azure asks for patience.
    cloud.state().denied = Some(TWO);
    let third = run_again(&fleet, 3).await;
    let error = third["error"].as_str().unwrap();
    let missing = "Microsoft.Network/virtualNetworks/read";
    assert!(error.starts_with(&format!("subscription {TWO}: denied: allow {missing}")), "{error}");
    assert_eq!(third["regions"][0]["permission"], missing, "{third}");
    assert_eq!(third["regions"][0]["call"], "Virtual Networks - List All");
    {
        let mut azure = cloud.state();
        (azure.denied, azure.busy) = (None, 3);
    }
    let fourth = run_again(&fleet, 4).await;
    assert_eq!((&fourth["status"], &fourth["resources_updated"]), (&json!("completed"), &json!(0)));
    assert_eq!((cloud.state().busy, &fourth["resources_deleted"]), (0, &json!(0)));
    let log = std::fs::read_to_string(fleet.folder.join("agent.log")).unwrap();
    assert!(!log.contains("token-") && !log.contains(SECRET), "{log}");
}

async fn a_token_goes_nowhere_else(place: Place) {
    let (cloud, fleet, _agent) = agent(&place, &[]).await;
    assert_eq!(ended(&fleet, 1).await["status"], "completed", "by the identity of the machine");
    let elsewhere = StandIn::start(Azure::new, Azure::answer).await;
    cloud.state().astray = Some(elsewhere.url.clone());
    let second = run_again(&fleet, 2).await;
    let error = second["error"].as_str().unwrap();
    assert!(error.ends_with("a page leads to another host"), "{error}");
    assert_eq!(elsewhere.state().shown, 0);
    assert!(resources(&fleet, "status=stale").await.is_empty());
}

async fn credentials_that_are_wrong_or_missing_are_told(place: Place) {
    let wrong = [APPLICATION[0], APPLICATION[1], ("AZURE_CLIENT_SECRET", "guessed")];
    let (_cloud, fleet, _agent) = agent(&place, &wrong).await;
    let job = ended(&fleet, 1).await;
    let error = job["error"].as_str().unwrap();
    assert!(
        error.contains("invalid_client: AADSTS7000215") && !error.contains("guessed"),
        "{error}"
    );
    assert_eq!(job["regions"][0]["call"], "credentials");
    let nothing = [
        ("ARGOSY_AZURE__ENABLED", "true"),
        ("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1"),
    ];
    let _other = other(&fleet, "nothing", &nothing).await;
    let error = ended(&fleet, 2).await["error"].as_str().unwrap().to_owned();
    assert!(error.contains("no Azure credentials were found on this host"), "{error}");
}

/// One more agent.
async fn other(fleet: &Fleet, name: &str, variables: &[(&'static str, &str)]) -> AgentProcess {
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let variables = kept(&[&QUIET[..], variables].concat());
    AgentProcess::named_with(fleet, name, &token, variables)
}

async fn credentials_of_other_kinds_open_the_cloud(place: Place) {
    let (cloud, fleet) =
        tokio::join!(StandIn::start(Azure::new, Azure::answer), Fleet::start(&place, "server"));
    let word = fleet.folder.join("word");
    std::fs::write(&word, "vouched\n").unwrap();
    let platform = format!("{}/platform/token", cloud.url);
    let kinds = [
        vec![
            APPLICATION[0],
            APPLICATION[1],
            ("AZURE_FEDERATED_TOKEN_FILE", word.to_str().unwrap()),
            ("AZURE_AUTHORITY_HOST", cloud.url.as_str()),
        ],
        vec![
            ("IDENTITY_ENDPOINT", platform.as_str()),
            ("IDENTITY_HEADER", "word"),
            ("AZURE_CLIENT_ID", "chosen"),
        ],
    ];
    let enabled = [
        ("ARGOSY_AZURE__ENABLED", "true"),
        ("ARGOSY_AZURE__SUBSCRIPTIONS", ONE),
        ("ARGOSY_AZURE__REGIONS", "eastus"),
        ("ARGOSY_AZURE__ENDPOINT", cloud.url.as_str()),
    ];
    for (number, kind) in kinds.iter().enumerate() {
        let variables = [&enabled[..], kind].concat();
        let _agent = other(&fleet, &format!("agent-{number}"), &variables).await;
        let job = ended(&fleet, number + 1).await;
        assert_eq!(
            (&job["status"], &job["resources_found"]),
            (&json!("completed"), &json!(3)),
            "{job}"
        );
    }
}

on_both!(
    subscriptions_are_read_and_only_what_is_gone_is_stale,
    a_token_goes_nowhere_else,
    credentials_of_other_kinds_open_the_cloud,
    credentials_that_are_wrong_or_missing_are_told,
);
