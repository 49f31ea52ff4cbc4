//! The feed of events: what it tells, to whom, and when it ends.

use std::time::{Duration, Instant};

use argosy_e2e::{
    agent::TestAgent, database::Place, on_both, on_shared, process::until, server::TestServer,
};
use serde_json::{Value, json};

use crate::gateway;

/// A second is promised; the machine of a test may be busy.
const SOON: Duration = Duration::from_secs(4);

/// A connection that watches.
struct Watcher {
    response: reqwest::Response,
    text: String,
}

/// One event: its id, its kind, its data.
type Event = (String, String, Value);

impl Watcher {
    /// Watches, and returns once the server does.
    async fn start(server: &TestServer, key: &str, kinds: &str, after: Option<&str>) -> Self {
        let url = format!("{}/api/v1/events/stream?kinds={kinds}", server.url);
        let http = argosy_e2e::http::plain();
        let mut request = http.get(url).bearer_auth(key);
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event; none when the stream is over.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(event) = event(&block) {
                    return Some(event);
                }
            }
            let chunk = self.response.chunk().await.ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event that fits.
    async fn until(&mut self, fits: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if fits(&event) {
                return event;
            }
        }
    }
}

fn event(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let mut lines = block.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().map(|value| value.trim_start().to_owned())
    };
    let data = serde_json::from_str(&field("data:")?).unwrap();
    Some((field("id:").unwrap_or_default(), field("event:")?, data))
}

async fn give_command(server: &TestServer, agent: &TestAgent) -> Value {
    let path = format!("/api/v1/agents/{}/commands", agent.agent_id);
    let body = json!({ "kind": "subsystem.run", "params": { "subsystem": "system" } });
    server.client.post(&path, &server.admin_key, &body).await.expect(202)
}

