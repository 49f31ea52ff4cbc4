//! Real agents read a cloud: AWS as moto's server plays it, in several regions and accounts.

use std::{collections::BTreeSet, time::Duration};

use argosy_e2e::{
    database::Place,
    http::plain,
    on_both,
    process::{free_port, python, root, until},
};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::fleet::{AgentProcess, Fleet};

mod azure;
mod google;
mod stand_in;

const OWN: &str = "123456789012";
const REGIONS: &str = "us-east-1,eu-west-1,eu-central-1,ap-south-1";

/// The cloud, as a process.
struct Cloud {
    url: String,
    _process: Child,
}

impl Cloud {
    async fn start() -> Self {
        let port = free_port();
        let program = root().join("e2e/python/cloud.py");
        let mut command = Command::new(python().await);
        let command = command.arg(program).arg(port.to_string()).kill_on_drop(true);
        let silent = std::process::Stdio::null;
        let process = command.stdout(silent()).stderr(silent()).spawn().unwrap();
        let cloud = Self { url: format!("http://127.0.0.1:{port}"), _process: process };
        let (http, url) = (plain(), format!("{}/_test/calls", cloud.url));
        until("the cloud to be there", || async {
            http.post(&url).send().await.ok()?.status().is_success().then_some(())
        })
        .await;
        cloud
    }

