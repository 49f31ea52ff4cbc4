//! What is found on a host, and what its files may say.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::*;

fn deps() -> Deps {
    crate::discovery::tests::deps()
}

fn read(value: &Value) -> Result<Found, String> {
    let nearby = Rest::nearby(deps()).unwrap();
    file::read(value.to_string().as_bytes(), nearby).map_err(|why| why.to_string())
}

fn why(value: &Value) -> String {
    read(value).err().unwrap()
}

#[test]
fn every_type_that_is_supported_is_read() {
    let person = json!({ "type": "authorized_user", "client_id": "c", "client_secret": "s",
        "refresh_token": "r", "quota_project_id": "pays" });
    let found = read(&person).unwrap();
    assert!(matches!(found.credentials, Credentials::Person(_)));
    assert_eq!(found.user_project.as_deref(), Some("pays"));
    let workload = json!({ "type": "external_account", "audience": "//iam/pool",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token", "credential_source": { "file": "/t" } });
    assert!(matches!(read(&workload).unwrap().credentials, Credentials::Workload(_)));
    let mut spoken_for = workload.clone();
    spoken_for["service_account_impersonation_url"] =
        "https://iamcredentials.googleapis.com/x".into();
    assert!(matches!(read(&spoken_for).unwrap().credentials, Credentials::Impersonated { .. }));
    let impersonated = json!({ "type": "impersonated_service_account", "source_credentials": person,
        "service_account_impersonation_url": "https://iamcredentials.googleapis.com/x" });
    assert!(matches!(read(&impersonated).unwrap().credentials, Credentials::Impersonated { .. }));
}

#[test]
fn a_file_that_cannot_be_used_says_why() {
    assert!(why(&json!({})).contains("no credentials file"));
    assert!(why(&json!({ "type": "gdch_service_account" })).contains("not supported"));
    let account =
        json!({ "type": "service_account", "client_email": "a@b", "private_key": "none" });
    assert!(why(&account).contains("no RSA private key"));
    let mut person = json!({ "type": "authorized_user", "client_id": "c", "client_secret": "s",
        "refresh_token": "hidden", "token_uri": "http://elsewhere.example/token" });
    let told = why(&person);
    assert!(told.contains("must be https") && !told.contains("hidden"), "{told}");
    person["token_uri"] = "http://127.0.0.1:1/token".into();
    assert!(read(&person).is_ok(), "loopback never leaves the host");
    let aws = json!({ "type": "external_account", "audience": "a", "subject_token_type": "t",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": { "environment_id": "aws1" } });
    assert!(why(&aws).contains("another source"));
}

#[tokio::test]
async fn a_file_that_is_named_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.json").display().to_string();
    let named = HashMap::from([("GOOGLE_APPLICATION_CREDENTIALS", missing)]);
    let why = find(&|name: &str| named.get(name).cloned(), &deps()).await.err().unwrap();
    assert!(why.error.contains("missing.json") && why.error.contains("cannot be read"), "{why}");
    assert_eq!(why.call.as_deref(), Some("credentials"));
}

#[tokio::test]
async fn what_gcloud_wrote_is_found_and_the_environment_names_the_project() {
    let folder = tempfile::tempdir().unwrap();
    let person = json!({ "type": "authorized_user", "client_id": "c", "client_secret": "s",
        "refresh_token": "r", "quota_project_id": "pays" });
    let path = folder.path().join("application_default_credentials.json");
    std::fs::write(path, person.to_string()).unwrap();
    let mut set = HashMap::from([("CLOUDSDK_CONFIG", folder.path().display().to_string())]);
    let project = |found: Found| found.project.unwrap();
    let of = find(&|name: &str| set.get(name).cloned(), &deps()).await.ok().unwrap();
    assert_eq!(project(of), "pays");
    set.insert("GOOGLE_CLOUD_PROJECT", "named".into());
    let of = find(&|name: &str| set.get(name).cloned(), &deps()).await.ok().unwrap();
    assert_eq!(project(of), "named");
}
