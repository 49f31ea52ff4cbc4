//! A real browser: Chromium, steered through chromedriver by the WebDriver protocol (W3C WebDriver,
//! level 2), of which the few calls that tests need are spoken here.

use std::{path::PathBuf, process::Stdio};

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{http::plain, process::until};

/// What keeps Chromium to the pages of a test: no window, no first steps, no calls of its own.
const ARGUMENTS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// A browser with a profile of its own; it ends when dropped.
pub struct Browser {
    http: reqwest::Client,
    session: String,
    _driver: Child,
    _profile: tempfile::TempDir,
}

/// Starts chromedriver and gives its port, which it says on its output.
async fn driver() -> (Child, String) {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("chromedriver: scripts/install-test-deps");
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            let port = port.trim_end_matches('.').to_owned();
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (driver, port);
        }
    }
    panic!("chromedriver did not start");
}

impl Browser {
    /// Starts a browser with an empty profile.
    pub async fn start() -> Self {
        let (driver, port) = driver().await;
        let profile = tempfile::tempdir().unwrap();
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments, "binary": "/usr/bin/chromium" },
        } } });
        let base = format!("http://127.0.0.1:{port}");
        let http = plain();
        let answer = http.post(format!("{base}/session")).body(wanted.to_string());
        let answer: Value = answer.send().await.unwrap().json().await.unwrap();
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let session = format!("{base}/session/{id}");
        Self { http, session, _driver: driver, _profile: profile }
    }

    async fn attempt(&self, path: &str, body: Value) -> Result<Value, String> {
        let request = self.http.post(format!("{}{path}", self.session)).body(body.to_string());
        let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
        let value = answer["value"].take();
        if value["error"].is_null() { Ok(value) } else { Err(format!("{path} {body}: {value}")) }
    }

    async fn send(&self, path: &str, body: Value) -> Value {
        self.attempt(path, body).await.unwrap()
    }

    /// Opens an address and waits until its page is there.
    pub async fn go(&self, url: &str) {
        self.send("/url", json!({ "url": url })).await;
    }

    /// Runs the body of a function in the page and gives what it returns.
    pub async fn script(&self, body: &str, arguments: Value) -> Value {
        self.send("/execute/sync", json!({ "script": body, "args": arguments })).await
    }

    /// Gives the value of an expression of the page.
    pub async fn value(&self, expression: &str) -> Value {
        self.script(&format!("return {expression}"), json!([])).await
    }

    /// The text that a person reads.
    pub async fn text(&self) -> String {
        self.value("document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression of the page is true.
    pub async fn wait(&self, what: &str, expression: &str) {
        let body = format!("return Boolean({expression})");
        until(what, || async {
            // Between two pages there is none to ask.
            let asked = json!({ "script": body, "args": [] });
            let done = self.attempt("/execute/sync", asked).await.ok()?;
            done.as_bool().filter(|done| *done).map(|_| ())
        })
        .await;
    }

    /// Waits until a person can read these words.
    pub async fn reads(&self, words: &str) {
        let expression = format!("document.body.innerText.includes({})", json!(words));
        self.wait(&format!("the page to say: {words}"), &expression).await;
    }

    /// Does something to the first element that a selector finds. It may be drawn anew meanwhile.
    async fn with(&self, selector: &str, steps: &[(&str, Value)]) {
        until(selector, || async {
            let found = json!({ "using": "css selector", "value": selector });
            let element = self.attempt("/element", found).await.ok()?;
            let id = element.as_object()?.values().next()?.as_str()?;
            for (step, body) in steps {
                self.attempt(&format!("/element/{id}/{step}"), body.clone()).await.ok()?;
            }
            Some(())
        })
        .await;
    }

    /// Clicks on the first element that a selector finds.
    pub async fn click(&self, selector: &str) {
        self.with(selector, &[("click", json!({}))]).await;
    }

    /// Types into a field.
    pub async fn fill(&self, selector: &str, text: &str) {
        self.with(selector, &[("clear", json!({})), ("value", json!({ "text": text }))]).await;
    }

    /// Presses a key, whatever has the focus. Names of WebDriver, section 17.4.2: Tab is `\u{E004}`.
    pub async fn press(&self, key: &str) {
        let keys = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": keys }] });
        self.send("/actions", actions).await;
    }

    /// The size of the window, and whether the system is dark.
    pub async fn window(&self, width: u32, height: u32, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let media =
            json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": features } });
        self.send("/goog/cdp/execute", media).await;
        let size = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        } });
        self.send("/goog/cdp/execute", size).await;
    }

    /// What is seen in the window, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        let answer = self.http.get(format!("{}/screenshot", self.session)).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let text = answer["value"].as_str().unwrap();
        base64::engine::general_purpose::STANDARD.decode(text).unwrap()
    }

    /// Ends the browser; dropping it kills chromedriver, which may leave Chromium behind.
    pub async fn close(self) {
        let _ = self.http.delete(&self.session).send().await;
    }
}

/// The accessibility checker axe-core, as the Python package that brings it has it.
pub fn axe(python: &str) -> String {
    let lib = PathBuf::from(python).parent().unwrap().with_file_name("lib");
    let versions = std::fs::read_dir(&lib).unwrap().map(|entry| entry.unwrap().path());
    let mut files = versions.map(|path| path.join("site-packages/axe_core_python/axe.min.js"));
    let file = files.find(|file| file.exists()).expect("axe-core in the Python environment");
    std::fs::read_to_string(file).unwrap()
}
