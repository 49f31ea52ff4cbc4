//! What agents see of clouds, on pages: resources, runs, the agents that deliver, and asking them.

use argosy_e2e::{
    browser::Browser,
    database::{Place, on_sqlite},
    on_both,
    server::TestServer,
};
use serde_json::{Value, json};

use crate::{
    reach::sign_in,
    story::{mark, must_be_same},
    world::World,
};

const INGEST: &str = "/api/v1/discovery/ingest";
const SYNC: &str = "/api/v1/discovery/sync";

/// A program of other people, which speaks REST with an API key and calls itself `collector-eu`.
pub(crate) struct Collector {
    key: String,
}

impl Collector {
    pub(crate) async fn join(server: &TestServer) -> Self {
        let body = json!({ "name": "collector", "scopes": ["discovery:create"] });
        let key = server.client.post("/api/v1/auth/keys", &server.admin_key, &body).await;
        let collector = Self { key: key.text("key") };
        collector.beat(server).await;
        collector
    }

    async fn beat(&self, server: &TestServer) -> Value {
        let body = json!({ "agent_id": "collector-eu", "name": "collector-eu" });
        server.client.post("/api/v1/agents/heartbeat", &self.key, &body).await.expect(200)
    }

    async fn deliver(&self, server: &TestServer, mut run: Value) -> Value {
        run["agent_id"] = "collector-eu".into();
        server.client.post(INGEST, &self.key, &run).await.expect(200)
    }

    async fn id(&self, server: &TestServer) -> String {
        let agents = server.agents().await;
        let own = agents.iter().find(|agent| agent["name"] == "collector-eu").unwrap();
        own["agent_id"].as_str().unwrap().to_owned()
    }
}

fn resource(kind: &str, region: &str, (id, parent): (&str, Option<&str>), cidr: &str) -> Value {
    json!({
        "provider": "aws", "region": region, "resource_type": kind, "resource_id": id,
        "name": format!("{}-{id}", ["prod", "staging"][id.len() % 2]), "cidr": cidr,
        "parent_resource_id": parent,
        "metadata": {
            "tags": { "team": "platform", "cost-centre": "4711" }, "state": "available",
            "available_addresses": if id.ends_with('1') { 12 } else { 201 },
        },
    })
}

/// A network with subnets, of which the first has an interface with an address.
fn network(region: &str, n: usize, subnets: usize) -> Vec<Value> {
    let vpc = format!("vpc-0{n:03}");
    let mut all =
        vec![resource("vpc", region, (&vpc, None), &format!("10.{}.0.0/16", n / 2 % 250))];
    for m in 1..=subnets {
        let (id, cidr) =
            (format!("subnet-{n}-{m}"), format!("10.{}.{}.0/24", n / 2 % 250, m % 250));
        all.push(resource("subnet", region, (&id, Some(&vpc)), &cidr));
    }
    let (subnet, eni) = (format!("subnet-{n}-1"), format!("eni-{n}"));
    all.push(resource("network_interface", region, (&eni, Some(&subnet)), ""));
    all.push(resource(
        "elastic_ip",
        region,
        (&format!("eipalloc-{n}"), Some(&eni)),
        "203.0.113.7/32",
    ));
    all
}

/// Clouds of that many networks, as a program delivers them: a whole run, one in which something
/// changed, vanished and failed, and one that is asked for and waits. Gives the ids of a network
/// and of the run that failed in part.
pub(crate) async fn clouds(server: &TestServer, networks: usize, subnets: usize) -> [String; 2] {
    let collector = Collector::join(server).await;
    let region = |n: usize| ["eu-central-1", "us-east-1"][n % 2];
    let all: Vec<Value> = (0..networks).flat_map(|n| network(region(n), n, subnets)).collect();
    let scope = json!({ "provider": "aws", "regions": ["eu-central-1", "us-east-1"] });
    collector.deliver(server, json!({ "resources": all.clone(), "scope": scope.clone() })).await;
    let mut later = all;
    later[0]["name"] = "prod-main".into();
    later.retain(|one| one["resource_id"] != "subnet-0-2");
    let failures = json!([{ "provider": "aws", "region": "ap-south-1", "error": "access denied",
        "call": "DescribeVpcs", "permission": "ec2:DescribeVpcs" }]);
    let run = json!({ "resources": later, "scope": scope, "failures": failures });
    let job = collector.deliver(server, run).await["job_id"].as_str().unwrap().to_owned();
    let asked = json!({ "agent_id": collector.id(server).await });
    server.client.post(SYNC, &server.admin_key, &asked).await.expect(202);
    let path = "/api/v1/discovery/resources?q=vpc-0000";
    let found = server.client.get(path, &server.admin_key).await.expect(200);
    [found["items"][0]["id"].as_str().unwrap().to_owned(), job]
}

