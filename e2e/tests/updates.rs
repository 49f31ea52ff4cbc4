//! Operating system packages over the fleet, as agents report them through the socket.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use argosy_domain::{package::PackageStep, time::Clock as _};
use argosy_e2e::{
    agent::TestAgent,
    database::Place,
    http::Answer,
    on_both,
    process::until,
    rpc::{link, session},
    server::TestServer,
};
use argosy_wire::rpc::gateway::UploadInventoryRequest;
use reqwest::Method;
use serde_json::{Value, json};

const INVENTORY: &str = "/agentgateway.v1.AgentGatewayService/UploadInventory";

fn package(name: &str, current: &str, available: &str, security: bool) -> Value {
    json!({
        "name": name, "architecture": "amd64", "current": current, "available": available,
        "security": security, "repository": "http://deb.example stable/main",
    })
}

/// The agent reports that it has these pending.
async fn report(server: &TestServer, agent: &TestAgent, at: &str, packages: &[Value]) {
    let security = packages.iter().filter(|package| package["security"] == true).count();
    let report = json!({
        "subsystem": "updates", "manager": "apt", "pending": packages.len(),
        "security_pending": security, "packages": packages, "truncated": false,
        "refreshed_at": at,
    });
    let request = UploadInventoryRequest {
        subsystem: "updates".to_owned(),
        captured_at: at.to_owned(),
        report: report.to_string().into_bytes(),
        breaker: "closed".to_owned(),
        ..Default::default()
    };
    let options = session(agent, server, INVENTORY);
    let reports = futures::stream::iter([request]);
    let answer = link(server).rpc().upload_inventory_with_options(reports, options).await.unwrap();
    assert_eq!(answer.into_owned().accepted_count, 1);
}

async fn get(server: &TestServer, below: &str) -> Value {
    let path = format!("/api/v1/updates{below}");
    server.client.get(&path, &server.admin_key).await.expect(200)
}

fn names(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["name"].as_str().or(item["package"].as_str()).unwrap()).collect()
}

async fn reports_become_one_list_over_the_fleet(place: Place) {
    let server = TestServer::start(&place).await;
    let one = TestAgent::in_session(&server, "web-1").await;
    let two = TestAgent::in_session(&server, "web-2").await;
    let now = server.clock.now().to_string();
    let bash = package("bash", "5.1", "5.2", false);
    let odd = package("--force-yes", "1", "2", true);
    report(&server, &one, &now, &[package("openssl", "3.0", "3.1", true), bash.clone(), odd]).await;
    report(&server, &two, &now, &[bash, package("openssl", "3.0", "3.2", false)]).await;

    let all = get(&server, "").await;
    assert_eq!(names(&all), ["openssl", "bash"], "what no manager would call so is left out");
    let openssl = &all["items"][0];
    assert_eq!((&openssl["security"], &openssl["agents"]), (&json!(true), &json!(2)));
    let versions = json!([
        { "version": "3.1", "security": true, "agents": 1, "approved": 0 },
        { "version": "3.2", "security": false, "agents": 1, "approved": 0 },
    ]);
    assert_eq!(openssl["versions"], versions);
    let hosts = openssl["pending"].as_array().unwrap();
    assert_eq!(hosts.len(), 2);
    assert!(hosts.iter().all(|host| host["current"] == "3.0"), "{hosts:?}");
    assert_eq!(names(&get(&server, "?security").await), ["openssl"]);
    assert_eq!(names(&get(&server, "?security=false").await), ["openssl", "bash"]);

    let first = get(&server, "?limit=1").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = get(&server, &format!("?limit=1&cursor={cursor}")).await;
    assert_eq!((names(&second), &second["next_cursor"]), (vec!["bash"], &Value::Null));

    let of_two = get(&server, &format!("/agents?agent_id={}", two.agent_id)).await;
    assert_eq!(names(&of_two), ["bash", "openssl"]);
    assert_eq!(of_two["items"][1]["available"], "3.2");
    assert_eq!(of_two["items"][1]["agent_name"], "web-2");
    for bad in ["?security=maybe", "?agent_id=a%20b", "?package=-y", "?cursor=x", "?limit=0"] {
        let path = format!("/api/v1/updates{bad}");
        let status = server.client.get(&path, &server.admin_key).await.status;
        assert!([400, 422].contains(&status), "{bad}: {status}");
    }
}

