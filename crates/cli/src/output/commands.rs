//! Commands and receipts for people.

use argosy_domain::time::Timestamp;
use argosy_wire::{report::SubsystemReport, rest::commands::Command};
use serde_json::Value;

use super::{
    Tone, View, clean,
    inventory::{self, Extent},
    table::{Facts, Sheet, plain, state},
    units::{age_of, moment},
};
use crate::commands::receipt::Verified;

/// Characters of parameters and details that a table shows.
const CLIP_CHARS: usize = 60;

/// `argosy command list`; `name_of` turns an agent's id into its name where that is known.
pub fn commands(view: &View, commands: &[Command], name_of: impl Fn(&str) -> String) -> String {
    if commands.is_empty() {
        return "No commands. Give one with `argosy command send AGENT subsystem.run --param \
                subsystem=system --wait`."
            .into();
    }
    let headings = ["CREATED", "STATE", "AGENT", "KIND", "PARAMS", "BY", "ID"];
    let mut sheet = Sheet::new(view, &headings);
    for command in commands {
        sheet.row([
            plain(age_of(Some(&command.created_at), view.now)),
            state(&command.state),
            plain(name_of(&command.agent_id)),
            plain(&command.kind),
            plain(clip(&params(command))),
            plain(&command.created_by),
            plain(&command.id),
        ]);
    }
    sheet.finish()
}

/// `argosy command show`, and what `send` prints.
pub fn command(view: &View, command: &Command) -> String {
    let now = view.now;
    let facts = Facts::new(view)
        .fact("state", state(&command.state))
        .some("why", command.detail.clone())
        .fact("agent", plain(&command.agent_id))
        .fact("params", plain(params(command)))
        .fact("by", plain(&command.created_by))
        .fact("created", plain(moment(&command.created_at, now)))
        .fact("start by", plain(moment(&command.expires_at, now)))
        .some("withdrawn", command.withdrawn_at.as_deref().map(|at| withdrawn(command, at, now)))
        .some("ended", command.ended_at.as_deref().map(|at| moment(at, now)))
        .fact("sequence", plain(command.sequence.to_string()))
        .fact("receipt", plain(word(command)))
        .finish();
    let title = format!("{} {}", clean(&command.kind), clean(&command.id));
    let mut text = format!("{}\n{facts}", view.heading(&title));
    if let Some(result) = &command.result {
        let drawn = match report_in(result) {
            Some(report) => inventory::draw(view, &report, &Extent::Whole),
            None => inventory::json(result),
        };
        text.push_str(&format!("\n\n{}\n{drawn}", view.heading("Result")));
    }
    if command.receipt_available {
        text.push_str(&format!(
            "\n\nVerify the agent's word: `argosy command receipt {} --verify`",
            clean(&command.id)
        ));
    } else if command.ended_at.is_none() {
        text.push_str(&format!("\n\nFollow it: `argosy command show {}`", clean(&command.id)));
    }
    text
}

fn withdrawn(command: &Command, at: &str, now: Timestamp) -> String {
    let by = command.withdrawn_by.as_deref().map(clean).unwrap_or_default();
    format!("{} by {by}", moment(at, now))
}

/// The report that `subsystem.run` brings back, if that is all that there is.
fn report_in(result: &Value) -> Option<SubsystemReport> {
    let fields = result.as_object().filter(|fields| fields.len() == 1)?;
    serde_json::from_value(fields.get("report")?.clone()).ok()
}

