//! The package helper against a real apt: a repository is built here, packages are installed in a root
//! of their own, and commands are signed as a server signs them.
//!
//! Needs apt and dpkg, and root (dpkg installs below another root). Where one is missing the test
//! fails: it is never skipped.

#![expect(clippy::unwrap_used, reason = "a helper that cannot help fails the test")]

mod lab;

use std::time::Duration;

use argosy_agent::packages::{Answer, Fault, Refusal};
use argosy_domain::digest::Sha256;
use argosy_wire::statement::digest;

use lab::{Draft, Lab, key, now};

const ALPHA: (&str, &str, &str) = ("alpha", "amd64", "1.1");
const BETA: (&str, &str, &str) = ("beta", "all", "2.0");
const GAMMA: (&str, &str, &str) = ("gamma", "all", "2.0");

fn changed(answer: &Answer) -> Vec<(&str, Option<&str>, &str, &str)> {
    let Answer::Done(report) = answer else { panic!("{answer:?}") };
    report
        .packages
        .iter()
        .map(|p| (p.name.as_str(), p.from.as_deref(), p.to.as_str(), p.outcome.as_str()))
        .collect()
}

fn fault(answer: &Answer) -> Fault {
    let Answer::Failed(fault, _) = answer else { panic!("{answer:?}") };
    *fault
}

fn refusal(answer: &Answer) -> (Refusal, &str) {
    let Answer::Refused(refusal, why) = answer else { panic!("{answer:?}") };
    (*refusal, why)
}

#[test]
fn a_dry_run_changes_nothing_and_an_installation_exactly_what_was_said_once() {
    let lab = Lab::new();
    let tried = lab.ask(&Draft::new("c1", true, &[ALPHA, BETA]).signed());
    let would = [
        ("alpha", Some("1.0"), "1.1", "would_install"),
        ("beta", Some("1.0"), "2.0", "would_install"),
    ];
    assert_eq!(changed(&tried), would);
    assert_eq!((lab.installed("alpha").as_deref(), lab.transactions()), (Some("1.0"), 0));

    let install = Draft::new("c2", false, &[ALPHA, BETA]).signed();
    let done = lab.ask(&install);
    let did = would.map(|(name, from, to, _)| (name, from, to, "installed"));
    assert_eq!(changed(&done), did);
    assert_eq!(lab.installed("alpha").as_deref(), Some("1.1"));
    assert_eq!(lab.installed("beta").as_deref(), Some("2.0"));
    assert_eq!(lab.installed("gamma").as_deref(), Some("1.0"), "nobody asked for it");
    assert_eq!(lab.transactions(), 1);

    assert_eq!(lab.ask(&install), done, "brought again, it tells what came of it");
    assert_eq!(lab.transactions(), 1, "and does nothing");
    let again = lab.ask(&Draft::new("c3", false, &[ALPHA]).signed());
    assert_eq!(changed(&again), [("alpha", Some("1.1"), "1.1", "unchanged")]);
}

#[test]
fn nothing_comes_along_that_was_not_asked_for() {
    let lab = Lab::new();
    let beta = lab.ask(&Draft::new("c1", false, &[BETA]).signed());
    assert_eq!(fault(&beta), Fault::NeedsOthers);
    let gamma = lab.ask(&Draft::new("c2", false, &[GAMMA]).signed());
    assert_eq!(fault(&gamma), Fault::NeedsNew);
    let other = lab.ask(&Draft::new("c3", false, &[("alpha", "amd64", "9.9")]).signed());
    assert_eq!(fault(&other), Fault::PackageManager);
    assert_eq!(lab.transactions(), 0);
    assert_eq!(lab.installed("beta").as_deref(), Some("1.0"));
    lab.policy("new_packages = true");
    let gamma = lab.ask(&Draft::new("c4", false, &[GAMMA]).signed());
    let did = [("gamma", Some("1.0"), "2.0", "installed"), ("delta", None, "1.0", "installed")];
    assert_eq!(changed(&gamma), did);
    assert_eq!(lab.installed("delta").as_deref(), Some("1.0"));
}

