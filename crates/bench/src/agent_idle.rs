//! Scenario `agent-idle`: what an agent costs its host while nobody asks it for anything.
//!
//! A real server and a real agent, the programs beside this one, over loopback; the agent is enrolled,
//! has settled, and does only what its schedules say. What the kernel counts is printed.

use std::{
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Outcome,
    programs::{Program, free_port},
};

/// How long is waited for something that has to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How the scenario is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Seconds that are measured.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Seconds after the agent's connection that are not.
    #[arg(long, default_value_t = 30)]
    settle: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the scenario and prints what it found.
pub(crate) async fn run(arguments: &Arguments) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let (_server, agent) = start(folder.path()).await?;
    tokio::time::sleep(Duration::from_secs(arguments.settle)).await;
    let (began, cpu) = (Instant::now(), agent.cpu()?);
    let mut resident = Vec::new();
    while began.elapsed() < Duration::from_secs(arguments.seconds) {
        tokio::time::sleep(LOOK_EVERY).await;
        resident.push(agent.status("VmRSS:")?);
    }
    let cpu_percent = (agent.cpu()? - cpu).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    resident.sort_unstable();
    let largest = resident.last().copied().ok_or("nothing was measured")?;
    let summary = json!({
        "scenario": "agent-idle",
        "seconds": began.elapsed().as_secs(),
        "cpu_percent": cpu_percent,
        "resident_kib": { "median": resident[resident.len() / 2], "largest": largest },
        "private_kib": agent.status("RssAnon:")?,
        "threads": agent.status("Threads:")?,
        "debug_build": cfg!(debug_assertions),
    });
    let text = if arguments.json { format!("{summary:#}\n") } else { table(&summary) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// A server, and an agent that it has accepted and that is connected.
async fn start(folder: &Path) -> Outcome<(Program, Program)> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let url = format!("http://{address}");
    let data = folder.join("data");
    let arguments = ["--mode", "server", "--listen", &address, "--data-dir", path(&data)?];
    let server = Program::start("argosyd", &arguments, &[], &folder.join("server.log"))?;
    let http = reqwest::Client::new();
    let ready = async || Ok(http.get(format!("{url}/ready")).send().await?.status().is_success());
    until("the server to be ready", ready).await?;
    let key = std::fs::read_to_string(data.join("admin.key"))?;
    let order = json!({ "name": "bench", "auto_approve": true, "require_proof": true });
    let tokens = format!("{url}/api/v1/bootstrap-tokens");
    let request = http.post(tokens).bearer_auth(key.trim()).json(&order);
    let made: Value = request.send().await?.error_for_status()?.json().await?;
    let token = made["token"].as_str().ok_or("no token in the answer")?;
    let state = folder.join("agent");
    let variables = [
        ("ARGOSY_SERVER_URL", url.as_str()),
        ("ARGOSY_STATE_DIR", path(&state)?),
        ("ARGOSY_BOOTSTRAP_TOKEN", token),
        ("ARGOSY_AGENT_NAME", "bench"),
    ];
    let agent = Program::start("argosy-agent", &["run"], &variables, &folder.join("agent.log"))?;
    let connected = async || {
        let request = http.get(format!("{url}/api/v1/agents")).bearer_auth(key.trim());
        let page: Value = request.send().await?.error_for_status()?.json().await?;
        Ok(page["items"][0]["connected"] == true)
    };
    until("the agent to be connected", connected).await?;
    Ok((server, agent))
}

fn path(path: &Path) -> Outcome<&str> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()).into())
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> Outcome<bool>) -> Outcome<()> {
    let began = Instant::now();
    loop {
        let last = holds().await;
        if matches!(last, Ok(true)) {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("waited in vain for {what}: {last:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn table(summary: &Value) -> String {
    let resident = &summary["resident_kib"];
    format!(
        "an idle agent over {} s{}\n  CPU       {:.3} % of one core\n  resident  {} KiB (median), {} KiB \
         (largest)\n  private   {} KiB\n  threads   {}\n",
        summary["seconds"],
        if summary["debug_build"] == true { ", debug build" } else { "" },
        summary["cpu_percent"].as_f64().unwrap_or_default(),
        resident["median"],
        resident["largest"],
        summary["private_kib"],
        summary["threads"],
    )
}
