//! What apt prints, and what it prints when it is broken.

use proptest::prelude::*;

use super::*;

const UPGRADABLE: &str = "\
Listing...
bash/oldstable 5.2.15-2+b13 amd64 [upgradable from: 5.2.15-2+b8]
ca-certificates/oldstable-security 20250419~deb12u2 all [upgradable from: 20230311+deb12u1]
libc6/jammy-updates,jammy-security 2:2.35-0ubuntu3.9 i386 [upgradable from: 2:2.35-0ubuntu3.8]
libc6/jammy-updates 2:2.35-0ubuntu3.10 amd64 [upgradable from: 2:2.35-0ubuntu3.8]
agent/stable 2.0 amd64 [upgradable from: 1.0]
old/oldstable 3 all [upgradable from: 1]
";

const POLICY: &str = "\
bash:
  Installed: 5.2.15-2+b8
  Candidate: 5.2.15-2+b13
  Version table:
     5.2.15-2+b13 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
 *** 5.2.15-2+b8 100
        100 /var/lib/dpkg/status
     5.2.15-2+b7 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
ca-certificates:
  Installed: 20230311+deb12u1
  Candidate: 20250419~deb12u2
  Version table:
     20250419~deb12u2 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
 *** 20230311+deb12u1 100
        100 /var/lib/dpkg/status
libc6:
  Installed: 2:2.35-0ubuntu3.8
  Candidate: 2:2.35-0ubuntu3.10
  Version table:
     2:2.36-1 100
        100 http://archive.ubuntu.com/ubuntu jammy-proposed/main amd64 Packages
     2:2.35-0ubuntu3.10 500 (phased 10%)
        500 http://archive.ubuntu.com/ubuntu jammy-updates/main amd64 Packages
     2:2.35-0ubuntu3.9 500
        500 http://security.ubuntu.com/ubuntu jammy-security/main amd64 Packages
 *** 2:2.35-0ubuntu3.8 100
        100 /var/lib/dpkg/status
libc6:i386:
  Installed: 2:2.35-0ubuntu3.8
  Candidate: 2:2.35-0ubuntu3.9
  Version table:
     2:2.35-0ubuntu3.9 500
        500 http://archive.ubuntu.com/ubuntu jammy-updates/main i386 Packages
        500 http://security.ubuntu.com/ubuntu jammy-security/main i386 Packages
 *** 2:2.35-0ubuntu3.8 100
        100 /var/lib/dpkg/status
agent:
  Installed: 1.0
  Candidate: 2.0
  Version table:
     3.0 -1
         -1 https://user:pass@packages.example.org/debian-security stable/main amd64 Packages
     2.0 1001
       1001 https://user:p@ss@packages.example.org/debian stable/main amd64 Packages
 *** 1.0 100
        100 /var/lib/dpkg/status
old:
  Installed: 1
  Candidate: 3
  Version table:
     3 500
        500 http://archive.debian.org/debian buster/main amd64 Packages
     2 500
        500 http://archive.debian.org/debian-security buster/updates/main amd64 Packages
 *** 1 100
        100 /var/lib/dpkg/status
";

fn pending() -> Vec<PendingPackage> {
    let policies = parse_policy(POLICY);
    let upgradable = parse_upgradable(UPGRADABLE).unwrap();
    upgradable.into_iter().map(|package| package.judged(&policies)).collect()
}

fn of(name: &str, architecture: &str) -> PendingPackage {
    let found = pending().into_iter().find(|p| p.name == name && p.architecture == architecture);
    found.unwrap()
}

#[test]
fn a_package_is_told_with_both_versions_and_its_origin() {
    assert_eq!(
        of("bash", "amd64"),
        PendingPackage {
            name: "bash".into(),
            architecture: "amd64".into(),
            current: "5.2.15-2+b8".into(),
            available: "5.2.15-2+b13".into(),
            // An older security version is installed already.
            security: false,
            repository: "http://deb.debian.org/debian bookworm/main".into(),
        }
    );
    assert_eq!(pending().len(), 6);
}

#[test]
fn what_comes_from_a_security_archive_is_security() {
    assert!(of("ca-certificates", "all").security);
    assert!(of("libc6", "i386").security);
}

#[test]
fn a_security_version_counts_also_when_an_ordinary_one_has_overtaken_it() {
    let libc = of("libc6", "amd64");
    assert!(libc.security);
    assert_eq!(libc.repository, "http://archive.ubuntu.com/ubuntu jammy-updates/main");
    assert!(of("old", "all").security, "the layout of Debian 10 and older");
}

