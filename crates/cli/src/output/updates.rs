//! Pending packages for people.

use argosy_wire::rest::updates::{FleetPackage, OfferedVersion, PendingPackage};

use super::{
    Tone, View,
    table::{Sheet, Word, plain},
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
