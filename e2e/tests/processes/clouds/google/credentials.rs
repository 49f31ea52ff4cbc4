//! Whatever a host may have that opens Google Cloud, and a host that has nothing.

use argosy_e2e::{database::Place, on_both};
use serde_json::{Value, json};

use super::{
    super::{
        QUIET, agent_of, ended, kept,
        stand_in::{Asked, Said},
    },
    Google, READ_COMPUTE, cloud,
};
use crate::fleet::{AgentProcess, Fleet};

impl Google {
    /// Whatever else somebody may show: a login, the word of another provider, a machine.
    pub(super) fn exchanged(&mut self, asked: &Asked) -> Option<Said> {
        let shown = |name: &str| asked.form.get(name).map_or("", String::as_str);
        let machine = asked.header("metadata-flavor") == "Google";
        Some(match asked.path.as_str() {
            "/login" => {
                let told = (shown("grant_type"), shown("refresh_token"), shown("client_secret"));
                assert_eq!(told, ("refresh_token", "refreshed", "of-gcloud"));
                self.given()
            }
            "/subject" if asked.header("x-asks") == "argosy" => {
                (200, json!({ "value": "vouched" }))
            }
            "/sts" => {
                assert_eq!(shown("grant_type"), "urn:ietf:params:oauth:grant-type:token-exchange");
                assert_eq!((shown("subject_token"), shown("audience")), ("vouched", "//iam/pool"));
                assert_eq!(shown("scope"), "https://www.googleapis.com/auth/cloud-platform");
                (200, json!({ "access_token": "federated", "expires_in": 3599 }))
            }
            "/impersonate" => {
                assert_eq!(asked.header("authorization"), "Bearer federated");
                assert_eq!(asked.json["scope"], json!([READ_COMPUTE]));
                let token = self.given().1["access_token"].take();
                (200, json!({ "accessToken": token, "expireTime": "2999-01-01T00:00:00Z" }))
            }
            "/computeMetadata/v1/project/project-id" if machine => (200, json!("alpha")),
            "/computeMetadata/v1/instance/service-accounts/default/token" if machine => {
                self.given()
            }
            _ => return None,
        })
    }
}

async fn credentials_of_other_kinds_open_the_cloud(place: Place) {
    let ((cloud, _), fleet) = tokio::join!(cloud(&place), Fleet::start(&place, "server"));
    let at = |path: &str| format!("{}{path}", cloud.url);
    let login = json!({ "type": "authorized_user", "client_id": "c", "client_secret": "of-gcloud",
        "refresh_token": "refreshed", "quota_project_id": "alpha", "token_uri": at("/login") });
    let workload = json!({ "type": "external_account", "audience": "//iam/pool",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": at("/sts"),
        "service_account_impersonation_url": at("/impersonate"),
        "credential_source": { "url": at("/subject"), "headers": { "x-asks": "argosy" },
            "format": { "type": "json", "subject_token_field_name": "value" } } });
    let file = |name: &str, content: &Value| {
        let path = fleet.folder.join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (login, workload) = (file("login.json", &login), file("workload.json", &workload));
    let host = cloud.url.trim_start_matches("http://").to_owned();
    let named = "GOOGLE_APPLICATION_CREDENTIALS";
    let kinds = [
        ("login", vec![(named, login.as_str())]),
        ("workload", vec![(named, workload.as_str()), ("GOOGLE_CLOUD_PROJECT", "alpha")]),
        (
            "machine",
            vec![("GCE_METADATA_HOST", host.as_str()), ("CLOUDSDK_CONFIG", "/nonexistent")],
        ),
    ];
    let enabled = [
        ("ARGOSY_GCP__ENABLED", "true"),
        ("ARGOSY_GCP__REGIONS", "europe-west3"),
        ("ARGOSY_GCP__ENDPOINT", cloud.url.as_str()),
    ];
    let token = fleet.token(json!({ "auto_approve": true, "max_uses": 3 })).await;
    let mut agents = Vec::new();
    for (name, more) in &kinds {
        let variables = kept(&[&QUIET[..], &enabled, more].concat());
        agents.push(AgentProcess::named_with(&fleet, name, &token, variables));
    }
    ended(&fleet, 3).await;
    let jobs = fleet.get("/api/v1/discovery/sync").await;
    for job in jobs["items"].as_array().unwrap() {
        assert_eq!(
            (&job["status"], &job["resources_found"]),
            (&json!("completed"), &json!(4)),
            "{job}"
        );
    }
}

async fn a_host_without_google_credentials_says_so(place: Place) {
    let fleet = Fleet::start(&place, "server").await;
    let variables = [
        ("ARGOSY_GCP__ENABLED", "true"),
        ("GCE_METADATA_HOST", "127.0.0.1:1"),
        ("CLOUDSDK_CONFIG", "/nonexistent"),
    ];
    let _agent = agent_of(&fleet, &variables).await;
    let job = ended(&fleet, 1).await;
    assert_eq!(
        (&job["status"], &job["regions"][0]["call"]),
        (&json!("failed"), &json!("credentials"))
    );
    let error = job["error"].as_str().unwrap();
    assert!(error.contains("no Google Cloud credentials were found on this host"), "{error}");
}

on_both!(credentials_of_other_kinds_open_the_cloud, a_host_without_google_credentials_says_so,);
