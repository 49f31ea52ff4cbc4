//! Google Cloud as its reference has it: lists of Compute Engine, tokens for a service account.

use std::collections::BTreeMap;

use argosy_e2e::{database::Place, on_both};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::{
    agent_of, ended, ids, resources, run_again,
    stand_in::{Asked, Said, StandIn},
};
use crate::fleet::{AgentProcess, Fleet};

mod credentials;

const REGIONS: [&str; 4] = ["us-east1", "europe-west3", "asia-east1", "europe-west1"];
const READ_COMPUTE: &str = "https://www.googleapis.com/auth/compute.readonly";
const EMAIL: &str = "reader@alpha.iam.gserviceaccount.com";

/// A project: networks, and by region subnets and addresses.
#[derive(Default)]
struct Project {
    networks: Vec<Value>,
    subnets: BTreeMap<String, Vec<Value>>,
    addresses: BTreeMap<String, Vec<Value>>,
}

struct Google {
    url: String,
    projects: BTreeMap<&'static str, Project>,
    /// The public half of the account's key.
    key: Vec<u8>,
    /// Tokens that were given, and the first of them that is good.
    tokens: u32,
    good_from: u32,
    /// The next call is told that its token is not good any more.
    expired: bool,
    /// Whether the account is gone.
    withdrawn: bool,
    /// A project, and the call that is denied there.
    denied: Option<(&'static str, &'static str)>,
    away: Option<&'static str>,
    /// So many calls are refused for a quota.
    quota: u32,
    /// Pages of subnets that were served.
    pages: u32,
}

fn link(path: &str) -> String {
    format!("https://www.googleapis.com/compute/v1/{path}")
}

impl Project {
    fn network(&mut self, project: &str, name: &str) {
        let path = format!("projects/{project}/global/networks/{name}");
        self.networks.push(json!({ "id": "1", "name": name, "selfLink": link(&path) }));
    }

    fn subnet(&mut self, project: &str, region: &str, (name, cidr): (&str, &str)) {
        let path = format!("projects/{project}/regions/{region}/subnetworks/{name}");
        self.subnets.entry(region.to_owned()).or_default().push(json!({
            "name": name, "selfLink": link(&path), "ipCidrRange": cidr,
            "network": link(&format!("projects/{project}/global/networks/main")),
            "secondaryIpRanges": [{ "rangeName": "pods", "ipCidrRange": "100.64.0.0/24" }],
            "utilizationDetails": { "ipv4Utilizations": [{ "totalFreeIp": "2" }] },
        }));
    }

    fn address(&mut self, project: &str, scope: &str, more: &Value) {
        let name = more["name"].as_str().unwrap();
        let path = format!("projects/{project}/{scope}/addresses/{name}");
        let mut address = json!({ "selfLink": link(&path), "labels": { "env": "test" } });
        address.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.addresses.entry(scope.to_owned()).or_default().push(address);
    }
}

fn refused(status: u16, reason: &str, message: &str) -> Said {
    (
        status,
        json!({ "error": { "code": status, "message": message, "status": "PERMISSION_DENIED",
        "errors": [{ "domain": "global", "reason": reason, "message": message }] } }),
    )
}

impl Google {
    fn new(url: &str, key: Vec<u8>) -> Self {
        let mut alpha = Project::default();
        alpha.network("alpha", "main");
        for number in 0..1_100 {
            let cidr = format!("10.{}.{}.0/28", number / 256, number % 256);
            alpha.subnet("alpha", "us-east1", (&format!("s{number}"), &cidr));
        }
        alpha.subnet("alpha", "europe-west3", ("web", "10.200.0.0/28"));
        alpha.subnet("alpha", "asia-east1", ("far", "10.201.0.0/20"));
        let inside = link("projects/alpha/regions/europe-west3/subnetworks/web");
        let inside = json!({ "name": "db", "address": "10.200.0.9", "addressType": "INTERNAL",
            "subnetwork": inside });
        alpha.address("alpha", "regions/europe-west3", &inside);
        alpha.address("alpha", "global", &json!({ "name": "front", "address": "203.0.113.9" }));
        let mut beta = Project::default();
        beta.network("beta", "main");
        beta.subnet("beta", "europe-west1", ("web", "10.200.0.0/24"));
        Self {
            url: url.to_owned(),
            projects: BTreeMap::from([("alpha", alpha), ("beta", beta)]),
            key,
            tokens: 0,
            good_from: 1,
            expired: false,
            withdrawn: false,
            denied: None,
            away: None,
            quota: 0,
            pages: 0,
        }
    }