/// A receipt: what the agent says, and whether its signature was checked here.
pub fn receipt(view: &View, receipt: &Verified, verified: bool) -> String {
    let said = &receipt.statement;
    let started =
        said.started_at.map_or("never".to_owned(), |at| moment(&at.to_string(), view.now));
    let facts = Facts::new(view)
        .fact("agent", plain(said.agent.as_str()))
        .fact("outcome", state(&said.outcome))
        .fact("started", plain(started))
        .fact("ended", plain(moment(&said.ended_at.to_string(), view.now)))
        .fact("params", plain(format!("sha256 {}", said.params_sha256)))
        .fact("result", plain(format!("sha256 {}", said.result_sha256)))
        .fact("policy", plain(format!("sha256 {}", said.policy_sha256)))
        .fact("boot", plain(&said.boot_id))
        .fact("journal", plain(said.journal_id.as_str()))
        .fact("signed by", plain(receipt.identity_key.to_string()))
        .finish();
    let title = format!("Receipt of command {}", said.command_id);
    let verdict = if verified {
        view.paint(
            "Verified: this identity key signed it, and the result is the one that was signed.",
            Tone::Good,
        )
    } else {
        "Not verified: add --verify to check the signature on this machine.".to_owned()
    };
    format!("{}\n{facts}\n\n{verdict}", view.heading(&title))
}

fn params(command: &Command) -> String {
    match command.params.as_object() {
        Some(map) if map.values().all(|v| !v.is_object() && !v.is_array()) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{k}={}", v.as_str().map_or(v.to_string(), str::to_owned)))
                .collect();
            if pairs.is_empty() { "-".into() } else { pairs.join(" ") }
        }
        Some(_) | None => command.params.to_string(),
    }
}

fn clip(text: &str) -> String {
    if text.chars().count() <= CLIP_CHARS {
        return text.to_owned();
    }
    let mut clipped: String = text.chars().take(CLIP_CHARS - 1).collect();
    clipped.push('…');
    clipped
}

/// What stands behind the result.
fn word(command: &Command) -> &'static str {
    if command.receipt_available {
        "signed"
    } else if command.unsigned {
        "none: the agent has no keys to sign with"
    } else {
        "none"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tests::plain as view;

    fn run(state: &str) -> Command {
        Command {
            id: "c-1".into(),
            agent_id: "a-1".into(),
            kind: "subsystem.run".into(),
            params: serde_json::json!({"subsystem": "system"}),
            state: state.into(),
            sequence: 7,
            created_by: "user:ada".into(),
            created_at: "2026-11-22T11:59:00Z".into(),
            expires_at: "2026-11-23T11:59:00Z".into(),
            withdrawn_at: None,
            withdrawn_by: None,
            ended_at: None,
            detail: None,
            result: None,
            receipt_available: false,
            unsigned: false,
        }
    }

    #[test]
    fn a_list_names_agents_where_it_can() {
        let text = commands(&view(), &[run("running")], |_| "web-1".into());
        assert_eq!(
            text,
            "CREATED  STATE    AGENT  KIND           PARAMS            BY        ID\n\
             1m ago   running  web-1  subsystem.run  subsystem=system  user:ada  c-1"
        );
        assert!(commands(&view(), &[], str::to_owned).contains("argosy command send"));
    }

    #[test]
    fn an_ended_command_shows_why_and_its_result() {
        let ended = Command {
            ended_at: Some("2026-11-22T11:59:30Z".into()),
            detail: Some("the host's policy refuses it".into()),
            result: Some(serde_json::json!({"code": "policy"})),
            receipt_available: true,
            unsigned: false,
            ..run("rejected")
        };
        let text = command(&view(), &ended);
        for part in
            ["rejected", "the host's policy refuses it", "\"policy\"", "receipt c-1 --verify"]
        {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn a_report_that_comes_back_is_drawn() {
        let report = serde_json::json!({"report": {
            "subsystem": "storage", "mounts": [], "truncated": false,
            "unreadable": [{"mount_point": "/mnt", "reason": "stale file handle"}]
        }});
        let ended = Command { result: Some(report), ..run("succeeded") };
        let text = command(&view(), &ended);
        assert!(text.contains("/mnt could not be asked: stale file handle"), "{text}");
    }

    #[test]
    fn long_parameters_are_clipped_in_the_list_only() {
        let long = Command { params: serde_json::json!({"x": "y".repeat(100)}), ..run("queued") };
        assert!(commands(&view(), std::slice::from_ref(&long), str::to_owned).contains('…'));
        assert!(command(&view(), &long).contains(&"y".repeat(100)));
    }
}
