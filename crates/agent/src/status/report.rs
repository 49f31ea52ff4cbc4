//! `argosy-agent status`: what the state directory tells about an agent, running or not.

use std::{fmt::Write as _, path::Path, time::Duration};

use argosy_domain::time::{Timestamp, format_span};
use rustix::process::{Pid, test_kill_process};
use serde::Serialize;

use super::{Connection, STATUS_FILE, StatusFile, Waiting};
use crate::{
    credentials::{Credentials, CredentialsError},
    host,
    state_dir::StateDir,
    transport::Channel,
};

/// What is known of an agent.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    /// `not_enrolled`, `enrolling`, `awaiting_key` or `registered`.
    pub state: &'static str,
    /// Where its state is.
    pub state_dir: String,
    /// Whether a process runs it now.
    pub running: bool,
    /// Its name.
    pub name: Option<String>,
    /// Its id.
    pub agent_id: Option<String>,
    /// Its account.
    pub account_id: Option<i64>,
    /// Its server.
    pub server_url: Option<String>,
    /// Thumbprint of the server's identity key.
    pub server_pin: Option<String>,
    /// What an operator compares.
    pub fingerprint: Option<String>,
    /// What the process last wrote.
    pub process: Option<StatusFile>,
}

impl StatusReport {
    /// Looks into a state directory, whoever holds it.
    pub fn gather(path: &Path) -> Result<Self, CredentialsError> {
        let credentials = Credentials::peek(path)?;
        let bytes = StateDir::peek(path)?.read(STATUS_FILE)?;
        // A file of another version is as good as none.
        let process: Option<StatusFile> =
            bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut report = Self {
            state: credentials.as_str(),
            state_dir: path.display().to_string(),
            running: process.as_ref().is_some_and(runs),
            name: None,
            agent_id: None,
            account_id: None,
            server_url: None,
            server_pin: None,
            fingerprint: None,
            process,
        };
        match credentials {
            Credentials::NotEnrolled => {}
            Credentials::Enrolling(begun) => {
                report.name = Some(begun.name);
                report.server_url = Some(begun.server_url);
            }
            Credentials::AwaitingKey(registered) | Credentials::Registered(registered) => {
                report.server_pin = Some(registered.server().thumbprint().to_string());
                report.name = Some(registered.name);
                report.agent_id = Some(registered.agent_id.to_string());
                report.account_id = Some(registered.account_id.0);
                report.server_url = Some(registered.server_url);
                report.fingerprint = Some(registered.fingerprint.to_string());
            }
        }
        Ok(report)
    }

    /// The report for people, as of `now`.
    pub fn to_text(&self, now: Timestamp) -> String {
        let mut lines = Lines::default();
        lines.add("agent", self.name.as_deref());
        lines.add("id", self.agent_id.as_deref());
        lines.add("account", self.account_id.map(|id| id.to_string()).as_deref());
        lines.add("server", self.server_url.as_deref());
        lines.add("server pin", self.server_pin.as_deref());
        lines.add("fingerprint", self.fingerprint.as_deref());
        lines.add("state", Some(&self.headline(now)));
        if let (true, Some(process)) = (self.running, &self.process) {
            process_lines(&mut lines, process, now);
        }
        lines.add("state in", Some(&self.state_dir));
        if let Some(next) = self.next_step() {
            let _ = write!(lines.0, "\n{next}\n");
        }
        lines.0
    }

    fn headline(&self, now: Timestamp) -> String {
        match (&self.process, self.running) {
            (Some(process), true) => {
                let live = &process.live;
                let since = span(now.since(live.since));
                let detail = live.connection.detail().map(|d| format!(": {d}")).unwrap_or_default();
                format!("{} for {since}{detail}", live.connection.as_str())
            }
            (Some(process), false) => {
                let detail = process.live.connection.detail();
                let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
                format!("{}, not running{detail}", self.state.replace('_', " "))
            }
            (None, _) => format!("{}, not running", self.state.replace('_', " ")),
        }
    }

    fn next_step(&self) -> Option<String> {
        let connection = self.process.as_ref().map(|process| &process.live.connection);
        if let (true, Some(Connection::Refused { advice, .. })) = (self.running, connection) {
            return Some(format!(
                "Next: {advice}\nThe agent asks again every few minutes; it goes on by itself once \
                 the server accepts it."
            ));
        }
        let failed = connection.and_then(Connection::detail);
        let step = match (self.state, self.running) {
            ("registered", false) if failed.is_some() => {
                "Next: settle what stands above, then start it with `{run}`. To join anew, get a \
                 fresh token and run `{enroll} --start-over` with it."
            }
            ("not_enrolled", _) => {
                "Next: mint a token on the server (`argosy token create`), then run `{enroll} \
                 --server URL` with ARGOSY_BOOTSTRAP_TOKEN set to it."
            }
            ("enrolling", false) => "Next: run `{enroll}` again; it continues where it stopped.",
            ("awaiting_key", _) => {
                "Next: whoever approves this machine is shown its key: run `{refresh}` and paste it."
            }
            ("registered", false) => "Next: start it with `{run}`.",
            _ => return None,
        };
        let place = Path::new(&self.state_dir);
        let commands = ["run", "enroll", "refresh"];
        Some(commands.into_iter().fold(step.to_owned(), |step, command| {
            step.replace(&format!("{{{command}}}"), &host::invocation(place, command))
        }))
    }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, label: &str, value: Option<&str>) {
        if let Some(value) = value {
            let _ = writeln!(self.0, "{label:<16}{value}");
        }
    }
}

