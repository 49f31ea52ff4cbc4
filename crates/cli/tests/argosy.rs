//! The real program against a server that answers what the test says: what it sends, prints,
//! keeps and exits with.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

/// Method and path with query; authorization; body.
type Seen = (String, String, String);

/// Answers requests with what `script` makes of them, and remembers them.
struct Fake {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _runtime: tokio::runtime::Runtime,
}

type Script = fn(&str, usize) -> (u16, Value);

#[derive(Clone)]
struct Scripted {
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Script,
}

async fn answer(State(state): State<Scripted>, request: Request) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    let authorization = request.headers().get(header::AUTHORIZATION);
    let authorization = authorization.map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let nth = {
        let mut seen = state.seen.lock().unwrap();
        seen.push((line.clone(), authorization, body));
        seen.iter().filter(|(other, ..)| *other == line).count()
    };
    let (status, json) = (state.script)(&line, nth);
    (StatusCode::from_u16(status).unwrap(), axum::Json(json)).into_response()
}

impl Fake {
    fn start(script: Script) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let state = Scripted { seen: Arc::clone(&seen), script };
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, Router::new().fallback(answer).with_state(state)).await.unwrap();
        });
        Self { url, seen, _runtime: runtime }
    }

    fn lines(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(line, ..)| line.clone()).collect()
    }

    fn bodies(&self, start: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        let of = seen.iter().filter(|(line, ..)| line.starts_with(start));
        of.map(|(.., body)| serde_json::from_str(body).unwrap()).collect()
    }
}