    /// RFC 7523: the assertion is verified by another implementation than the one that signed it.
    fn token(&mut self, asked: &Asked) -> Said {
        let mut wanted = Validation::new(Algorithm::RS256);
        wanted.set_audience(&[format!("{}/token", self.url)]);
        wanted.set_issuer(&[EMAIL]);
        let key = DecodingKey::from_rsa_der(&self.key);
        let said = jsonwebtoken::decode::<Value>(&asked.form["assertion"], &key, &wanted).unwrap();
        assert_eq!(said.claims["scope"], READ_COMPUTE, "no more than is needed");
        if self.withdrawn {
            let why = "Invalid grant: account not found";
            return (400, json!({ "error": "invalid_grant", "error_description": why }));
        }
        self.given()
    }

    fn given(&mut self) -> Said {
        self.tokens += 1;
        let token = format!("token-{}", self.tokens);
        (200, json!({ "access_token": token, "expires_in": 3599, "token_type": "Bearer" }))
    }

    fn is_good(&self, header: &str) -> bool {
        let number = header.strip_prefix("Bearer token-").and_then(|number| number.parse().ok());
        number.is_some_and(|number| (self.good_from..=self.tokens).contains(&number))
    }

    fn answer(&mut self, asked: &Asked) -> Said {
        if asked.path == "/token" {
            return self.token(asked);
        }
        if let Some(said) = self.exchanged(asked) {
            return said;
        }
        if std::mem::take(&mut self.expired) {
            self.good_from = self.tokens + 1;
        }
        if !self.is_good(asked.header("authorization")) {
            return refused(401, "authError", "Invalid Credentials");
        }
        if self.quota > 0 {
            self.quota -= 1;
            return refused(403, "rateLimitExceeded", "Quota exceeded");
        }
        let below = asked.path.strip_prefix("/compute/v1/projects/").unwrap();
        let (name, list) = below.split_once('/').unwrap();
        if self.denied == Some((name, list)) {
            let what =
                format!("Required 'compute.subnetworks.list' permission for 'projects/{name}'");
            return refused(403, "forbidden", &what);
        }
        let Some(project) = self.projects.get(name) else {
            return refused(404, "notFound", "The resource was not found");
        };
        match list {
            "global/networks" => (200, json!({ "items": project.networks })),
            "aggregated/subnetworks" => {
                assert_eq!(asked.query["views"], "WITH_UTILIZATION");
                self.pages += 1;
                let subnets = project.subnets.iter();
                let of_region = |(region, all): (&String, &Vec<Value>)| {
                    (format!("regions/{region}"), all.clone())
                };
                (200, self.page(asked, "subnetworks", subnets.map(of_region).collect()))
            }
            "aggregated/addresses" => {
                (200, self.page(asked, "addresses", project.addresses.clone()))
            }
            other => refused(404, "notFound", other),
        }
    }