fn process_lines(lines: &mut Lines, process: &StatusFile, now: Timestamp) {
    let heartbeat = process.live.last_heartbeat_at.map(|at| ago(now, at));
    lines.add("last heartbeat", Some(heartbeat.as_deref().unwrap_or("none yet")));
    if let Some(expires) = process.live.session_expires_at {
        let left =
            if expires > now { format!("for {}", span(expires.since(now))) } else { "over".into() };
        lines.add("session", Some(&left));
    }
    lines.add("channel", process.live.channel.map(Channel::as_str));
    let commands = process.commands;
    let counts =
        format!("{} running, {} not yet acknowledged", commands.running, commands.unacknowledged);
    lines.add("commands", Some(&counts));
    if process.spool.entries > 0 {
        let Waiting { entries, bytes } = process.spool;
        let waiting = format!("{entries} batches of telemetry and events, {bytes} bytes");
        lines.add("waiting", Some(&waiting));
    }
    for subsystem in &process.subsystems {
        let ran = format!("ran {}", ago(now, subsystem.last_run_at));
        let error = subsystem.last_error.as_ref().map(|e| format!(", failed: {e}"));
        let breaker = if subsystem.breaker == "closed" {
            String::new()
        } else {
            format!(", breaker {}", subsystem.breaker.replace('_', "-"))
        };
        let text = format!("{ran}{}{breaker}", error.unwrap_or_default());
        lines.add(&format!("  {}", subsystem.name), Some(&text));
    }
    if let Some(policy) = &process.policy {
        let digest: String = policy.sha256.chars().take(16).collect();
        let owner = if policy.self_owned { ", writable by the agent itself" } else { "" };
        lines.add("policy", Some(&format!("{digest}…{owner}")));
        lines.add("", policy.problem.as_deref());
    }
    lines.add("version", Some(&format!("{} (process {})", process.version, process.pid)));
}

/// Whether the process that wrote the file is still there.
fn runs(process: &StatusFile) -> bool {
    if matches!(process.live.connection, Connection::Stopped(_)) {
        return false;
    }
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    // A process of another user may not be signalled, and is there all the same.
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}

fn ago(now: Timestamp, at: Timestamp) -> String {
    format!("{} ago", span(now.since(at)))
}

/// The two largest units are enough for people.
fn span(span: Duration) -> String {
    format_span(span).split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Commands, Live, SubsystemState};

    fn report(connection: Connection, running: bool) -> StatusReport {
        let at = Timestamp::from_seconds(1_000);
        let process = StatusFile {
            version: "0.1.0".into(),
            pid: 1,
            started_at: at,
            updated_at: at,
            live: Live {
                connection,
                since: at,
                last_heartbeat_at: Some(at),
                session_expires_at: Some(Timestamp::from_seconds(4_600)),
                channel: Some(Channel::Stream),
            },
            commands: Commands { running: 1, unacknowledged: 2 },
            spool: Waiting { entries: 3, bytes: 4_096 },
            policy: None,
            subsystems: vec![SubsystemState {
                name: "updates".into(),
                breaker: "half_open".into(),
                last_run_at: at,
                last_error: None,
            }],
        };
        StatusReport {
            state: "registered",
            state_dir: "/s".into(),
            running,
            name: Some("web-1".into()),
            agent_id: Some("a1".into()),
            account_id: Some(1),
            server_url: Some("https://fleet.example".into()),
            server_pin: None,
            fingerprint: Some("e3b0 c442".into()),
            process: Some(process),
        }
    }

    #[test]
    fn a_connected_agent_shows_what_it_does() {
        let text = report(Connection::Connected, true).to_text(Timestamp::from_seconds(1_090));
        for part in ["connected for 1m 30s", "for 58m 30s", "1 running, 2 not", "breaker half-open"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("Next:"), "{text}");
    }

    #[test]
    fn a_stopped_agent_says_why_and_what_to_do() {
        let stopped = Connection::Stopped(Some("the server refused: revoked".into()));
        let text = report(stopped, false).to_text(Timestamp::from_seconds(1_090));
        assert!(text.contains("not running: the server refused: revoked"), "{text}");
        assert!(text.contains("fresh token"), "{text}");
    }

    #[test]
    fn a_refused_agent_shows_what_was_said_and_what_to_do() {
        let said = "the server refused: Not authenticated (unauthenticated)".to_owned();
        let refused = Connection::Refused { said: said.clone(), advice: "Ask an operator.".into() };
        let text = report(refused, true).to_text(Timestamp::from_seconds(1_090));
        assert!(text.contains(&format!("refused for 1m 30s: {said}")), "{text}");
        assert!(text.contains("Next: Ask an operator.\nThe agent asks again"), "{text}");
    }

    #[test]
    fn a_directory_without_an_agent_is_no_error() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("state");
        drop(StateDir::open(&path).unwrap());
        let report = StatusReport::gather(&path).unwrap();
        assert_eq!(report.state, "not_enrolled");
        assert!(report.to_text(Timestamp::from_seconds(1)).contains("argosy-agent enroll"));
    }
}