fn argosy(home: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_argosy"))
        .args(args)
        .env_clear()
        .env("HOME", home)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// With a key at hand.
fn keyed(fake: &Fake, args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let with = ["--server", &fake.url, "--key", "argosy_k_secret"];
    argosy(home.path(), &[&with, args].concat())
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn problem(status: u16, code: &str, detail: &str) -> (u16, Value) {
    let body = json!({
        "type": format!("urn:argosy:problem:{code}"), "title": "t", "status": status,
        "detail": detail, "error": detail, "code": code, "trace_id": "t-1"
    });
    (status, body)
}

fn agent(id: &str, status: &str) -> Value {
    json!({
        "agent_id": id, "name": "web-1", "account_id": 1, "status": status,
        "approval_status": "pending_approval", "health": "healthy", "connected": true,
        "assurance": "proof_of_possession", "labels": {}, "machine_bound": true,
        "fingerprint": "e3b0 c442 98fc 1c14 9afb f4c8 996f b924",
        "registered_at": "2026-11-22T11:00:00Z", "breakers": {}
    })
}

fn command(state: &str) -> Value {
    json!({
        "id": "c-1", "agent_id": "a-1", "kind": "subsystem.run", "params": {}, "state": state,
        "sequence": 1, "created_by": "user:ada", "created_at": "2026-11-22T11:00:00Z",
        "expires_at": "2026-11-23T11:00:00Z", "ended_at": null, "detail": null, "result": null,
        "receipt_available": false
    })
}

#[test]
fn login_keeps_a_profile_that_later_commands_use() {
    let fake = Fake::start(|line, _| match line {
        "GET /api/v1/auth/me" => {
            (200, json!({"actor": "user:ada", "organisation": "default", "scopes": ["*"]}))
        }
        _ => (200, json!({"items": [], "next_cursor": null})),
    });
    let home = tempfile::tempdir().unwrap();
    let key_file = home.path().join("admin.key");
    std::fs::write(&key_file, "argosy_k_secret\n").unwrap();
    let key_file = key_file.to_str().unwrap();
    let done = argosy(home.path(), &["login", "--server", &fake.url, "--key-file", key_file]);
    assert!(done.status.success(), "{}", err(&done));
    assert!(out(&done).contains("as user:ada of organisation default"), "{}", out(&done));
    assert!(!out(&done).contains("secret"));
    let kept = home.path().join(".config/argosy/config.toml");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

    let listed = argosy(home.path(), &["token", "list"]);
    assert!(out(&listed).starts_with("No tokens. Mint one"), "{}", out(&listed));
    let seen = fake.seen.lock().unwrap();
    assert!(
        seen.iter()
            .all(|(line, key, _)| key == "Bearer argosy_k_secret" && !line.contains("secret"))
    );
}

#[test]
fn a_refused_key_is_not_kept() {
    let fake = Fake::start(|_, _| problem(401, "unauthenticated", "the key is not valid"));
    let home = tempfile::tempdir().unwrap();
    let args = ["login", "--server", &fake.url, "--key", "argosy_k_secret"];
    let refused = argosy(home.path(), &args);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("argosy login") && !err(&refused).contains("secret"));
    assert!(!home.path().join(".config/argosy/config.toml").exists());
}

#[test]
fn without_a_login_or_a_server_the_next_step_is_named() {
    let home = tempfile::tempdir().unwrap();
    let nobody = argosy(home.path(), &["status"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(err(&nobody).contains("argosy login --server"), "{}", err(&nobody));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let silent = argosy(home.path(), &["--server", &url, "--key", "argosy_k", "status"]);
    assert_eq!(silent.status.code(), Some(1));
    let hint = format!("is the server running at {url}?");
    assert!(err(&silent).contains(&hint), "{}", err(&silent));
}

#[test]
fn a_question_is_asked_again_while_the_server_is_busy_and_a_change_is_not() {
    let fake = Fake::start(|line, nth| match (line, nth) {
        ("DELETE /api/v1/auth/keys/k-1", _) | (_, 1) => problem(503, "unavailable", "busy"),
        _ => (200, json!({"items": [], "next_cursor": null})),
    });
    assert!(keyed(&fake, &["accounts", "list"]).status.success());
    assert_eq!(fake.lines().len(), 2);
    let refused = keyed(&fake, &["key", "revoke", "k-1"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(fake.lines().len(), 3, "{:?}", fake.lines());
}

#[test]
fn a_list_goes_through_the_pages_up_to_its_limit() {
    let fake = Fake::start(|line, _| {
        let page = |id: &str, next: Value| {
            (200, json!({"items": [agent(id, "approved")], "next_cursor": next}))
        };
        if line.contains("cursor=two") {
            page("a-2", json!("three"))
        } else if line.contains("cursor=three") {
            page("a-3", Value::Null)
        } else {
            page("a-1", json!("two"))
        }
    });
    let all = keyed(&fake, &["agent", "list", "--output", "json"]);
    let items: Vec<Value> = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!(items.len(), 3, "{}", err(&all));
    let two = keyed(&fake, &["agent", "list", "--limit", "2"]);
    assert_eq!(out(&two).matches("web-1").count(), 2);
    assert!(err(&two).contains("raise --limit"), "{}", err(&two));
}

#[test]
fn an_approval_without_a_terminal_needs_the_fingerprint_and_sends_it() {
    let fake = Fake::start(|line, _| match line {
        "GET /api/v1/agents/web-1" => problem(404, "not_found", "no such agent"),
        _ if line.starts_with("GET /api/v1/agents?") => {
            (200, json!({"items": [agent("a-1", "pending")], "next_cursor": null}))
        }
        _ => (200, agent("a-1", "approved")),
    });
    let bare = keyed(&fake, &["agent", "approve", "web-1"]);
    assert_eq!(bare.status.code(), Some(2));
    assert!(err(&bare).contains("--fingerprint"), "{}", err(&bare));
    assert!(fake.bodies("POST").is_empty());

    let compared = "E3B0C44298FC1C149AFBF4C8996FB924";
    let done = keyed(&fake, &["agent", "approve", "web-1", "--fingerprint", compared]);
    assert!(out(&done).contains("web-1 is approved."), "{}", err(&done));
    let sent = fake.bodies("POST /api/v1/agents/a-1/approve");
    assert_eq!(sent, [json!({"fingerprint": "e3b0 c442 98fc 1c14 9afb f4c8 996f b924"})]);
}

#[test]
fn waiting_for_a_command_ends_with_its_outcome() {
    fn script(line: &str, nth: usize) -> (u16, Value) {
        match line {
            "GET /api/v1/agents/a-1" => (200, agent("a-1", "approved")),
            _ if line.starts_with("GET /api/v1/agents?") => {
                (200, json!({"items": [], "next_cursor": null}))
            }
            "POST /api/v1/agents/a-1/commands" => (202, command("queued")),
            _ if nth < 2 => (200, command("running")),
            _ => (200, command("failed")),
        }
    }
    let fake = Fake::start(script);
    let args = ["command", "send", "a-1", "subsystem.run", "--param", "subsystem=system"];
    let sent = keyed(&fake, &args);
    assert!(sent.status.success() && out(&sent).contains("queued"), "{}", err(&sent));
    let waited = keyed(&fake, &[&args[..], &["--wait", "--output", "yaml"]].concat());
    assert_eq!(waited.status.code(), Some(3), "{}", err(&waited));
    assert!(out(&waited).contains("state: failed"), "{}", out(&waited));
    assert!(err(&waited).contains("the command ended: failed"), "{}", err(&waited));
    let bodies = fake.bodies("POST /api/v1/agents/a-1/commands");
    let body = json!({"kind": "subsystem.run", "params": {"subsystem": "system"}});
    assert_eq!(bodies, [body.clone(), body]);
}

#[test]
fn a_server_that_is_not_argosy_is_told_apart() {
    let fake = Fake::start(|_, _| (404, json!({"message": "nothing here"})));
    let foreign = keyed(&fake, &["status"]);
    assert_eq!(foreign.status.code(), Some(1));
    assert!(err(&foreign).contains("not as an Argosy server does"), "{}", err(&foreign));
}

#[test]
fn what_cannot_be_undone_needs_yes_where_nobody_can_be_asked() {
    let fake = Fake::start(|line, _| match line {
        _ if line.starts_with("GET /api/v1/agents?") => {
            (200, json!({"items": [], "next_cursor": null}))
        }
        _ => (200, agent("a-1", "revoked")),
    });
    assert_eq!(keyed(&fake, &["agent", "revoke", "a-1"]).status.code(), Some(2));
    assert!(!fake.lines().iter().any(|line| line.starts_with("POST")));
    let done = keyed(&fake, &["agent", "revoke", "a-1", "--yes", "--reason", "stolen"]);
    assert!(done.status.success(), "{}", err(&done));
    assert_eq!(fake.bodies("POST /api/v1/agents/a-1/revoke"), [json!({"reason": "stolen"})]);
}

#[test]
fn completions_need_no_server() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = argosy(home.path(), &["completions", shell]);
        assert!(script.status.success() && out(&script).contains("argosy"), "{shell}");
    }
}
