//! Discovery as agents and people meet it: runs in chunks, hints, what goes stale and what does not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod upload;

use std::{io::Write as _, time::Duration};

use argosy_e2e::{
    database::Place,
    http::{Answer, plain},
    on_both,
    server::TestServer,
};
use serde_json::{Value, json};

const INGEST: &str = "/api/v1/discovery/ingest";
const SYNC: &str = "/api/v1/discovery/sync";
const HEARTBEAT: &str = "/api/v1/agents/heartbeat";

/// A service key that may deliver, and nothing else.
async fn service(server: &TestServer, name: &str) -> String {
    let body = json!({ "name": name, "scopes": ["discovery:create"] });
    server.client.post("/api/v1/auth/keys", &server.admin_key, &body).await.text("key")
}

async fn beat(server: &TestServer, key: &str, agent: &str) -> Value {
    server.client.post(HEARTBEAT, key, &json!({ "agent_id": agent })).await.expect(200)
}

fn vpc(name: &str, region: &str) -> Value {
    json!({
        "provider": "aws", "region": region, "resource_type": "vpc",
        "resource_id": format!("vpc-{name}"), "name": name, "cidr": "10.0.0.0/16",
    })
}

async fn deliver(server: &TestServer, key: &str, body: Value) -> Answer {
    server.client.post(INGEST, key, &body).await
}

async fn get(server: &TestServer, path: &str) -> Value {
    server.client.get(&format!("/api/v1/discovery/{path}"), &server.admin_key).await.expect(200)
}

