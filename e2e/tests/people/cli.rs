//! Logging in with a password, through the real command line.

use std::{path::Path, process::Stdio};

use argosy_e2e::{
    database::Place,
    on_both,
    process::{PATIENCE, program},
    server::TestServer,
    user::TestUser,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

/// What the command line said, and its exit code.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    fn bad(self) -> String {
        assert_eq!(self.code, 1, "{self:?}");
        self.err
    }
}

fn prepared(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("PATH", std::env::var("PATH").unwrap());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    command
}

/// Runs `argosy` with `input` on standard input.
async fn argosy(home: &Path, arguments: &[&str], input: &str) -> Said {
    let mut child = prepared(&program("argosy"), home).args(arguments).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Whoever does not read it may be gone already.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    Said { code, out: text(output.stdout), err: text(output.stderr) }
}

fn profile(home: &Path) -> String {
    std::fs::read_to_string(home.join(".config/argosy/config.toml")).unwrap()
}

async fn open_sessions(server: &TestServer, user: &TestUser) -> usize {
    let mut user = user.clone();
    user.log_in(server).await;
    let sessions = user.get(server, "/api/v1/auth/sessions").await.expect(200);
    user.post(server, "/api/v1/auth/logout", &json!({})).await.expect(204);
    sessions["items"].as_array().unwrap().len() - 1
}

async fn a_login_with_a_password_works_until_it_is_ended(place: Place) {
    let server = TestServer::start(&place).await;
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let ada = TestUser::make(&server, "ada", "operator").await;
    ada.post(&server, "/api/v1/auth/logout", &json!({})).await.expect(204);
    let login = ["login", "--server", &server.url, "--user", "ada", "--password-stdin"];
    let refused = argosy(home, &login, "not the password\n").await.bad();
    assert!(refused.contains("name or password is wrong"), "{refused}");
    let said = argosy(home, &login, &format!("{}\n", ada.password)).await.good();
    assert!(said.contains("as user:ada of organisation default"), "{said}");
    assert!(!profile(home).contains(&ada.password), "the password is kept nowhere");
    assert!(!profile(home).contains("key ="), "no key is made");

    // It reads, and it changes things: with a body, and without one.
    argosy(home, &["status"], "").await.good();
    let agent = argosy_e2e::agent::TestAgent::in_session(&server, "web-1").await;
    argosy(home, &["agent", "label", "web-1", "env=prod"], "").await.good();
    argosy(home, &["agent", "quarantine", "web-1"], "").await.good();
    let shown = server.agent(&agent.agent_id).await;
    assert_eq!(
        (&shown["labels"]["env"], &shown["status"]),
        (&json!("prod"), &json!("quarantined"))
    );
    let refused = argosy(home, &["key", "create", "k", "--role", "viewer"], "").await.bad();
    assert!(refused.contains("keys:create"), "{refused}");

    // Another login takes its place; a logout ends it at the server.
    argosy(home, &login, &format!("{}\n", ada.password)).await.good();
    assert_eq!(open_sessions(&server, &ada).await, 1);
    let kept = profile(home);
    let said = argosy(home, &["logout"], "").await.good();
    assert!(said.contains("You are logged out"), "{said}");
    assert_eq!(open_sessions(&server, &ada).await, 0);
    // What a thief copied before is worth nothing.
    std::fs::write(home.join(".config/argosy/config.toml"), kept).unwrap();
    let refused = argosy(home, &["status"], "").await.bad();
    assert!(refused.contains("argosy login"), "{refused}");
    let said = argosy(home, &["logout"], "").await.good();
    assert!(said.contains("over already"), "{said}");
}