async fn key_with(server: &TestServer, scopes: &[&str]) -> (String, String) {
    let body = json!({ "name": "watcher", "scopes": scopes });
    let made = server.client.post("/api/v1/auth/keys", &server.admin_key, &body).await.expect(201);
    (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
}

async fn what_changes_is_told(place: Place) {
    let server = TestServer::start(&place).await;
    let mut watcher = Watcher::start(&server, &server.admin_key, "", None).await;
    let mut agent = TestAgent::new("web-1");
    agent.register(&server, &server.token(json!({})).await).await.expect(201);
    let (_, _, told) = watcher.until(|(_, kind, _)| kind == "agent").await;
    assert_eq!(told["agent_id"], agent.agent_id.as_str());
    assert_eq!((&told["changed"][0], &told["status"]), (&json!("registered"), &json!("pending")));
    server.decide(&agent.agent_id, "approve", json!({})).await.expect(200);
    watcher.until(|(_, _, data)| data["status"] == "approved").await;
    agent.handshake(&server).await.expect(200);
    let options = gateway::session(&agent, &server, gateway::STREAM);
    let stream = gateway::open(&gateway::rpc(&server), options, gateway::hello(&agent)).await;
    watcher.until(|(_, _, data)| data["connected"] == true).await;
    let command = give_command(&server, &agent).await;
    let (id, _, told) =
        watcher.until(|(_, kind, data)| kind == "command" && data["state"] == "sent").await;
    assert_eq!((&told["command_id"], &told["kind"]), (&command["id"], &command["kind"]));
    let bare = server.client.get("/api/v1/agents", &agent.api_key).await;
    bare.refused(401, "proof_required");
    let (_, _, told) = watcher.until(|(_, kind, _)| kind == "security").await;
    assert_eq!((&told["kind"], &told["count"]), (&json!("bare_key"), &json!(1)));
    drop((stream, watcher));
    // Who goes on where it ended is told what came meanwhile.
    let mut again = Watcher::start(&server, &server.admin_key, "security", Some(&id)).await;
    let (_, kind, told) = again.next().await.unwrap();
    assert_eq!((kind.as_str(), &told["kind"]), ("security", &json!("bare_key")));
    let mut late = Watcher::start(&server, &server.admin_key, "", Some("1")).await;
    assert_eq!(late.next().await.unwrap().1, "reset", "too long ago to go on");
    let mut nonsense = Watcher::start(&server, &server.admin_key, "", Some("x")).await;
    assert_eq!(nonsense.next().await.unwrap().1, "reset");
    let unknown = "/api/v1/events/stream?kinds=weather";
    server.client.get(unknown, &server.admin_key).await.refused(422, "invalid");
}

async fn a_watcher_sees_what_it_may_read_and_nothing_else(place: Place) {
    let server = TestServer::start(&place).await;
    let other = server.other_organisation().await;
    let (key, _) = key_with(&server, &["events:read", "commands:read"]).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let mut limited = Watcher::start(&server, &key, "", None).await;
    let mut foreign = Watcher::start(&server, &other.admin_key, "", None).await;
    let revoked = TestAgent::admitted(&server, "web-2").await;
    server.decide(&revoked.agent_id, "revoke", json!({})).await.expect(200);
    give_command(&server, &agent).await;
    assert_eq!(limited.next().await.unwrap().1, "command", "agents are not for this key");
    // The other organisation hears of its own first.
    let wanted = json!({ "name": "theirs", "account_id": other.account_id });
    let path = "/api/v1/bootstrap-tokens";
    let token = server.client.post(path, &other.admin_key, &wanted).await.expect(201);
    let body = json!({
        "name": "theirs", "account_id": other.account_id, "bootstrap_token": token["token"],
    });
    server.client.post_anonymous("/api/v1/agents/register", &body).await.expect(201);
    let (_, kind, told) = foreign.next().await.unwrap();
    assert_eq!((kind.as_str(), &told["name"]), ("agent", &json!("theirs")));
    let (nothing, _) = key_with(&server, &["agents:read"]).await;
    server.client.get("/api/v1/events/stream", &nothing).await.refused(403, "forbidden");
}

async fn watchers_are_counted(place: Place) {
    use argosy_server::app::feed::WATCHERS_PER_CALLER_MAX;
    let server = TestServer::start(&place).await;
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS_PER_CALLER_MAX {
        watchers.push(Watcher::start(&server, &server.admin_key, "", None).await);
    }
    let one_more = server.client.get("/api/v1/events/stream", &server.admin_key).await;
    one_more.refused(429, "rate_limited");
    assert!(one_more.headers.contains_key("retry-after"));
    drop(watchers);
    until("the places to be free", async || server.app.feed().is_empty().then_some(())).await;
    drop(Watcher::start(&server, &server.admin_key, "", None).await);
}

async fn an_organisation_takes_its_share_of_places_and_no_more(place: Place) {
    use argosy_server::app::feed::{WATCHERS_PER_CALLER_MAX, WATCHERS_PER_ORG_MAX};
    let server = TestServer::start(&place).await;
    let other = server.other_organisation().await;
    // A caller is whoever owns a key: here one service after the other.
    let service = async |name: String| {
        let body = json!({ "name": name, "service": name, "scopes": ["events:read"] });
        let made = server.client.post("/api/v1/auth/keys", &server.admin_key, &body).await;
        made.expect(201)["key"].as_str().unwrap().to_owned()
    };
    let mut watchers = Vec::new();
    while watchers.len() < WATCHERS_PER_ORG_MAX {
        let key = service(format!("watcher-{}", watchers.len())).await;
        for _ in 0..WATCHERS_PER_CALLER_MAX.min(WATCHERS_PER_ORG_MAX - watchers.len()) {
            watchers.push(Watcher::start(&server, &key, "", None).await);
        }
    }
    let key = service("one-more".to_owned()).await;
    let one_more = server.client.get("/api/v1/events/stream", &key).await;
    one_more.refused(429, "rate_limited");
    drop(Watcher::start(&server, &other.admin_key, "", None).await);
}

async fn a_feed_ends_with_its_key(place: Place) {
    let server = TestServer::start(&place).await;
    ends_with_its_key(&server, &server).await;
}

async fn a_feed_ends_when_its_key_is_revoked_on_the_other_server(place: Place) {
    let one = TestServer::start(&place).await;
    let two = one.second().await;
    ends_with_its_key(&one, &two).await;
    // What happens on one server is told on the other.
    let mut watcher = Watcher::start(&two, &two.admin_key, "agent", None).await;
    let agent = TestAgent::admitted(&one, "web-1").await;
    let (_, _, told) = watcher.until(|(_, _, data)| data["status"] == "approved").await;
    assert_eq!(told["agent_id"], agent.agent_id.as_str());
}

async fn ends_with_its_key(revoking: &TestServer, watched: &TestServer) {
    let (key, id) = key_with(revoking, &["events:read", "agents:read"]).await;
    let mut watcher = Watcher::start(watched, &key, "", None).await;
    let began = Instant::now();
    let path = format!("/api/v1/auth/keys/{id}");
    revoking.client.delete(&path, &revoking.admin_key).await.expect(204);
    assert_eq!(watcher.next().await, None);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let again = watched.client.get("/api/v1/events/stream", &key).await;
    again.refused(401, "unauthenticated");
}

on_both!(
    what_changes_is_told,
    a_watcher_sees_what_it_may_read_and_nothing_else,
    watchers_are_counted,
    an_organisation_takes_its_share_of_places_and_no_more,
    a_feed_ends_with_its_key,
);

mod shared {
    use super::*;
    on_shared!(a_feed_ends_when_its_key_is_revoked_on_the_other_server);
}