/// Names of resources in this state.
async fn named(server: &TestServer, status: &str) -> Vec<String> {
    let page = get(server, &format!("resources?status={status}&limit=500")).await;
    let items = page["items"].as_array().unwrap().iter();
    let mut names: Vec<String> =
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn told(answer: &Value) -> [u64; 4] {
    ["found", "created", "updated", "deleted"]
        .map(|count| answer[format!("resources_{count}")].as_u64().unwrap())
}

async fn a_run_comes_in_chunks_and_each_counts_once(place: Place) {
    let server = TestServer::start(&place).await;
    let key = service(&server, "collector").await;
    beat(&server, &key, "one").await;
    let first = json!({
        "agent_id": "one", "chunk": 0,
        "resources": [vpc("a", "eu"), vpc("b", "us"), vpc("c", "ap")],
    });
    let begun = deliver(&server, &key, first.clone()).await.expect(200);
    assert_eq!(told(&begun), [3, 3, 0, 0]);
    let job = begun["job_id"].clone();
    let chunk = |number: u32, resources: Value| json!({ "agent_id": "one", "sync_job_id": job, "chunk": number, "resources": resources });
    // It comes again, and then somebody else's under the same number.
    let again = chunk(0, first["resources"].clone());
    assert_eq!(told(&deliver(&server, &key, again).await.expect(200)), [3, 3, 0, 0]);
    let other = chunk(0, json!([vpc("x", "eu")]));
    deliver(&server, &key, other).await.refused(409, "wrong_state");
    // The end cannot come before what is missing.
    let mut last = chunk(2, Value::Null);
    last["final"] = true.into();
    last["scope"] = json!({ "provider": "aws", "regions": ["eu", "us"] });
    last["failures"] = json!([{ "provider": "aws", "region": "ap", "error": "denied",
        "call": "DescribeVpcs", "permission": "ec2:DescribeVpcs" }]);
    deliver(&server, &key, last.clone()).await.refused(409, "wrong_state");
    deliver(&server, &key, chunk(1, json!([vpc("d", "eu")]))).await.expect(200);
    let ended = deliver(&server, &key, last.clone()).await.expect(200);
    assert_eq!(told(&ended), [0, 0, 0, 0]);
    assert_eq!(deliver(&server, &key, last).await.expect(200), ended, "the end may come again");
    deliver(&server, &key, chunk(3, json!([]))).await.refused(409, "wrong_state");
    let shown = get(&server, &format!("sync/{}", job.as_str().unwrap())).await;
    assert_eq!((&shown["status"], &shown["chunks"]), (&json!("partial"), &json!(3)));
    assert_eq!(told(&shown), [4, 4, 0, 0]);
    let failed = shown["regions"].as_array().unwrap().iter().find(|r| r["status"] == "failed");
    assert_eq!(failed.unwrap()["permission"], "ec2:DescribeVpcs");
    // The next one empties a region, and fails in the one that has the most to lose.
    let next = json!({
        "agent_id": "one", "resources": [vpc("b", "us")],
        "scope": { "provider": "aws", "regions": ["eu", "us"] },
        "failures": [{ "provider": "aws", "region": "ap", "error": "denied" }],
    });
    assert_eq!(told(&deliver(&server, &key, next).await.expect(200)), [1, 0, 0, 2]);
    assert_eq!(named(&server, "stale").await, ["a", "d"]);
    assert_eq!(named(&server, "active").await, ["b", "c"]);
}

async fn two_agents_of_one_account_never_stale_each_other(place: Place) {
    let server = TestServer::start(&place).await;
    let key = service(&server, "collector").await;
    for agent in ["one", "two"] {
        beat(&server, &key, agent).await;
    }
    let run = |agent: &str, region: &str, names: &[&str]| {
        let resources: Vec<Value> = names.iter().map(|name| vpc(name, region)).collect();
        json!({ "agent_id": agent, "resources": resources,
            "scope": { "provider": "aws", "regions": [region] } })
    };
    deliver(&server, &key, run("one", "eu", &["a", "b"])).await.expect(200);
    deliver(&server, &key, run("two", "us", &["c", "d"])).await.expect(200);
    let answer = deliver(&server, &key, run("one", "eu", &["a"])).await.expect(200);
    assert_eq!(told(&answer), [1, 0, 0, 1]);
    deliver(&server, &key, run("two", "us", &[])).await.expect(200);
    assert_eq!(named(&server, "active").await, ["a"]);
    assert_eq!(named(&server, "stale").await, ["b", "c", "d"]);
    deliver(&server, &key, run("one", "eu", &["a", "b"])).await.expect(200);
    let item = get(&server, "resources?q=vpc-b").await["items"][0].clone();
    let detail = get(&server, &format!("resources/{}", item["id"].as_str().unwrap())).await;
    let history = detail["history"].as_array().unwrap();
    let kinds: Vec<&str> = history.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    let mut expected = vec!["appeared", "reappeared", "vanished"];
    let mut sorted = kinds.clone();
    sorted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sorted, expected, "{kinds:?}");
    assert!(history.iter().all(|event| event["sync_job_id"].is_string()));
}

