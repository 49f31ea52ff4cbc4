//! The documentation is true: its shell blocks run, and what it lists is what the code has.
//!
//! Each page with blocks marked `console` is run in one shell against a server of its own, in
//! combined mode as `make run` starts it. Pages say `localhost:8080`; the port of the test's server
//! is put in its place. The README logs in by itself; for the pages of `docs/` somebody has.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod console;
mod named;
mod reference;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
};

use argosy_e2e::{
    http::Client,
    process::{Process, program, until},
};
use console::Shown;
use futures::future::join_all;
use tokio::process::Command;

/// Seconds after which the commands of a page are stopped.
const PAGE_SECONDS_MAX: &str = "240";
/// Where the pages expect the server.
const ADDRESS_OF_PAGES: &str = "localhost:8080";
const README: &str = "README.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// Every page of the repository, by its path below the root.
fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    for folder in ["", "docs", "docs/adr", "docs/rfcs", "proto"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                pages.push(Path::new(folder).join(name).to_str().unwrap().to_owned());
            }
        }
    }
    pages.sort();
    pages
}

/// A server in combined mode, whose agent has reported everything once.
struct Serving {
    scratch: tempfile::TempDir,
    port: String,
    _process: Process,
}

async fn serve() -> Serving {
    let scratch = tempfile::tempdir().unwrap();
    let (data, log) = (scratch.path().join(".run"), scratch.path().join("argosyd.log"));
    let data_dir = data.to_str().unwrap();
    let arguments = ["--mode", "combined", "--listen", "127.0.0.1:0", "--data-dir", data_dir];
    let process = Process::start("argosyd", &arguments, &[], &log);
    let port = until("the server to say where it listens", async || {
        let said = fs::read_to_string(&log).unwrap();
        let line = said.lines().find(|line| line.contains(" serves http"))?;
        line.rsplit(':').next().map(str::to_owned)
    })
    .await;
    let key = fs::read_to_string(data.join("admin.key")).unwrap().trim().to_owned();
    let client = Client::new(&format!("http://127.0.0.1:{port}"));
    until("the local agent's reports", async || {
        let agents = client.get("/api/v1/agents", &key).await.expect(200);
        let id = agents["items"][0]["agent_id"].as_str()?;
        let path = format!("/api/v1/agents/{id}/inventory");
        let reports = client.get(&path, &key).await.expect(200);
        (reports.as_array().or(reports["items"].as_array())?.len() >= 3).then_some(())
    })
    .await;
    Serving { scratch, port, _process: process }
}

/// Runs the commands of a page; what is wrong with it, or nothing.
async fn run_page(page: String) -> Option<String> {
    let mut commands = console::commands(&read(&page));
    if commands.is_empty() {
        return None;
    }
    let serving = serve().await;
    if page != README {
        let login = "argosy login --server http://localhost:8080 --key-file .run/admin.key";
        commands.insert(0, Shown { command: login.to_owned(), sample: Vec::new() });
    }
    let address = format!("localhost:{}", serving.port);
    for shown in &mut commands {
        shown.command = shown.command.replace(ADDRESS_OF_PAGES, &address);
        for line in &mut shown.sample {
            *line = line.replace(ADDRESS_OF_PAGES, &address);
        }
    }
    let home = serving.scratch.path();
    fs::write(home.join("page.sh"), console::script(&commands)).unwrap();
    let status = shell(home).await;
    let printed = fs::read_to_string(home.join("printed")).unwrap();
    if !status {
        let said: Vec<String> =
            printed.lines().map(|line| line.chars().take(200).collect()).collect();
        return Some(format!("{page}: a command failed:\n{}", said.join("\n")));
    }
    let wrong = console::differences(&commands, &printed);
    (!wrong.is_empty()).then(|| format!("{page}: other output than shown:\n{}", wrong.join("\n\n")))
}

/// Runs `page.sh` in `home`, with what it prints in `printed`; whether every command succeeded.
async fn shell(home: &Path) -> bool {
    let printed = File::create(home.join("printed")).unwrap();
    let programs = program("argosy").parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    // `timeout` also ends what the script left behind.
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", PAGE_SECONDS_MAX, "bash", "page.sh"]);
    command.env_clear().env("PATH", path).env("HOME", home).env("NO_COLOR", "1");
    command.current_dir(home).stdin(Stdio::null());
    command.stdout(printed.try_clone().unwrap()).stderr(printed);
    command.kill_on_drop(true).status().await.unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_pages_work() {
    let failed: Vec<String> =
        join_all(pages().into_iter().map(run_page)).await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