#[test]
fn only_the_pinned_servers_word_to_this_agent_is_carried_out() {
    let lab = Lab::new();
    let draft = || Draft::new("bad", false, &[ALPHA]);
    let hour = Duration::from_secs(3600);
    let mut unsigned = draft().signed();
    unsigned.order.envelope.signature.0[0] ^= 1;
    let mut changed = draft().signed();
    changed.params = changed.params.replace("1.1", "1.2");
    let mut other_agent = draft();
    other_agent.statement.agent = "agent-2".parse().unwrap();
    let mut other_kind = draft();
    other_kind.statement.kind = "agent.restart".to_owned();
    let mut other_server = draft();
    other_server.statement.server = digest(Sha256::of(b"another"));
    let mut other_use = draft();
    other_use.certificate.usage = "audit".to_owned();
    let mut late_certificate = draft();
    late_certificate.certificate.not_after = now().minus(hour);
    for (what, request) in [
        ("unsigned", unsigned),
        ("changed", changed),
        ("foreign identity", draft().signed_by(&key(9), &key(2))),
        ("foreign command key", draft().signed_by(&key(1), &key(9))),
        ("another agent's", other_agent.signed()),
        ("another kind", other_kind.signed()),
        ("another server's", other_server.signed()),
        ("another use", other_use.signed()),
        ("a certificate that is over", late_certificate.signed()),
    ] {
        assert_eq!(refusal(&lab.ask(&request)).0, Refusal::Untrusted, "{what}");
    }
    let mut expired = draft();
    expired.statement.expires_at = now().minus(Duration::from_secs(1));
    assert!(!lab.remembers("bad"));
    assert_eq!(refusal(&lab.ask(&expired.signed())).0, Refusal::Expired);

    // A command key that was replaced is not believed any more, and time does not run backwards.
    let mut newer = Draft::new("newer", true, &[ALPHA]);
    newer.certificate.serial = 6;
    newer.statement.server_time = now().plus(Duration::from_secs(1800));
    assert!(matches!(lab.ask(&newer.signed()), Answer::Done(_)));
    assert_eq!(refusal(&lab.ask(&draft().signed())).0, Refusal::Untrusted, "a replaced key");
    let mut late = Draft::new("late", false, &[ALPHA]);
    late.certificate.serial = 6;
    late.statement.expires_at = now().plus(Duration::from_secs(900));
    assert_eq!(
        refusal(&lab.ask(&late.signed())).0,
        Refusal::Expired,
        "the server was later than that"
    );

    for garbage in [&b"{}"[..], b"", b"[1]", &vec![b' '; 2 * 1024 * 1024]] {
        let answer = lab.helper(garbage, None);
        assert!(answer.is_none_or(|a| refusal(&a).0 == Refusal::InvalidRequest));
    }
    assert_eq!((lab.installed("alpha").as_deref(), lab.transactions()), (Some("1.0"), 0));
}

#[test]
fn roots_own_policy_holds_whatever_the_agent_thinks() {
    let lab = Lab::new();
    let ask = |id: &str| lab.ask(&Draft::new(id, false, &[ALPHA, BETA]).signed());
    let rule = |answer: &Answer| {
        let (refusal, why) = refusal(answer);
        assert_eq!(refusal, Refusal::RefusedByPolicy);
        why.to_owned()
    };
    lab.policy("deny = [\"be*\"]");
    let denied = ask("c1");
    assert!(rule(&denied).ends_with("updates.deny lists be*: beta"));
    lab.policy("allow = [\"alpha\"]");
    assert!(rule(&ask("c2")).ends_with("updates.allow does not list beta"));
    lab.policy("security_only = true");
    assert!(rule(&ask("c3")).contains("alpha:amd64 1.1 closes no security hole"));
    lab.policy("");
    lab.mode("policy.toml", 0o666);
    assert!(rule(&ask("c4")).contains("writable by nobody else"));
    std::fs::remove_file(lab.path("policy.toml")).unwrap();
    assert!(rule(&ask("c5")).ends_with("commands.allow does not list updates.install"));
    lab.policy("");
    assert_eq!(ask("c1"), denied, "a command has one end, whatever the policy says later");
    assert_eq!(lab.transactions(), 0);
    assert!(matches!(ask("c6"), Answer::Done(_)));
}

#[test]
fn a_helper_that_dies_leaves_one_end_and_at_most_one_effect() {
    for (failpoint, transactions) in
        [("packages.begun", 0), ("packages.installed", 1), ("packages.ended", 1)]
    {
        let lab = Lab::new();
        let request = Draft::new("c1", false, &[ALPHA]).signed();
        let bytes = serde_json::to_vec(&request).unwrap();
        assert_eq!(lab.helper(&bytes, Some(failpoint)), None, "{failpoint}: it was to die");
        let told = lab.ask(&request);
        if transactions == 0 {
            assert_eq!(fault(&told), Fault::Interrupted, "{failpoint}");
        } else {
            assert_eq!(changed(&told)[0].3, "installed", "{failpoint}");
        }
        assert_eq!(lab.ask(&request), told, "{failpoint}: the same end for ever");
        assert_eq!(lab.transactions(), transactions, "{failpoint}");
    }
}