async fn a_job_is_asked_for_hinted_taken_and_reaped(place: Place) {
    let server = TestServer::start(&place).await;
    let key = service(&server, "collector").await;
    let known = beat(&server, &key, "one").await;
    assert_eq!(known.get("sync_job_id"), None);
    let agent = server.agents().await[0]["agent_id"].clone();
    let ask = json!({ "agent_id": agent });
    let asked = server.client.post(SYNC, &server.admin_key, &ask).await.expect(202);
    let job = asked["items"][0]["id"].clone();
    assert_eq!(asked["items"][0]["status"], "pending");
    let again = server.client.post(SYNC, &server.admin_key, &ask).await.expect(202);
    assert_eq!(again["items"][0]["id"], job, "one open job for an agent");
    assert_eq!(server.audit("sync.started").await.len(), 2);
    server.client.post(SYNC, &key, &ask).await.refused(403, "forbidden");
    assert_eq!(beat(&server, &key, "one").await["sync_job_id"], job);
    // Another agent of the same key cannot take it.
    beat(&server, &key, "two").await;
    let theft = json!({ "agent_id": "two", "sync_job_id": job, "resources": [] });
    deliver(&server, &key, theft).await.refused(409, "wrong_state");
    // Whoever ignores the hint takes the job all the same.
    let run = json!({ "agent_id": "one", "resources": [vpc("a", "eu")] });
    assert_eq!(deliver(&server, &key, run).await.expect(200)["job_id"], job);
    assert_eq!(beat(&server, &key, "one").await.get("sync_job_id"), None);
    // One for any agent of the account goes to the first one that asks, and only to it.
    let asked = server.client.post(SYNC, &server.admin_key, &json!({})).await.expect(202);
    let any = asked["items"][0]["id"].clone();
    assert_eq!(asked["items"][0]["agent_id"], Value::Null);
    assert_eq!(beat(&server, &key, "two").await["sync_job_id"], any);
    assert_eq!(beat(&server, &key, "one").await.get("sync_job_id"), None);
    // It begins, and is never heard of again.
    let begun = json!({ "agent_id": "two", "sync_job_id": any, "chunk": 1, "resources": [] });
    deliver(&server, &key, begun).await.expect(200);
    server.clock.advance(Duration::from_secs(16 * 60));
    assert_eq!(server.app.fail_dropped_syncs().await.unwrap(), 1);
    let path = format!("sync/{}", any.as_str().unwrap());
    let shown = get(&server, &path).await;
    assert_eq!((&shown["status"], &shown["source"]), (&json!("failed"), &json!("api")));
    assert!(shown["error"].as_str().unwrap().contains("did not go on"), "{shown}");
    let late = json!({ "agent_id": "two", "sync_job_id": any, "chunk": 2, "resources": [] });
    deliver(&server, &key, late).await.refused(409, "wrong_state");
    assert_eq!(get(&server, "sync?status=failed").await["items"].as_array().unwrap().len(), 1);
    let all = json!({ "all_agents": true });
    let all = server.client.post(SYNC, &server.admin_key, &all).await.expect(202);
    assert_eq!(all["items"].as_array().unwrap().len(), 2);
    assert_eq!(named(&server, "active").await, ["a"]);
}