#[test]
fn a_version_that_is_pinned_away_does_not_count_and_no_password_is_shown() {
    let agent = of("agent", "amd64");
    assert!(!agent.security);
    assert_eq!(agent.repository, "https://packages.example.org/debian stable/main");
}

#[test]
fn without_a_policy_the_suite_decides() {
    let upgradable = parse_upgradable(UPGRADABLE).unwrap();
    let pending: Vec<_> =
        upgradable.into_iter().map(|package| package.judged(&HashMap::new())).collect();
    let security: Vec<_> = pending.iter().map(|package| package.security).collect();
    assert_eq!(security, [false, true, true, false, false, false]);
    assert_eq!(pending[2].repository, "jammy-updates,jammy-security");
}

#[test]
fn nothing_pending_is_no_error() {
    assert_eq!(parse_upgradable("").unwrap(), []);
    assert_eq!(parse_upgradable("Listing...\n").unwrap(), []);
}

#[test]
fn a_line_that_is_not_understood_is_named_and_never_skipped() {
    for line in [
        "Auflistung...",
        "bash 5.2 amd64",
        "bash/stable 5.2 amd64 [installed]",
        "bash/stable 5.2 [upgradable from: 5.1]",
        "-o/stable 5.2 amd64 [upgradable from: 5.1]",
        "a b/stable 5.2 amd64 [upgradable from: 5.1]",
        "bash/stable 5.2 amd64 [upgradable from: $(id)]",
    ] {
        let error = parse_upgradable(&format!("{UPGRADABLE}{line}\n")).unwrap_err().to_string();
        assert!(error.starts_with("apt list wrote a line"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text: String) {
        let _ = parse_upgradable(&text);
        let _ = parse_policy(&text);
    }

    #[test]
    fn no_likely_text_makes_it_panic(
        list in "([a-z]{0,2}/[a-z-]{0,9} [0-9.]{0,3} [a-z]{0,3}( \\[upgradable from: [0-9]?\\]?)?\n){0,4}",
        policy in "(([a-z]{1,2}:| {5}| \\*\\*\\* | {8})[0-9:a@/. -]{0,12}\n){0,12}",
    ) {
        let policies = parse_policy(&policy);
        for package in parse_upgradable(&list).unwrap_or_default() {
            package.judged(&policies);
        }
        for version in policies.values().flatten() {
            version.sources.iter().for_each(|source| { source.shown(); });
        }
    }
}

#[test]
fn lists_that_never_arrived_have_no_age() {
    let root = tempfile::tempdir().unwrap();
    let apt = Apt {
        lists: root.path().join("lists"),
        stamps: vec![root.path().join("stamp"), root.path().join("no-stamp")],
        ..Apt::default()
    };
    assert_eq!(apt.refreshed_at().unwrap(), None);
    std::fs::create_dir_all(apt.lists.join("partial")).unwrap();
    std::fs::write(&apt.stamps[0], "").unwrap();
    assert_eq!(apt.refreshed_at().unwrap(), None, "a stamp alone is no list");

    std::fs::write(apt.lists.join("deb_dists_stable_main_binary-amd64_Packages.lz4"), "").unwrap();
    let arrived = apt.refreshed_at().unwrap().unwrap();
    let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(4_000_000_000);
    std::fs::File::open(&apt.stamps[0]).unwrap().set_modified(later).unwrap();
    assert_eq!(apt.refreshed_at().unwrap(), Some(Timestamp::from_seconds(4_000_000_000)));
    assert!(arrived < Timestamp::from_seconds(4_000_000_000));
}

#[tokio::test]
async fn this_host_answers_and_agrees_with_a_simulated_upgrade() {
    let report = Apt::default().collect().await.unwrap();
    assert_eq!(report.manager, PackageManager::Apt);
    let simulated = std::process::Command::new("/usr/bin/apt-get")
        .args(["-s", "-o", "Debug::NoLocking=true", "dist-upgrade"])
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let simulated = String::from_utf8(simulated.stdout).unwrap();
    for line in simulated.lines().filter(|line| line.starts_with("Inst ")) {
        // `Inst bash [5.2-1] (5.2-2 Debian:12.1/oldstable, Debian-Security:… [amd64])`
        let mut words = line.split(' ').skip(1);
        let (name, current) = (words.next().unwrap(), words.next().unwrap());
        let Some(current) = current.strip_prefix('[').and_then(|c| c.strip_suffix(']')) else {
            continue;
        };
        let available = words.next().unwrap().trim_start_matches('(');
        let package = report.packages.iter().find(|p| p.name == name);
        let package = package.unwrap_or_else(|| panic!("{line} is not reported"));
        assert_eq!((package.current.as_str(), package.available.as_str()), (current, available));
        assert!(package.security || !line.contains("-security"), "{line} is security");
    }
}