    /// A part of everything. A scope in which there is nothing has a warning instead.
    fn page(&self, asked: &Asked, list: &str, all: BTreeMap<String, Vec<Value>>) -> Value {
        assert_eq!(asked.query["returnPartialSuccess"], "true");
        let size: usize = asked.query["maxResults"].parse().unwrap();
        let first: usize = asked.query.get("pageToken").map_or(0, |token| token.parse().unwrap());
        let away = self.away.map(|region| format!("regions/{region}"));
        let there: Vec<(String, Value)> = all
            .into_iter()
            .filter(|(scope, _)| Some(scope) != away.as_ref())
            .flat_map(|(scope, items)| items.into_iter().map(move |item| (scope.clone(), item)))
            .collect();
        let mut scopes: BTreeMap<String, Vec<Value>> =
            REGIONS.iter().map(|region| (format!("regions/{region}"), Vec::new())).collect();
        scopes.insert("global".to_owned(), Vec::new());
        scopes.retain(|scope, _| Some(scope) != away.as_ref());
        for (scope, item) in there.iter().skip(first).take(size) {
            scopes.get_mut(scope).unwrap().push(item.clone());
        }
        let scoped = |(scope, items): (String, Vec<Value>)| {
            let warning = json!({ "warning": { "code": "NO_RESULTS_ON_PAGE", "message": "none" } });
            (scope, if items.is_empty() { warning } else { json!({ list: items }) })
        };
        let items: serde_json::Map<String, Value> = scopes.into_iter().map(scoped).collect();
        let mut page = json!({ "items": items });
        if first + size < there.len() {
            page["nextPageToken"] = (first + size).to_string().into();
        }
        if let Some(away) = away {
            page["unreachables"] = json!([format!("projects/alpha/{away}")]);
        }
        page
    }
}

/// The cloud, and the file with a key of its service account.
async fn cloud(place: &Place) -> (StandIn<Google>, String) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let key = rcgen::PublicKeyData::der_bytes(&pair).to_vec();
    let cloud = StandIn::start(|url| Google::new(url, key), Google::answer).await;
    let file = place.data_dir.parent().unwrap().join("account.json");
    let account = json!({ "type": "service_account", "project_id": "alpha", "client_email": EMAIL,
        "private_key": pair.serialize_pem(), "private_key_id": "k1",
        "token_uri": format!("{}/token", cloud.url) });
    std::fs::write(&file, account.to_string()).unwrap();
    (cloud, file.to_str().unwrap().to_owned())
}