async fn sent(server: &TestServer, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, Value) {
    let mut request =
        plain().post(format!("{}{INGEST}", server.url)).bearer_auth(&server.admin_key);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.body(body).send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

async fn bodies_are_compressed_and_come_in_lines(place: Place) {
    let server = TestServer::start(&place).await;
    let body = json!({ "resources": [vpc("a", "eu")] }).to_string().into_bytes();
    let (status, answer) = sent(&server, &[("content-encoding", "gzip")], gzip(&body)).await;
    assert_eq!((status, told(&answer)), (200, [1, 1, 0, 0]), "{answer}");
    let zstd = zstd::encode_all(&body[..], 3).unwrap();
    let (status, answer) = sent(&server, &[("content-encoding", "zstd")], zstd).await;
    assert_eq!((status, told(&answer)), (200, [1, 0, 0, 0]), "{answer}");
    let (status, _) = sent(&server, &[("content-encoding", "br")], body.clone()).await;
    assert_eq!(status, 415);
    let (status, answer) = sent(&server, &[("content-encoding", "gzip")], body).await;
    assert_eq!((status, &answer["code"]), (400, &json!("malformed")));
    // A whole run in lines, of several parts; what is not among them is stale.
    let mut lines = String::from("{\"account_id\": 1}\n");
    for number in 0..4_500 {
        lines.push_str(&vpc(&format!("n{number:04}"), "eu").to_string());
        lines.push('\n');
    }
    let headers = [NDJSON, ("content-encoding", "gzip")];
    let (status, answer) = sent(&server, &headers, gzip(lines.as_bytes())).await;
    assert_eq!((status, told(&answer)), (200, [4_500, 4_500, 0, 1]), "{answer}");
    let job = get(&server, &format!("sync/{}", answer["job_id"].as_str().unwrap())).await;
    assert_eq!((&job["chunks"], &job["status"]), (&json!(3), &json!("completed")));
    let (status, answer) = sent(&server, &[NDJSON], b"{}\n{\"provider\": 7}\n".to_vec()).await;
    assert_eq!((status, &answer["code"]), (422, &json!("invalid")));
    assert!(answer["detail"].as_str().unwrap().starts_with("line 2:"), "{answer}");
    let bad = json!({ "resources": [vpc("a", "eu"), { "provider": "aws", "resource_type": "vpc",
        "resource_id": "" }] });
    let answer = deliver(&server, &server.admin_key, bad).await;
    answer.refused(422, "invalid");
    assert_eq!(answer.body["errors"][0]["field"], "resources[1].resource_id");
}

async fn a_small_body_cannot_become_a_large_one(place: Place) {
    let server = TestServer::start(&place).await;
    let mut body = br#"{"resources": null, "padding": ""#.to_vec();
    body.resize(140 * 1024 * 1024, b' ');
    body.extend_from_slice(b"\"}");
    let small = gzip(&body);
    assert!(small.len() < 1024 * 1024);
    let (status, answer) = sent(&server, &[("content-encoding", "gzip")], small.clone()).await;
    assert_eq!((status, &answer["code"]), (413, &json!("too_large")));
    let (status, _) = sent(&server, &[NDJSON, ("content-encoding", "gzip")], small).await;
    assert_eq!(status, 413);
    let (status, _) = sent(&server, &[], vec![b' '; 17 * 1024 * 1024]).await;
    assert_eq!(status, 413);
    assert!(named(&server, "active").await.is_empty());
}

async fn programs_of_other_people_work_unchanged(place: Place) {
    let server = TestServer::start(&place).await;
    let key = service(&server, "collector").await;
    beat(&server, &key, "agent-7").await;
    let asked = server.client.post(SYNC, &server.admin_key, &json!({})).await.expect(202);
    let job = beat(&server, &key, "agent-7").await["sync_job_id"].clone();
    assert_eq!(job, asked["items"][0]["id"]);
    let mut odd = vpc("a", "eu");
    let more = json!({
        "id": "0", "account_id": 999, "status": "deleted", "parent_resource_id": "",
        "discovered_at": "2026-01-02T03:04:05.123456789Z", "metadata": null,
        "last_seen_at": "2026-01-02T03:04:05.123456789+02:00",
    });
    odd.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let run = json!({ "account_id": 1, "agent_id": "agent-7", "sync_job_id": job,
        "resources": [odd] });
    assert_eq!(told(&deliver(&server, &key, run).await.expect(200)), [1, 1, 0, 0]);
    let item = get(&server, "resources").await["items"][0].clone();
    assert_eq!((&item["status"], &item["account_id"]), (&json!("active"), &json!(1)));
    assert_eq!(item["parent_resource_id"], Value::Null);
    let nothing = json!({ "account_id": 1, "agent_id": "agent-7", "resources": null });
    assert_eq!(told(&deliver(&server, &key, nothing).await.expect(200)), [0, 0, 0, 0]);
    assert_eq!(named(&server, "active").await, ["a"], "nothing was declared to be empty");
}

async fn accounts_of_a_cloud_organisation_are_made_where_the_caller_may(place: Place) {
    let server = TestServer::start(&place).await;
    let path = "/api/v1/discovery/ingest/org";
    let account = |id: &str, resources: Value| {
        json!({ "aws_account_id": id, "account_name": "x", "provider": "aws",
            "regions": ["eu"], "resources": resources })
    };
    let run = json!({ "accounts": [
        account("111111111111", json!([vpc("a", "eu")])),
        account("222222222222", json!([vpc("b", "eu")])),
    ] });
    let key = service(&server, "collector").await;
    server.client.post(path, &key, &run).await.refused(404, "not_found");
    let made = server.client.post(path, &server.admin_key, &run).await.expect(200);
    assert_eq!(told(&made), [2, 2, 0, 0]);
    let accounts = server.client.get("/api/v1/accounts", &server.admin_key).await.expect(200);
    let names: Vec<&str> = accounts["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|account| account["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["default", "aws:111111111111", "aws:222222222222"]);
    // Now that they are there, whoever may deliver may.
    let emptied = json!({ "accounts": [account("111111111111", Value::Null)] });
    let answer = server.client.post(path, &key, &emptied).await.expect(200);
    assert_eq!(told(&answer), [0, 0, 0, 1]);
    assert_eq!(named(&server, "active").await, ["b"]);
    // An agent with a credential of its own: only where its account organises them.
    let token = server.token(json!({ "auto_approve": true })).await;
    let body = json!({ "name": "bare", "bootstrap_token": token });
    let register = "/api/v1/agents/register";
    let bare = server.client.post_anonymous(register, &body).await.text("api_key");
    let fresh = json!({ "accounts": [account("333333333333", json!([vpc("c", "eu")]))] });
    server.client.post(path, &bare, &fresh).await.refused(403, "forbidden");
    let bearer = format!("Bearer {}", server.admin_key);
    let headers = [("authorization", bearer.as_str())];
    let change = json!({ "provider": "aws-org" });
    let patch = reqwest::Method::PATCH;
    server.client.send(patch, "/api/v1/accounts/1", &headers, Some(&change)).await.expect(200);
    server.client.post(path, &bare, &fresh).await.expect(200);
    server.client.post(path, &bare, &fresh).await.expect(200);
    server.client.post(path, &bare, &run).await.refused(403, "forbidden");
    assert_eq!(named(&server, "active").await, ["b", "c"]);
    assert_eq!(server.audit("account.created").await.len(), 3);
}

async fn networks_are_a_tree_and_an_export_and_tell_what_stands_out(place: Place) {
    let server = TestServer::start(&place).await;
    let inside = |kind: &str, id: &str, parent: &str, cidr: &str| {
        json!({ "provider": "aws", "region": "eu", "resource_type": kind, "resource_id": id,
            "name": id, "cidr": cidr, "parent_resource_id": parent,
            "metadata": { "available_addresses": 11 } })
    };
    let run = json!({ "resources": [
        vpc("a", "eu"), vpc("=b", "us"), inside("subnet", "s-1", "vpc-a", "10.0.0.0/26"),
        inside("network_interface", "eni-1", "s-1", ""), inside("elastic_ip", "ip-1", "eni-1", ""),
        inside("subnet", "s-2", "vpc-elsewhere", "10.0.1.0/24"),
    ] });
    deliver(&server, &server.admin_key, run).await.expect(200);
    let tree = get(&server, "tree?region=eu").await;
    let root = &tree["items"][0];
    assert_eq!((tree["items"].as_array().unwrap().len(), &root["name"]), (1, &json!("a")));
    let address = &root["children"][0]["children"][0]["children"][0];
    assert_eq!(address["resource_id"], "ip-1");
    let insight = get(&server, "insight").await;
    let overlaps = insight["overlaps"].as_array().unwrap();
    assert_eq!(overlaps.len(), 1);
    let names = [&overlaps[0]["one"]["resource_id"], &overlaps[0]["other"]["resource_id"]];
    assert!(names.contains(&&json!("vpc-a")) && names.contains(&&json!("vpc-=b")));
    assert_eq!(insight["crowded"][1]["subnet"]["resource_id"], "s-1");
    assert_eq!(insight["crowded"][1]["used_percent"], 81);
    let export = async |format: &str| {
        let path = format!("/api/v1/discovery/export?format={format}&provider=aws");
        server.client.get(&path, &server.admin_key).await
    };
    let csv = export("csv").await;
    assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(csv.page.lines().count(), 7);
    assert!(csv.page.contains("\"'=b\""), "{}", csv.page);
    assert_eq!(export("json").await.expect(200).as_array().unwrap().len(), 6);
    assert_eq!(get(&server, "export?provider=gcp").await, json!([]));
    export("xml").await.refused(422, "invalid");
}

on_both!(
    a_run_comes_in_chunks_and_each_counts_once,
    two_agents_of_one_account_never_stale_each_other,
    a_job_is_asked_for_hinted_taken_and_reaped,
    bodies_are_compressed_and_come_in_lines,
    a_small_body_cannot_become_a_large_one,
    programs_of_other_people_work_unchanged,
    accounts_of_a_cloud_organisation_are_made_where_the_caller_may,
    networks_are_a_tree_and_an_export_and_tell_what_stands_out,
);
