//! Pending packages for people.

use std::collections::BTreeMap;

use argosy_wire::rest::{
    commands::Command,
    updates::{
        Approval, ApprovedPackage, FleetPackage, InstallReport, InstalledPackage, OfferedVersion,
        PendingPackage,
    },
};

use super::{
    Tone, View, clean,
    table::{Facts, Sheet, Word, maybe, plain, state},
    units::{age_of, moment},
};

/// Versions of one package that a table names.
const VERSIONS_SHOWN: usize = 3;

/// What there is when nothing is pending.
const NOTHING: &str = "Nothing is pending, as far as agents have reported. `argosy inventory AGENT \
                       updates` shows how old a host's package lists are.";

fn kind(security: bool) -> Word {
    if security { ("security".to_owned(), Tone::Bad) } else { plain("-") }
}

fn versions(offered: &[OfferedVersion]) -> String {
    let shown = offered.iter().take(VERSIONS_SHOWN).map(|offered| offered.version.as_str());
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if offered.len() > VERSIONS_SHOWN {
        text.push_str(&format!(" and {} more", offered.len() - VERSIONS_SHOWN));
    }
    text
}

/// Packages of the fleet in a table.
pub fn packages(view: &View, packages: &[FleetPackage]) -> String {
    if packages.is_empty() {
        return NOTHING.to_owned();
    }
    let headings = ["PACKAGE", "KIND", "AVAILABLE", "AGENTS", "APPROVED"];
    let mut sheet = Sheet::new(view, &headings).right(&[3, 4]);
    for package in packages {
        let approved: u64 = package.versions.iter().map(|offered| offered.approved).sum();
        sheet.row([
            plain(&package.name),
            kind(package.security),
            plain(versions(&package.versions)),
            plain(package.agents.to_string()),
            plain(approved.to_string()),
        ]);
    }
    sheet.finish()
}

/// Pending packages with their agents in a table.
pub fn pending(view: &View, pending: &[PendingPackage]) -> String {
    if pending.is_empty() {
        return NOTHING.to_owned();
    }
    let headings = ["PACKAGE", "ARCH", "KIND", "CURRENT", "AVAILABLE", "AGENT", "STATE"];
    let mut sheet = Sheet::new(view, &headings);
    for package in pending {
        let state = match (&package.approval_id, &package.tried_at) {
            (None, _) => plain("-"),
            (Some(_), None) => ("approved".to_owned(), Tone::Good),
            (Some(_), Some(_)) => ("approved, tried".to_owned(), Tone::Good),
        };
        sheet.row([
            plain(&package.package),
            plain(&package.architecture),
            kind(package.security),
            plain(&package.current),
            plain(&package.available),
            plain(&package.agent_name),
            state,
        ]);
    }
    sheet.finish()
}

/// Packages of one approval that a line names.
const APPROVED_SHOWN: usize = 3;

fn content(packages: &[ApprovedPackage]) -> String {
    let named = packages.iter().take(APPROVED_SHOWN);
    let named = named.map(|package| format!("{} {}", package.name, package.version));
    let mut text = named.collect::<Vec<_>>().join(", ");
    if packages.len() > APPROVED_SHOWN {
        text.push_str(&format!(" and {} more", packages.len() - APPROVED_SHOWN));
    }
    text
}

fn standing(approval: &Approval) -> Word {
    match (&approval.revoked_at, approval.waiting) {
        (Some(_), _) => ("revoked".to_owned(), Tone::Dim),
        (None, 0) => ("done".to_owned(), Tone::Dim),
        (None, waiting) => (format!("{waiting} wait"), Tone::Good),
    }
}

/// One approval with everything that it covers.
pub fn approval(view: &View, approval: &Approval) -> String {
    let selector = serde_json::json!(approval.selector).to_string();
    let facts = Facts::new(view)
        .fact("stands", standing(approval))
        .fact("agents", plain(approval.agents.to_string()))
        .fact("selector", plain(clean(&selector)))
        .fact("by", plain(&approval.approved_by))
        .fact("at", plain(moment(&approval.approved_at, view.now)))
        .finish();
    let mut sheet = Sheet::new(view, &["PACKAGE", "VERSION", "AGENTS"]).right(&[2]);
    for package in &approval.packages {
        let agents = package.agents.to_string();
        sheet.row([plain(&package.name), plain(&package.version), plain(agents)]);
    }
    let title = view.heading(&format!("approval {}", clean(&approval.id)));
    let next = "Next: `argosy updates install --dry-run --wait` for the same agents.";
    format!("{title}\n{facts}\n\n{}\n\n{next}", sheet.finish())
}

