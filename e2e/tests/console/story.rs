//! A day with the console in a real browser, from the first sign-in to a machine that is shut out;
//! and pages of somebody else that want to use it (attack 18).

use argosy_e2e::{
    browser::Browser,
    http::Client,
    process::{Process, free_port, program, ready, run},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// A server as people run it.
struct Serving {
    folder: tempfile::TempDir,
    url: String,
    key: String,
    client: Client,
    _server: Process,
}

impl Serving {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, data) = (free_port(), folder.path().join("data"));
        let listen = format!("127.0.0.1:{port}");
        let data_text = data.to_str().unwrap();
        let arguments = ["--mode", "server", "--listen", &listen, "--data-dir", data_text];
        let server = Process::start("argosyd", &arguments, &[], &folder.path().join("log"));
        let url = format!("http://{listen}");
        ready(&url).await;
        let key = std::fs::read_to_string(data.join("admin.key")).unwrap().trim().to_owned();
        Self { client: Client::new(&url), folder, url, key, _server: server }
    }

    fn data(&self) -> String {
        self.folder.path().join("data").to_str().unwrap().to_owned()
    }

    fn state(&self) -> String {
        self.folder.path().join("agent").to_str().unwrap().to_owned()
    }

    fn page(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    async fn agents(&self) -> Vec<Value> {
        let page = self.client.get("/api/v1/agents", &self.key).await.expect(200);
        page["items"].as_array().unwrap().clone()
    }
}

/// Runs what a person copied from a page, with the programs of this workspace in reach.
async fn paste(command: &str, more: &str) -> String {
    let folder = program("argosy-agent").parent().unwrap().to_str().unwrap().to_owned();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap());
    let output = tokio::process::Command::new("bash")
        .args(["-c", &format!("{command} {more}")])
        .env("PATH", path)
        .output();
    let output = output.await.unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Marks a page, so that loading it again would show.
pub(crate) async fn mark(browser: &Browser) {
    browser.script("window.sameDocument = true", json!([])).await;
}

pub(crate) async fn must_be_same(browser: &Browser) {
    assert_eq!(
        browser.value("window.sameDocument === true").await,
        true,
        "the page was loaded again"
    );
}

async fn become_administrator(serving: &Serving, browser: &Browser) {
    let listen = serving.url.trim_start_matches("http://").to_owned();
    let data = serving.data();
    let link = run("argosyd", &["user-link", "--data-dir", &data, "--listen", &listen], &[]).await;
    let link = link.lines().next().unwrap();
    let code = link.split_once('#').unwrap().1;
    browser.go(&serving.page(&format!("/setup#{code}"))).await;
    browser.wait("the code in its field", "document.querySelector('#code').value").await;
    browser.fill("#name", "ada").await;
    browser.fill("#password", "correct horse battery").await;
    browser.fill("#again", "correct horse battery").await;
    browser.click("main button").await;
    browser.reads("No agents yet").await;
    assert_eq!(browser.value("document.cookie").await, "", "scripts cannot read the session");
}

/// Makes a token, runs the copied command, compares, approves. Gives the agent's id.
async fn enrol(serving: &Serving, browser: &Browser) -> String {
    browser.click("main a[href='/console/enrol']").await;
    browser.fill("#name", "first machine").await;
    browser.click("form[action='/console/enrol'] button").await;
    browser.reads("Waiting for the machine to ask").await;
    mark(browser).await;
    let command = browser.value("document.querySelector('#enrol').textContent").await;
    let state = serving.state();
    let more = format!("--state-dir {state} --name web-1 --no-wait");
    paste(command.as_str().unwrap(), &more).await;
    let status = run("argosy-agent", &["status", "--state-dir", &state], &[]).await;
    let own = status.lines().find_map(|line| line.strip_prefix("fingerprint")).unwrap();
    browser.reads("Compare and approve").await;
    must_be_same(browser).await;
    browser.click("#arrivals a.button").await;
    let shown = browser.value("document.querySelector('.compare').innerText").await;
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(shown.as_str().unwrap()), words(own), "what the machine says");
    browser.click("#match").await;
    browser.click("form.stack button").await;
    browser.reads("Approved. The agent connects within seconds.").await;
    let address = browser.value("location.pathname").await;
    address.as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}

async fn command(browser: &Browser) {
    browser.click("#run-system").await;
    browser.reads("subsystem.run system").await;
    mark(browser).await;
    browser.reads("succeeded").await;
    must_be_same(browser).await;
    browser.reads("The agent signed this with its identity key").await;
    browser.reads("argosy command receipt").await;
}

/// Notes when the list first says that somebody is revoked, by the browser's own clock: the moment at
/// which the words are in the page, whenever the test comes to ask.
const NOTE_THE_REVOCATION: &str = r##"
const list = document.querySelector("#agents");
const look = () => {
  if (!window.revokedAt && list.innerText.includes("revoked")) window.revokedAt = Date.now();
};
new MutationObserver(look).observe(list, { childList: true, subtree: true, characterData: true });
"##;

