//! Operating system packages over the fleet, as agents report them through the socket.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use argosy_domain::time::Clock as _;
use argosy_e2e::{
    agent::TestAgent,
    database::Place,
    on_both,
    rpc::{link, session},
    server::TestServer,
};
use argosy_wire::rpc::gateway::UploadInventoryRequest;
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

on_both!(
    reports_become_one_list_over_the_fleet,
    a_late_report_changes_nothing_and_others_see_nothing
);