async fn agent(
    place: &Place,
    more: &[(&'static str, &str)],
) -> (StandIn<Google>, Fleet, AgentProcess) {
    let ((cloud, file), fleet) = tokio::join!(cloud(place), Fleet::start(place, "server"));
    let mut variables = vec![
        ("GOOGLE_APPLICATION_CREDENTIALS", file.as_str()),
        ("ARGOSY_GCP__ENABLED", "true"),
        ("ARGOSY_GCP__ENDPOINT", cloud.url.as_str()),
    ];
    variables.extend(more);
    let agent = agent_of(&fleet, &variables).await;
    (cloud, fleet, agent)
}

async fn projects_are_read_and_only_what_is_gone_is_stale(place: Place) {
    let projects = [("ARGOSY_GCP__PROJECTS", "alpha,beta")];
    let (cloud, fleet, _agent) = agent(&place, &projects).await;
    let first = ended(&fleet, 1).await;
    assert_eq!((&first["status"], &first["error"]), (&json!("completed"), &Value::Null), "{first}");
    assert_eq!(first["regions"].as_array().unwrap().len(), 5, "four regions and what is global");
    assert_eq!(resources(&fleet, "resource_type=subnet").await.len(), 1_103);
    assert!(cloud.state().pages >= 4, "three pages of one project, one of the other");

    // Networks are a tree, overlaps are found by their subnets, and so is what is nearly full.
    let tree = fleet.get("/api/v1/discovery/tree?provider=gcp&region=global").await;
    let items = tree["items"].as_array().unwrap();
    assert!(items.iter().any(|item| item["resource_id"] == "projects/beta/global/networks/main"));
    let db = resources(&fleet, "q=addresses/db").await.remove(0);
    assert_eq!(db["parent_resource_id"], "projects/alpha/regions/europe-west3/subnetworks/web");
    assert_eq!(
        (&db["cidr"], &db["metadata"]["tags"]["env"]),
        (&json!("10.200.0.9/32"), &json!("test"))
    );
    let insight = fleet.get("/api/v1/discovery/insight").await;
    let overlap = &insight["overlaps"][0];
    assert_eq!(overlap["one"]["resource_id"], "projects/beta/global/networks/main", "{insight}");
    assert_eq!(overlap["other"]["resource_id"], "projects/alpha/global/networks/main");
    assert_eq!(insight["overlaps"].as_array().unwrap().len(), 1, "{insight}");
    assert!(insight["crowded"].as_array().unwrap().iter().any(|one| one["free"] == 2));

    // A region is emptied, one is away, one subnet goes, and the token is refused.
    let gone = {
        let mut google = cloud.state();
        let alpha = google.projects.get_mut("alpha").unwrap();
        let gone = alpha.subnets.get_mut("us-east1").unwrap().remove(700);
        alpha.subnets.remove("europe-west3");
        alpha.addresses.remove("regions/europe-west3");
        (google.away, google.expired) = (Some("asia-east1"), true);
        gone["selfLink"].as_str().unwrap().split_once("v1/").unwrap().1.to_owned()
    };
    let second = run_again(&fleet, 2).await;
    assert_eq!(second["status"], "partial", "{second}");
    let failed: Vec<&Value> = second["regions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|region| region["status"] == "failed")
        .collect();
    assert_eq!((failed.len(), &failed[0]["region"]), (1, &json!("asia-east1")), "{second}");
    let in_region = "projects/alpha/regions/europe-west3";
    let expected =
        [gone, format!("{in_region}/addresses/db"), format!("{in_region}/subnetworks/web")];
    assert_eq!(ids(&resources(&fleet, "status=stale").await), expected.into());

    // Google asks for patience, and is asked again.
    {
        let mut google = cloud.state();
        (google.away, google.quota) = (None, 3);
    }
    let third = run_again(&fleet, 3).await;
    assert_eq!((&third["status"], &third["resources_updated"]), (&json!("completed"), &json!(0)));
    assert_eq!(cloud.state().quota, 0);
    let log = std::fs::read_to_string(fleet.folder.join("agent.log")).unwrap();
    assert!(!log.contains("token-") && !log.contains("PRIVATE KEY"), "{log}");
}

async fn a_project_that_refuses_keeps_what_is_known(place: Place) {
    let (cloud, fleet, _agent) = agent(&place, &[("ARGOSY_GCP__PROJECTS", "alpha,beta")]).await;
    ended(&fleet, 1).await;
    let gone = {
        let mut google = cloud.state();
        google.denied = Some(("beta", "aggregated/subnetworks"));
        google.projects.get_mut("alpha").unwrap().network("alpha", "fresh");
        google.projects.get_mut("alpha").unwrap().subnets.remove("europe-west3").unwrap()
    };
    let second = run_again(&fleet, 2).await;
    let error = second["error"].as_str().unwrap();
    assert!(error.starts_with("project beta: denied: allow compute.subnetworks.list"), "{error}");
    let failed = &second["regions"][0];
    assert_eq!(failed["call"], "compute.subnetworks.aggregatedList", "{second}");
    assert_eq!(failed["permission"], "compute.subnetworks.list");
    assert_eq!(resources(&fleet, "q=networks/fresh").await.len(), 1, "what was read is kept");
    assert!(resources(&fleet, "status=stale").await.is_empty(), "{gone:?}");
    {
        let mut google = cloud.state();
        (google.denied, google.withdrawn) = (None, true);
    }
    let third = run_again(&fleet, 3).await;
    let error = third["error"].as_str().unwrap();
    assert!(error.contains("are not accepted") && error.contains("invalid_grant"), "{error}");
    assert_eq!(third["regions"][0]["call"], "credentials");
    cloud.state().withdrawn = false;
    let fourth = run_again(&fleet, 4).await;
    assert_eq!((&fourth["status"], &fourth["resources_deleted"]), (&json!("completed"), &json!(1)));
}

on_both!(
    projects_are_read_and_only_what_is_gone_is_stale,
    a_project_that_refuses_keeps_what_is_known,
);