async fn a_late_report_changes_nothing_and_others_see_nothing(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let now = server.clock.now();
    report(&server, &agent, &now.to_string(), &[package("bash", "5.1", "5.2", true)]).await;
    let before = now.minus(std::time::Duration::from_secs(60)).to_string();
    report(&server, &agent, &before, &[package("curl", "1", "2", false)]).await;
    assert_eq!(names(&get(&server, "").await), ["bash"], "the newest by capture stands");

    let other = server.other_organisation().await;
    let theirs = server.client.get("/api/v1/updates", &other.admin_key).await.expect(200);
    assert!(names(&theirs).is_empty());
    let path = format!("/api/v1/updates/agents?agent_id={}", agent.agent_id);
    let theirs = server.client.get(&path, &other.admin_key).await.expect(200);
    assert!(names(&theirs).is_empty());

    server.decide(&agent.agent_id, "revoke", json!({})).await.expect(200);
    assert!(names(&get(&server, "").await).is_empty(), "a revoked agent is no host any more");
}

async fn post(server: &TestServer, below: &str, body: Value) -> Answer {
    server.client.post(&format!("/api/v1/updates/{below}"), &server.admin_key, &body).await
}

/// The fan-out when it has begun all that it can.
async fn begun(server: &TestServer, fan_out: &Value) -> Value {
    let path = format!("/api/v1/fan-outs/{}", fan_out["id"].as_str().unwrap());
    until("nothing to wait for its turn", async || {
        let shown = server.client.get(&path, &server.admin_key).await.expect(200);
        shown["agents"].get("waiting").is_none().then_some(shown)
    })
    .await
}