async fn resources_are_found_drawn_and_told_of(place: Place) {
    let world = World::start(&place).await;
    let (server, viewer) = (&world.server, &world.viewer);
    let page = async |path: &str| {
        let answer = viewer.page(server, &format!("/console/discovery{path}")).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.page);
        answer.page
    };
    assert!(page("").await.contains("Nothing is discovered yet"));
    assert!(page("?view=tree").await.contains("No networks"));
    assert!(page("/sync").await.contains("No runs yet"));
    assert!(page("/agents").await.contains("No agent discovers yet"));
    let [vpc, job] = clouds(server, 2, 3).await;

    for (query, shown) in [
        ("", "prod-main subnet-0-2 subnet-1-1 vpc-0001"),
        ("?q=VPC-000", "prod-main vpc-0001"),
        ("?region=us-east-1&type=vpc", "vpc-0001"),
        ("?status=stale", "subnet-0-2"),
        ("?provider=aws&account=1&q=10.0.0.0%2F16", "prod-main vpc-0001"),
        ("?provider=gcp", ""),
    ] {
        let page = page(query).await;
        let names = ["prod-main", "subnet-0-2", "subnet-1-1", "vpc-0001"].into_iter();
        let found: Vec<&str> = names
            .filter(|name| {
                page.contains(&format!("{name}</a>")) || page.contains(&format!("-{name}</a>"))
            })
            .collect();
        assert_eq!(found.join(" "), shown, "{query}: {page}");
        assert_eq!(page.contains("No resource fits"), shown.is_empty(), "{query}");
    }
    let filtered = page("?type=subnet&region=us-east-1").await;
    for words in ["type: subnet", "region: us-east-1", "resource_type=subnet&#38;region=us-east-1"]
    {
        assert!(filtered.replace("&amp;", "&#38;").contains(words), "no {words}: {filtered}");
    }
    let answer = viewer.page(server, "/console/discovery?status=gone").await;
    assert_eq!(answer.status, 422);

    let tree = page("?view=tree&region=eu-central-1").await;
    let at = |words: &str| tree.find(words).unwrap_or_else(|| panic!("no {words}: {tree}"));
    assert!(at("prod-main") < at("subnet-0-1") && at("subnet-0-1") < at("eni-0"), "{tree}");
    assert!(at("eni-0") < at("eipalloc-0") && !tree.contains("vpc-0001"), "{tree}");
    let hints = page("?view=hints").await;
    for words in ["10.0.0.0/16", "vpc-0001", "95 %", "12 of 251 free"] {
        assert!(hints.contains(words), "no {words}: {hints}");
    }
    let shown = page(&format!("/resources/{vpc}")).await;
    for words in ["team=platform", "cost-centre=4711", "available_addresses", "changed", "appeared"]
    {
        assert!(shown.contains(words), "no {words}: {shown}");
    }
    assert!(shown.contains(&format!("/console/discovery/sync/{job}")), "{shown}");
    let shown = page(&format!("/sync/{job}")).await;
    for words in ["partial", "ap-south-1", "DescribeVpcs", "ec2:DescribeVpcs", "collector-eu"] {
        assert!(shown.contains(words), "no {words}: {shown}");
    }
    let history = page("/sync").await;
    for words in
        ["3 regions, 1 failed", "1 gone", "from the API", "partial", "completed", "pending"]
    {
        assert!(history.contains(words), "no {words}: {history}");
    }
    assert!(page("/sync?status=failed").await.contains("No run fits"));
    let agents = page("/agents").await;
    assert!(agents.contains("collector-eu") && agents.contains("told with its next heartbeat"));
    let accounts = viewer.page(server, "/console/accounts").await.page;
    assert!(!accounts.contains("<td class=\"nowrap\"><span class=\"muted\">never"), "{accounts}");
}