/// Somebody else revokes; a list that is open shows it within a second. What is measured: from the
/// time that the server wrote into the audit entry, which is a moment before its commit, to the words
/// in the page. Both clocks are this machine's. How long the test itself takes to ask is not in it.
async fn see_a_revocation(serving: &Serving, browser: &Browser, agent: &str) {
    browser.go(&serving.page("/console/agents")).await;
    browser.wait("the feed", "document.querySelector('#live').textContent === 'Live'").await;
    let says = "document.querySelector('#agents').innerText.includes('approved')";
    browser.wait("the agent", says).await;
    mark(browser).await;
    browser.script(NOTE_THE_REVOCATION, json!([])).await;
    let path = format!("/api/v1/agents/{agent}/revoke");
    serving.client.post(&path, &serving.key, &json!({})).await.expect(200);
    browser.wait("the revocation", "window.revokedAt").await;
    let entries = "/api/v1/audit?action=agent.revoked";
    let entries = serving.client.get(entries, &serving.key).await.expect(200);
    let decided = entries["items"][0]["at"].as_str().unwrap();
    let between = format!("window.revokedAt - Date.parse({})", json!(decided));
    let elapsed_ms = browser.value(&between).await.as_f64().unwrap();
    println!("revoked → seen: {elapsed_ms} ms");
    assert!((0.0..1_000.0).contains(&elapsed_ms), "seen after {elapsed_ms} ms");
    must_be_same(browser).await;
}

async fn a_viewer_is_refused(serving: &Serving, browser: &Browser) {
    let body = json!({ "name": "vera", "role": "viewer" });
    let made = serving.client.post("/api/v1/users", &serving.key, &body).await.expect(201);
    browser.click(".top form[action='/console/sign-out'] button").await;
    browser.reads("Sign in").await;
    browser.go(&serving.page("/console/enrol")).await;
    browser.fill("#name", "vera").await;
    browser.fill("#password", made["password"].as_str().unwrap()).await;
    browser.click("main button").await;
    browser.reads("Choose a new password").await;
    browser.fill("#current", made["password"].as_str().unwrap()).await;
    browser.fill("#new", "a password of her own").await;
    browser.fill("#again", "a password of her own").await;
    browser.click("main button").await;
    browser.reads("Wants attention").await;
    browser.go(&serving.page("/console/enrol")).await;
    browser.reads("You may not do this").await;
    browser.reads("You are signed in as viewer").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_with_the_console() {
    let serving = Serving::start().await;
    let browser = Browser::start().await;
    browser.window(1024, 768, false).await;
    become_administrator(&serving, &browser).await;
    let agent = enrol(&serving, &browser).await;
    mark(&browser).await;
    let state = serving.state();
    let log = serving.folder.path().join("agent.log");
    let running = Process::start("argosy-agent", &["run", "--state-dir", &state], &[], &log);
    browser.reads("healthy").await;
    browser.reads("connected").await;
    must_be_same(&browser).await;
    command(&browser).await;
    see_a_revocation(&serving, &browser, &agent).await;
    a_viewer_is_refused(&serving, &browser).await;
    drop(running);
    browser.close().await;
}

/// Serves one page to whoever asks, at an address that is another site than 127.0.0.1.
async fn evil(page: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let page = page.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n";
                let text = format!("{head}content-length: {}\r\n\r\n{page}", page.len());
                let _ = stream.write_all(text.as_bytes()).await;
            });
        }
    });
    format!("http://localhost:{port}/")
}

async fn registered(serving: &Serving) -> String {
    let body = json!({ "name": "t", "auto_approve": true });
    let token =
        serving.client.post("/api/v1/bootstrap-tokens", &serving.key, &body).await.text("token");
    let environment = [("ARGOSY_BOOTSTRAP_TOKEN", token.as_str())];
    let state = serving.state();
    let arguments =
        ["enroll", "--server", &serving.url, "--state-dir", &state, "--name", "web-1", "--no-wait"];
    run("argosy-agent", &arguments, &environment).await;
    serving.agents().await[0]["agent_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_site_cannot_use_the_session() {
    let serving = Serving::start().await;
    let agent = registered(&serving).await;
    let browser = Browser::start().await;
    become_administrator_again(&serving, &browser).await;
    let target = serving.page(&format!("/console/agents/{agent}/revoke"));
    let page = format!(
        "<form id=f method=post action='{target}'><input name=csrf value=x></form>\
         <img src='{}'><script>f.submit()</script>",
        serving.page("/console/agents")
    );
    browser.go(&evil(page).await).await;
    browser.wait("the answer", "location.pathname !== '/'").await;
    assert_eq!(serving.agents().await[0]["status"], "approved");
    let framed = format!("<iframe src='{}'></iframe><p>here</p>", serving.page("/console/agents"));
    browser.go(&evil(framed).await).await;
    browser.reads("here").await;
    assert_eq!(
        browser.value("document.querySelector('iframe').contentDocument").await,
        Value::Null
    );
    let reading = format!(
        "<p>asking</p><script>fetch('{}', {{ credentials: 'include' }}).then(a => a.text())\
         .then(t => document.body.append('got ' + t), () => document.body.append('refused'))</script>",
        serving.page("/api/v1/auth/me")
    );
    browser.go(&evil(reading).await).await;
    browser.reads("refused").await;
    browser.go(&serving.page("/console/agents")).await;
    browser.reads("web-1").await;
    browser.close().await;
}

/// Without the empty overview, because an agent is there.
async fn become_administrator_again(serving: &Serving, browser: &Browser) {
    let body = json!({ "name": "ada", "role": "admin" });
    let made = serving.client.post("/api/v1/users", &serving.key, &body).await.expect(201);
    let password = made["password"].as_str().unwrap();
    browser.go(&serving.page("/console")).await;
    browser.fill("#name", "ada").await;
    browser.fill("#password", password).await;
    browser.click("main button").await;
    browser.fill("#current", password).await;
    browser.fill("#new", "a password of her own").await;
    browser.fill("#again", "a password of her own").await;
    browser.click("main button").await;
    browser.reads("Wants attention").await;
}