async fn commands_of(server: &TestServer, fan_out: &Value) -> Vec<Value> {
    let path = format!("/api/v1/fan-outs/{}/commands", fan_out["id"].as_str().unwrap());
    let page = server.client.get(&path, &server.admin_key).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

/// The agent says over its stream's way that a dry run succeeded; here the store is told.
async fn tried(server: &TestServer, agent: &TestAgent, name: &str, version: &str) {
    let store = server.store().await;
    let mut tx = store.write("test").await.unwrap();
    let step = PackageStep {
        name: name.parse().unwrap(),
        architecture: "amd64".parse().unwrap(),
        version: version.parse().unwrap(),
    };
    tx.update_approvals().tried(&agent.id(), &[step], server.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
}

async fn what_is_approved_is_what_agents_are_told_to_install(place: Place) {
    let server = TestServer::start(&place).await;
    let one = TestAgent::in_session(&server, "web-1").await;
    let two = TestAgent::in_session(&server, "web-2").await;
    let now = server.clock.now().to_string();
    let ssl = |version| package("openssl", "3.0", version, true);
    report(&server, &one, &now, &[ssl("3.1"), package("bash", "5.1", "5.2", false)]).await;
    report(&server, &two, &now, &[ssl("3.2")]).await;
    let all = json!({ "selector": { "all": true } });
    post(&server, "install", all.clone()).await.refused(409, "nothing_approved");

    let wanted = json!([{ "name": "openssl", "version": "9.9" }]);
    let body = json!({ "selector": { "all": true }, "packages": wanted });
    post(&server, "approve", body).await.refused(422, "invalid");
    let both =
        json!({ "selector": { "all": true }, "security": true, "packages": [{ "name": "a" }] });
    post(&server, "approve", both).await.refused(422, "invalid");
    post(&server, "approve", json!({ "selector": {}, "security": true }))
        .await
        .refused(422, "invalid");
    assert!(server.audit("updates.approved").await.is_empty());

    let body = json!({ "selector": { "all": true }, "security": true });
    let approval = post(&server, "approve", body).await.expect(201);
    let covered = json!([
        { "name": "openssl", "version": "3.1", "agents": 1 },
        { "name": "openssl", "version": "3.2", "agents": 1 },
    ]);
    assert_eq!((&approval["packages"], &approval["waiting"]), (&covered, &json!(2)));
    let written = server.audit("updates.approved").await;
    assert_eq!(written[0]["detail"]["packages"], covered, "{written:?}");

    post(&server, "install", all.clone()).await.refused(409, "dry_run_first");
    let kind = json!({ "kind": "updates.install", "params": { "dry_run": false, "packages": [] } });
    let path = format!("/api/v1/agents/{}/commands", one.agent_id);
    server.client.post(&path, &server.admin_key, &kind).await.refused(422, "invalid");

    let dry = json!({ "selector": { "all": true }, "dry_run": true, "idempotency_key": "k" });
    let fan_out = post(&server, "install", dry.clone()).await.expect(202);
    assert_eq!(post(&server, "install", dry).await.expect(202)["id"], fan_out["id"]);
    begun(&server, &fan_out).await;
    let commands = commands_of(&server, &fan_out).await;
    assert_eq!(commands.len(), 2);
    for command in &commands {
        let version = if command["agent_id"] == *one.agent_id { "3.1" } else { "3.2" };
        let package = json!({ "name": "openssl", "architecture": "amd64", "version": version });
        assert_eq!(command["params"], json!({ "dry_run": true, "packages": [package] }));
        assert_eq!(command["kind"], "updates.install");
    }
    tried(&server, &one, "openssl", "3.1").await;
    post(&server, "install", all.clone()).await.refused(409, "dry_run_first");
    let first = json!({ "selector": { "agents": [one.agent_id] } });
    let fan_out = post(&server, "install", first).await.expect(202);
    begun(&server, &fan_out).await;
    assert_eq!(commands_of(&server, &fan_out).await[0]["params"]["dry_run"], false);
    let force =
        json!({ "selector": { "all": true }, "without_dry_run": true, "packages": ["openssl"] });
    assert_eq!(post(&server, "install", force).await.expect(202)["total"], 2);
}

async fn an_approval_is_taken_back_and_leaves_with_its_version(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let now = server.clock.now();
    report(&server, &agent, &now.to_string(), &[package("bash", "5.1", "5.2", false)]).await;
    let bash =
        json!({ "selector": { "all": true }, "packages": [{ "name": "bash", "version": "5.2" }] });
    let approval = post(&server, "approve", bash.clone()).await.expect(201);
    let path = format!("/api/v1/updates/approvals/{}", approval["id"].as_str().unwrap());
    let authorization = format!("Bearer {}", server.admin_key);
    let headers = [("authorization", authorization.as_str())];
    let gone = server.client.send(Method::DELETE, &path, &headers, None).await.expect(200);
    assert_eq!(gone["revoked_by"], approval["approved_by"]);
    server.client.send(Method::DELETE, &path, &headers, None).await.refused(409, "wrong_state");
    assert_eq!(server.audit("updates.approval_revoked").await.len(), 1);
    let force = json!({ "selector": { "all": true }, "without_dry_run": true });
    post(&server, "install", force.clone()).await.refused(409, "nothing_approved");

    post(&server, "approve", bash.clone()).await.expect(201);
    server.clock.advance(std::time::Duration::from_secs(60));
    let later = server.clock.now().to_string();
    report(&server, &agent, &later, &[package("bash", "5.1", "5.3", false)]).await;
    post(&server, "install", force).await.refused(409, "nothing_approved");
    post(&server, "approve", bash).await.refused(422, "invalid");
    let approvals = get(&server, "/approvals").await;
    let waiting: Vec<_> =
        approvals["items"].as_array().unwrap().iter().map(|a| &a["waiting"]).collect();
    assert_eq!(waiting, [0, 0]);
}

on_both!(
    reports_become_one_list_over_the_fleet,
    a_late_report_changes_nothing_and_others_see_nothing,
    what_is_approved_is_what_agents_are_told_to_install,
    an_approval_is_taken_back_and_leaves_with_its_version,
);