    async fn ask(&self, what: &str, order: &Value) -> Value {
        let request = plain().post(format!("{}/_test/{what}", self.url)).body(order.to_string());
        let answer = request.timeout(Duration::from_secs(60)).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{what} {order}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn make(&self, account: &str, region: &str, vpcs: Value) -> Value {
        self.ask("make", &json!({ "account": account, "region": region, "vpcs": vpcs })).await
    }

    /// What an agent needs to find it, and more.
    fn variables(&self, more: &[(&'static str, &str)]) -> &'static [(&'static str, &'static str)] {
        kept(&[&QUIET[..], &[("AWS_ENDPOINT_URL", self.url.as_str())], more].concat())
    }
}

const CREDENTIALS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "of-the-test")];

/// An agent with these variables, which runs once by itself.
async fn agent_of(fleet: &Fleet, more: &[(&'static str, &str)]) -> AgentProcess {
    let token = fleet.token(json!({ "auto_approve": true })).await;
    AgentProcess::start_with(fleet, &token, kept(&[&QUIET[..], more].concat()))
}

/// What every agent here is told: it reads nothing of the host, and runs when it is asked.
const QUIET: [(&str, &str); 5] = [
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("AWS_CONFIG_FILE", "/nonexistent"),
    ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
    ("NO_PROXY", "127.0.0.1"),
    ("ARGOSY_SYNC_INTERVAL", "24h"),
];

/// Variables for as long as the test runs.
fn kept(variables: &[(&'static str, &str)]) -> &'static [(&'static str, &'static str)] {
    let leaked = variables.iter().map(|(name, value)| (*name, &*(*value).to_owned().leak()));
    leaked.collect::<Vec<_>>().leak()
}

/// Every resource that a filter lets through.
async fn resources(fleet: &Fleet, filter: &str) -> Vec<Value> {
    let path = format!("/api/v1/discovery/export?{filter}");
    fleet.get(&path).await.as_array().unwrap().clone()
}

fn ids(resources: &[Value]) -> BTreeSet<String> {
    let id = |resource: &Value| resource["resource_id"].as_str().unwrap().to_owned();
    resources.iter().map(id).collect()
}

/// The newest sync job, once `count` of them have ended.
async fn ended(fleet: &Fleet, count: usize) -> Value {
    until("the run to be over", || async {
        let jobs = fleet.get("/api/v1/discovery/sync").await["items"].as_array().unwrap().clone();
        let over = jobs.iter().filter(|job| job["finished_at"].is_string()).count();
        (over >= count).then(|| jobs[0].clone())
    })
    .await
}

/// Has the agent run again.
async fn again(fleet: &Fleet, agent: &str, count: usize) -> Value {
    fleet.post("/api/v1/discovery/sync", &json!({ "agent_id": agent })).await;
    let job = ended(fleet, count).await;
    assert_eq!(job["source"], "api");
    job
}

/// Has the one agent run again.
async fn run_again(fleet: &Fleet, count: usize) -> Value {
    again(fleet, &fleet.connected().await, count).await
}

async fn regions_are_read_and_only_what_is_gone_is_stale(place: Place) {
    let (cloud, fleet) = tokio::join!(Cloud::start(), Fleet::start(&place, "server"));
    let networks = json!([{ "cidr": "10.0.0.0/16", "name": "large", "subnets": 2_000,
        "second_cidr": "10.9.0.0/16", "address": true }]);
    let large = cloud.make(OWN, "us-east-1", networks).await;
    for (region, cidr) in [("eu-west-1", "10.1.0.0/16"), ("eu-central-1", "10.2.0.0/16")] {
        let network = json!([{ "cidr": cidr, "name": region, "subnets": 2 }]);
        cloud.make(OWN, region, network).await;
    }
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let settings = [CREDENTIALS[0], CREDENTIALS[1], ("ARGOSY_AWS_REGIONS", REGIONS)];
    let _agent = AgentProcess::start_with(&fleet, &token, cloud.variables(&settings));
    let first = ended(&fleet, 1).await;
    assert_eq!((&first["status"], &first["source"]), (&json!("completed"), &json!("schedule")));
    assert_eq!(first["regions"].as_array().unwrap().len(), 4);
    let subnets = resources(&fleet, "region=us-east-1&resource_type=subnet").await;
    assert!(subnets.len() >= 2_000, "{}", subnets.len());
    let pages = cloud.ask("calls", &json!({})).await["pages"].as_u64().unwrap();
    assert!(pages >= 3, "two thousand do not fit two pages beside the default ones: {pages}");
    let vpc = resources(&fleet, "resource_type=vpc&q=large").await.remove(0);
    assert_eq!(vpc["metadata"]["cidr_blocks"], json!(["10.0.0.0/16", "10.9.0.0/16"]));
    assert_eq!(vpc["metadata"]["tags"]["env"], "test");
    let address = resources(&fleet, "resource_type=elastic_ip").await.remove(0);
    let interface = resources(&fleet, "resource_type=network_interface").await.remove(0);
    assert_eq!(address["parent_resource_id"], interface["resource_id"]);

    // One region fails, another one is emptied, and a subnet goes where two thousand are.
    let gone = large[0]["subnets"][7].clone();
    let order = json!({ "account": OWN, "region": "us-east-1", "subnets": [gone] });
    cloud.ask("drop", &order).await;
    let emptied = resources(&fleet, "region=eu-central-1").await;
    let of = |kind: &str| {
        let those = emptied.iter().filter(|resource| resource["resource_type"] == kind);
        ids(&those.cloned().collect::<Vec<_>>())
    };
    let order = json!({ "account": OWN, "region": "eu-central-1", "subnets": of("subnet"),
        "vpcs": of("vpc") });
    cloud.ask("drop", &order).await;
    cloud.ask("break", &json!({ "regions": ["eu-west-1"] })).await;
    let agent = fleet.agent("the agent", |agent| agent["connected"] == true).await;
    let id = agent["agent_id"].as_str().unwrap();
    let second = again(&fleet, id, 2).await;
    assert_eq!(second["status"], "partial", "{second}");
    let regions = second["regions"].as_array().unwrap();
    let failed = regions.iter().find(|region| region["status"] == "failed").unwrap();
    assert_eq!((&failed["region"], &failed["call"]), (&json!("eu-west-1"), &json!("DescribeVpcs")));
    assert_eq!(failed["permission"], "ec2:DescribeVpcs");
    let mut expected = ids(&emptied);
    expected.insert(gone.as_str().unwrap().to_owned());
    assert_eq!(ids(&resources(&fleet, "status=stale").await), expected);
    assert!(resources(&fleet, "region=eu-central-1&status=active").await.is_empty());

    // AWS asks for patience, and is asked again.
    cloud.ask("break", &json!({ "regions": [], "throttle": 3 })).await;
    let third = again(&fleet, id, 3).await;
    assert_eq!((&third["status"], &third["resources_updated"]), (&json!("completed"), &json!(0)));
    assert_eq!(cloud.ask("calls", &json!({})).await["throttled"], 3);
}

async fn every_account_of_an_organisation_is_read(place: Place) {
    let (cloud, fleet) = tokio::join!(Cloud::start(), Fleet::start(&place, "server"));
    let members = cloud.ask("organise", &json!({ "accounts": ["one", "two", "three"] })).await;
    let [one, two, three] = [0, 1, 2].map(|at| members[at].as_str().unwrap().to_owned());
    for (account, name) in [(OWN, "own"), (&one, "of one"), (&two, "of two"), (&three, "of three")]
    {
        for region in REGIONS.split(',') {
            let network = json!([{ "cidr": "10.0.0.0/16", "name": name, "subnets": 1 }]);
            cloud.make(account, region, network).await;
        }
    }
    cloud.ask("break", &json!({ "roles": [two] })).await;
    fleet.patch("/api/v1/accounts/1", &json!({ "provider": "aws-org" })).await;
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let settings = [
        CREDENTIALS[0],
        CREDENTIALS[1],
        ("ARGOSY_AWS_REGIONS", REGIONS),
        ("ARGOSY_AWS_ORG__ENABLED", "true"),
        ("ARGOSY_AWS_ORG__EXTERNAL_ID", "shown-once"),
        ("ARGOSY_AWS_ORG__EXCLUDE_ACCOUNTS", &three),
    ];
    let _agent = AgentProcess::start_with(&fleet, &token, cloud.variables(&settings));
    let job = ended(&fleet, 1).await;
    assert_eq!(job["status"], "partial", "{job}");
    let accounts = fleet.get("/api/v1/accounts").await["items"].as_array().unwrap().clone();
    let number = |id: &str| {
        let named = |account: &&Value| account["name"] == format!("aws:{id}");
        accounts.iter().find(named).map(|account| account["id"].clone())
    };
    let failed: Vec<&Value> = job["regions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|region| region["status"] == "failed")
        .collect();
    assert_eq!(failed.len(), 1, "{job}");
    assert_eq!(Some(failed[0]["account_id"].clone()), number(&two));
    assert_eq!(failed[0]["call"], "AssumeRole");
    assert!(failed[0]["permission"].as_str().unwrap().starts_with("sts:AssumeRole"), "{job}");
    assert_eq!(number(&three), None, "it is left out");
    for (id, name) in [(OWN, "own"), (one.as_str(), "of one")] {
        let account = number(id).unwrap();
        let vpcs = resources(&fleet, &format!("account_id={account}&resource_type=vpc")).await;
        let made = vpcs.iter().filter(|vpc| vpc["name"] == name);
        let regions: BTreeSet<&str> = made
            .filter(|vpc| vpc["metadata"]["tags"]["env"] == "test")
            .map(|vpc| vpc["region"].as_str().unwrap())
            .collect();
        assert_eq!(regions, REGIONS.split(',').collect(), "{name}: {vpcs:?}");
    }
    let calls = cloud.ask("calls", &json!({})).await;
    let assumed = calls["AssumeRole"].as_array().unwrap();
    assert_eq!(assumed.len(), 2, "not for its own account, and not for the one left out");
    assert!(assumed.iter().all(|call| call.as_str().unwrap().contains("ExternalId=shown-once")));
}

async fn two_agents_with_regions_of_their_own_never_stale_each_other(place: Place) {
    let (cloud, fleet) = tokio::join!(Cloud::start(), Fleet::start(&place, "server"));
    for region in ["us-east-1", "eu-west-1"] {
        let network = json!([{ "cidr": "10.0.0.0/16", "name": region, "subnets": 2 }]);
        cloud.make(OWN, region, network).await;
    }
    let token = fleet.token(json!({ "auto_approve": true, "max_uses": 2 })).await;
    let mut agents = Vec::new();
    for (name, region) in [("east", "us-east-1"), ("west", "eu-west-1")] {
        let settings = [CREDENTIALS[0], CREDENTIALS[1], ("ARGOSY_AWS_REGIONS", region)];
        agents.push(AgentProcess::named_with(&fleet, name, &token, cloud.variables(&settings)));
    }
    ended(&fleet, 2).await;
    let id = |name: &'static str| {
        let fleet = &fleet;
        async move {
            let fits = |agent: &Value| agent["name"] == name && agent["connected"] == true;
            let agent = fleet.agent("the agent", fits).await;
            agent["agent_id"].as_str().unwrap().to_owned()
        }
    };
    let (east, west) = (id("east").await, id("west").await);
    let here = |region: &'static str, status: &'static str| {
        let fleet = &fleet;
        async move { ids(&resources(fleet, &format!("region={region}&status={status}")).await) }
    };
    let (of_east, of_west) = (here("us-east-1", "active").await, here("eu-west-1", "active").await);
    assert!(of_east.len() > 2 && of_west.len() > 2);

    // One runs and then the other, with a subnet gone in the region of the first.
    let subnets = resources(&fleet, "region=us-east-1&resource_type=subnet").await;
    let gone = subnets[0]["resource_id"].as_str().unwrap();
    cloud.ask("drop", &json!({ "account": OWN, "region": "us-east-1", "subnets": [gone] })).await;
    assert_eq!(again(&fleet, &west, 3).await["resources_deleted"], 0);
    assert_eq!(here("us-east-1", "active").await, of_east);
    assert_eq!(again(&fleet, &east, 4).await["resources_deleted"], 1);
    assert_eq!(here("eu-west-1", "active").await, of_west);
    assert_eq!(ids(&resources(&fleet, "status=stale").await), [gone.to_owned()].into());
}

async fn a_host_without_credentials_says_so(place: Place) {
    let (cloud, fleet) = tokio::join!(Cloud::start(), Fleet::start(&place, "server"));
    let token = fleet.token(json!({ "auto_approve": true })).await;
    let settings = [("ARGOSY_AWS_REGIONS", "us-east-1")];
    let _agent = AgentProcess::start_with(&fleet, &token, cloud.variables(&settings));
    let job = ended(&fleet, 1).await;
    assert_eq!(job["status"], "failed", "{job}");
    let error = job["error"].as_str().unwrap();
    assert!(error.contains("no AWS credentials were found on this host"), "{error}");
    assert_eq!(job["regions"][0]["call"], "credentials");
}

on_both!(
    regions_are_read_and_only_what_is_gone_is_stale,
    every_account_of_an_organisation_is_read,
    two_agents_with_regions_of_their_own_never_stale_each_other,
    a_host_without_credentials_says_so,
);