async fn users_are_governed_and_choose_their_passwords(place: Place) {
    let server = TestServer::start(&place).await;
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let key_file = home.join("admin.key");
    std::fs::write(&key_file, &server.admin_key).unwrap();
    let key = ["--server", server.url.as_str(), "--key-file", key_file.to_str().unwrap()];
    let admin = async |arguments: &[&str]| argosy(home, &[&key[..], arguments].concat(), "").await;
    let made = admin(&["user", "create", "ada", "--role", "viewer", "-o", "json"]).await.good();
    let made: Value = serde_json::from_str(&made).unwrap();
    let first = made["password"].as_str().unwrap();

    let login = ["login", "--server", &server.url, "--user", "Ada", "--password-stdin"];
    let said = argosy(home, &login, &format!("{first}\n")).await;
    assert!(said.err.contains("argosy user passwd"), "{said:?}");
    let refused = argosy(home, &["status"], "").await.bad();
    assert!(refused.contains("argosy user passwd"), "{refused}");
    let passwd = ["user", "passwd", "--password-stdin"];
    let weak = argosy(home, &passwd, &format!("{first}\nshort\n")).await.bad();
    assert!(weak.contains("new_password"), "{weak}");
    argosy(home, &passwd, &format!("{first}\nchosen by ada, really\n")).await.good();
    argosy(home, &["status"], "").await.good();
    assert_eq!(argosy(home, &passwd, "\n").await.code, 2, "nothing is on standard input");
    assert_eq!(admin(&passwd).await.code, 2, "a key has no password");

    let shown = admin(&["user", "show", "ada"]).await.good();
    assert!(shown.contains("viewer") && shown.contains("active"), "{shown}");
    admin(&["user", "set-role", "ada", "operator"]).await.good();
    let refused = argosy(home, &["status"], "").await.bad();
    assert!(refused.contains("argosy login"), "another role ends the login: {refused}");
    admin(&["user", "disable", "ada"]).await.good();
    assert!(admin(&["user", "show", "ada"]).await.good().contains("disabled"));
    let login_again = argosy(home, &login, "chosen by ada, really\n").await.bad();
    assert!(login_again.contains("name or password is wrong"), "{login_again}");
    admin(&["user", "enable", "ada"]).await.good();
    argosy(home, &login, "chosen by ada, really\n").await.good();
    let missing = admin(&["user", "show", "nobody"]).await.bad();
    assert!(missing.contains("there is no user"), "{missing}");
}

/// The programs of a terminal are asked there, and what is typed is not shown.
async fn a_password_is_asked_for_without_echo(place: Place) {
    let server = TestServer::start(&place).await;
    let folder = tempfile::tempdir().unwrap();
    let ada = TestUser::make(&server, "ada", "viewer").await;
    let line = format!("{} login --server {}", program("argosy").display(), server.url);
    let mut command = prepared(Path::new("script"), folder.path());
    let mut child = command.args(["-qefc", &line, "/dev/null"]).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = String::new();
    for (question, answer) in [("User name at", "ada"), ("Password of ada", ada.password.as_str())]
    {
        while !shown.contains(question) {
            let mut piece = [0; 256];
            let read = tokio::time::timeout(PATIENCE, stdout.read(&mut piece)).await.unwrap();
            let read = read.unwrap();
            assert_ne!(read, 0, "{shown}");
            shown.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        stdin.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
    }
    tokio::time::timeout(PATIENCE, stdout.read_to_string(&mut shown)).await.unwrap().unwrap();
    assert!(shown.contains("Logged in"), "{shown}");
    assert!(!shown.contains(&ada.password), "{shown}");
    let me = argosy(folder.path(), &["status"], "").await;
    assert_eq!(me.code, 0, "{me:?}");
}

async fn organisations_are_shut_out_by_the_command_line(place: Place) {
    let server = TestServer::start(&place).await;
    let folder = tempfile::tempdir().unwrap();
    let key = ["--server", server.url.as_str(), "--key", server.admin_key.as_str()];
    let admin =
        async |arguments: &[&str]| argosy(folder.path(), &[&key[..], arguments].concat(), "").await;
    let made = admin(&["organisation", "create", "acme", "--admin", "wile", "-o", "json"]).await;
    let made: Value = serde_json::from_str(&made.good()).unwrap();
    let password = made["admin"]["password"].as_str().unwrap();
    let login = ["login", "--server", &server.url, "--user", "wile", "--organisation", "acme"];
    let login = [&login[..], &["--password-stdin"]].concat();
    argosy(folder.path(), &login, &format!("{password}\n")).await.good();
    let said = admin(&["organisation", "disable", "acme"]).await.good();
    assert!(said.contains("disabled"), "{said}");
    argosy(folder.path(), &login, &format!("{password}\n")).await.bad();
    assert!(admin(&["organisation", "list"]).await.good().contains("disabled"));
    admin(&["organisation", "enable", "acme"]).await.good();
    admin(&["organisation", "rename", "acme", "Acme Ltd"]).await.good();
    assert!(admin(&["organisation", "list"]).await.good().contains("Acme Ltd"));
    argosy(folder.path(), &login, &format!("{password}\n")).await.good();
    let refused = admin(&["organisation", "disable", "default"]).await.bad();
    assert!(refused.contains("cannot be disabled"), "{refused}");
    let headers = [("authorization", format!("Bearer {}", server.admin_key))];
    let headers = [(headers[0].0, headers[0].1.as_str())];
    server.client.send(Method::GET, "/api/v1/agents", &headers, None).await.expect(200);
}

on_both!(
    a_login_with_a_password_works_until_it_is_ended,
    users_are_governed_and_choose_their_passwords,
    a_password_is_asked_for_without_echo,
    organisations_are_shut_out_by_the_command_line,
);