/// Who may ask is offered it; who may not is told so, and refused.
async fn a_viewer_sees_and_starts_nothing(place: Place) {
    let world = World::start(&place).await;
    let (server, viewer) = (&world.server, &world.viewer);
    let start = "/console/discovery/sync/new";
    for path in ["", "/sync", "/agents"] {
        let page = viewer.page(server, &format!("/console/discovery{path}")).await.page;
        assert!(page.contains("that takes the role operator") && !page.contains(start), "{page}");
        let page = world.admin.page(server, &format!("/console/discovery{path}")).await.page;
        assert!(page.contains(start) && !page.contains("that takes the role operator"), "{page}");
    }
    for answer in [viewer.page(server, start).await, viewer.submit(server, start, &[]).await] {
        assert_eq!(answer.status, 403);
        assert!(answer.page.contains("this needs the scope discovery:sync"), "{}", answer.page);
        assert!(answer.page.contains("You are signed in as viewer"), "{}", answer.page);
    }
    assert!(server.audit("sync.started").await.is_empty());
    let jobs = server.client.get(SYNC, &server.admin_key).await.expect(200);
    assert_eq!(jobs["items"], json!([]));
    // An agent that is not approved cannot be asked, and the page says so.
    let fields = [("agent", world.pending.agent_id.as_str())];
    let answer = world.admin.submit(server, start, &fields).await;
    assert_eq!(answer.status, 409);
    assert!(answer.page.contains("the agent is not approved"), "{}", answer.page);
    let asked = world.admin.submit(server, start, &[("account", "1"), ("who", "any")]).await;
    let path = asked.location().trim_end_matches("?done=sync-asked").to_owned();
    let page = viewer.page(server, &path).await.page;
    assert!(page.contains("It waits for any agent of the account."), "{page}");
    assert!(page.contains("from the console, user:ada"), "{page}");
}

/// From an empty page to resources that appear, a run that is asked for, and its end, without a reload.
async fn a_run_is_seen_as_it_happens(place: Place) {
    let world = World::start(&place).await;
    let (server, browser) = (&world.server, Browser::start().await);
    let live = "document.querySelector('#live').textContent === 'Live'";
    browser.window(1024, 768, false).await;
    sign_in(&world, &browser).await;
    let collector = Collector::join(server).await;
    browser.go(&format!("{}/console/discovery", server.url)).await;
    browser.reads("Nothing is discovered yet").await;
    browser.wait("the feed", live).await;
    mark(&browser).await;
    let run = json!({ "resources": network("eu-central-1", 7, 2),
        "scope": { "provider": "aws", "regions": ["eu-central-1"] } });
    collector.deliver(server, run.clone()).await;
    browser.reads("prod-subnet-7-2").await;
    must_be_same(&browser).await;

    browser.fill("#q", "eni-7").await;
    browser.click(".filters button").await;
    browser.reads("“eni-7” in name, id or range").await;
    browser.reads("network interface").await;
    browser.click(".chips a[href='/console/discovery']").await;
    browser.click(".views a[href='/console/discovery?view=tree']").await;
    browser.reads("2 inside").await;
    browser.click("a[href='/console/discovery/agents']").await;
    browser.reads("5 resources: 5 new").await;
    browser.click("a[href^='/console/discovery/sync/new?agent=']").await;
    browser.reads("Clouds are only read.").await;
    browser.click("main form button.primary").await;
    browser.reads("It waits for its agent").await;
    browser.wait("the feed", live).await;
    mark(&browser).await;
    let job = browser.value("location.pathname.split('/').pop()").await;
    assert_eq!(collector.beat(server).await["sync_job_id"], job);
    let mut again = run;
    again["sync_job_id"] = job;
    collector.deliver(server, again).await;
    browser.reads("completed").await;
    browser.reads("read whole").await;
    must_be_same(&browser).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_seen_as_it_happens_in_a_browser() {
    Box::pin(on_sqlite(a_run_is_seen_as_it_happens)).await;
}

on_both!(resources_are_found_drawn_and_told_of, a_viewer_sees_and_starts_nothing,);