/// Approvals in a table.
pub fn approvals(view: &View, approvals: &[Approval]) -> String {
    if approvals.is_empty() {
        return "Nothing was approved. `argosy updates approve --security --all` approves what closes \
                security holes."
            .to_owned();
    }
    let headings = ["APPROVED", "STANDS", "AGENTS", "PACKAGES", "BY", "ID"];
    let mut sheet = Sheet::new(view, &headings).right(&[2]);
    for approval in approvals {
        sheet.row([
            plain(age_of(Some(&approval.approved_at), view.now)),
            standing(approval),
            plain(approval.agents.to_string()),
            plain(content(&approval.packages)),
            plain(&approval.approved_by),
            plain(&approval.id),
        ]);
    }
    sheet.finish()
}

/// What became of the packages of many agents; where there is no report, why.
pub fn results(view: &View, commands: &[Command], names: &BTreeMap<String, String>) -> String {
    if commands.is_empty() {
        return "No agent got a command: nothing is approved for any of them any more.".to_owned();
    }
    let headings = ["AGENT", "PACKAGE", "FROM", "TO", "OUTCOME"];
    let mut sheet = Sheet::new(view, &headings);
    for command in commands {
        let agent = names.get(&command.agent_id).unwrap_or(&command.agent_id);
        let report = command.result.as_ref().and_then(|result| result.get("report"));
        let report: Option<InstallReport> =
            report.and_then(|report| serde_json::from_value(report.clone()).ok());
        let Some(report) = report else {
            let why = command.detail.as_deref();
            sheet.row([plain(agent), maybe(why), plain("-"), plain("-"), state(&command.state)]);
            continue;
        };
        for package in report.packages {
            let outcome = (package.outcome.replace('_', " "), tone_of(&package));
            let name = format!("{}:{}", package.name, package.architecture);
            let from = maybe(package.from.as_deref());
            sheet.row([plain(agent), plain(name), from, plain(&package.to), outcome]);
        }
    }
    sheet.finish()
}

fn tone_of(package: &InstalledPackage) -> Tone {
    match package.outcome.as_str() {
        "installed" => Tone::Good,
        "not_installed" => Tone::Bad,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tests::plain as view;

    #[test]
    fn a_table_names_versions_and_how_many_agents() {
        let offered = |version: &str, approved| OfferedVersion {
            version: version.to_owned(),
            security: true,
            agents: 4,
            approved,
        };
        let package = FleetPackage {
            name: "openssl\u{1b}[2J".to_owned(),
            security: true,
            agents: 12,
            versions: ["1", "2", "3", "4"].map(|version| offered(version, 2)).to_vec(),
            pending: Vec::new(),
        };
        let table = packages(&view(), &[package]);
        assert!(!table.contains('\u{1b}'), "{table}");
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row[1..], ["security", "1,", "2,", "3", "and", "1", "more", "12", "8"]);
        assert!(packages(&view(), &[]).contains("argosy inventory"));
    }

    #[test]
    fn results_show_what_became_of_each_package_or_why_there_is_no_report() {
        let command = |id: &str, state: &str, result: serde_json::Value| -> Command {
            serde_json::from_value(serde_json::json!({
                "id": id, "agent_id": id, "kind": "updates.install", "params": {}, "state": state,
                "sequence": 1, "created_by": "user:ada", "created_at": "2026-11-22T12:00:00Z",
                "expires_at": "2026-11-23T12:00:00Z", "withdrawn_at": null, "withdrawn_by": null,
                "ended_at": null, "detail": result.get("error"), "result": result,
                "receipt_available": true,
            }))
            .unwrap()
        };
        let good = serde_json::json!({ "report": { "dry_run": false, "packages": [{
            "name": "bash", "architecture": "amd64", "from": "5.1", "to": "5.2",
            "outcome": "not_installed" }] } });
        let bad = serde_json::json!({ "error": "refused by the host", "code": "x" });
        let commands = [command("a", "succeeded", good), command("b", "rejected", bad)];
        let names = BTreeMap::from([("a".to_owned(), "web-1".to_owned())]);
        let table = results(&view(), &commands, &names);
        let lines: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["web-1", "bash:amd64", "5.1", "5.2", "not", "installed"]);
        assert_eq!(lines[2], ["b", "refused", "by", "the", "host", "-", "-", "rejected"]);
    }

    #[test]
    fn a_pending_package_says_whether_it_is_approved_and_was_tried() {
        let mut package = PendingPackage {
            agent_id: "a".to_owned(),
            agent_name: "web-1".to_owned(),
            package: "bash".to_owned(),
            architecture: "amd64".to_owned(),
            current: "5.1".to_owned(),
            available: "5.2".to_owned(),
            security: false,
            repository: "r".to_owned(),
            approval_id: None,
            tried_at: None,
        };
        let last = |package: &PendingPackage| {
            let table = pending(&view(), std::slice::from_ref(package));
            table.lines().nth(1).unwrap().to_owned()
        };
        assert!(last(&package).ends_with("web-1  -"), "{}", last(&package));
        package.approval_id = Some("1".to_owned());
        assert!(last(&package).ends_with("approved"));
        package.tried_at = Some("2026-11-22T12:00:00Z".to_owned());
        assert!(last(&package).ends_with("approved, tried"));
    }
}
