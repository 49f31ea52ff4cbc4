//! Pending packages over the fleet.

use argosy_domain::agent::{Agent, AgentState, AgentStatus, Approval, Closure, Decider};
use argosy_store::{PageRequest, PendingFilter, ReportedPackage};

use crate::common::{Db, agent, at, conformance, id, insert_agents, org};

conformance!(
    packages_of_the_fleet_come_security_first_by_name_and_each_once,
    a_report_replaces_the_one_before_and_says_the_same_without_a_write,
    pages_of_agents_go_on_where_they_ended,
    what_is_no_host_of_the_fleet_has_nothing_pending,
);

pub(crate) fn package(name: &str, available: &str, security: bool) -> ReportedPackage {
    ReportedPackage {
        name: id(name),
        architecture: id("amd64"),
        installed: id("1.0"),
        available: id(available),
        security,
        repository: "a\0b".into(),
    }
}

pub(crate) async fn report(db: &Db, agent: &str, packages: &[ReportedPackage]) {
    db.write(async |tx| tx.pending_packages().replace(&org(), &id(agent), packages).await).await;
}

async fn names(db: &Db, filter: &PendingFilter, limit: u32) -> Vec<(String, bool, u64)> {
    let mut page = PageRequest::first(limit);
    let mut names = Vec::new();
    loop {
        let mut reader = db.store.read("packages").await.unwrap();
        let found = reader.pending_packages().packages(&org(), filter, &page, 2).await.unwrap();
        assert!(found.items.len() <= limit as usize);
        names.extend(found.items.into_iter().map(|p| (p.name.to_string(), p.security, p.agents)));
        match found.next {
            Some(next) => page.after = Some(next),
            None => return names,
        }
    }
}

fn named(names: &[(&str, bool, u64)]) -> Vec<(String, bool, u64)> {
    names.iter().map(|(name, security, n)| ((*name).to_owned(), *security, *n)).collect()
}

async fn packages_of_the_fleet_come_security_first_by_name_and_each_once(db: Db) {
    insert_agents(&db, &["a", "b", "c"]).await;
    let foreign = ReportedPackage { architecture: id("i386"), ..package("zlib", "2.0", false) };
    report(&db, "a", &[package("zlib", "2.0", true), package("bash", "5.2", false), foreign]).await;
    report(&db, "b", &[package("zlib", "2.1", false), package("curl", "8", false)]).await;
    report(&db, "c", &[package("openssl", "3", true), package("bash", "5.2", false)]).await;
    let all = [("openssl", true, 1), ("zlib", true, 2), ("bash", false, 2), ("curl", false, 1)];
    for limit in [1, 2, 3, 500] {
        assert_eq!(names(&db, &PendingFilter::default(), limit).await, named(&all), "{limit}");
    }
    let security = PendingFilter { security: true, ..PendingFilter::default() };
    assert_eq!(names(&db, &security, 1).await, named(&[("openssl", true, 1), ("zlib", true, 1)]));
    // What closes a hole on another agent does not do so here.
    let of_b = PendingFilter { agent: Some(id("b")), ..PendingFilter::default() };
    assert_eq!(names(&db, &of_b, 1).await, named(&[("curl", false, 1), ("zlib", false, 1)]));

    let zlib = PendingFilter { package: Some(id("zlib")), ..PendingFilter::default() };
    let mut reader = db.store.read("packages").await.unwrap();
    let page = PageRequest::first(50);
    let found = reader.pending_packages().packages(&org(), &zlib, &page, 2).await.unwrap();
    let [zlib] = &found.items[..] else { panic!("{found:?}") };
    let versions = zlib.versions.iter().map(|v| (v.version.as_str(), v.security, v.agents));
    assert_eq!(versions.collect::<Vec<_>>(), [("2.0", true, 1), ("2.1", false, 1)]);
    assert_eq!(zlib.pending.len(), 2, "the first two rows and no more");
    assert_eq!(zlib.pending[0].agent_name, "name of a");
    assert_eq!(zlib.pending[0].package.repository, "a\u{fffd}b");
    let other = reader.pending_packages().packages(&id("other"), &security, &page, 2).await;
    assert!(other.unwrap().items.is_empty());
}

async fn a_report_replaces_the_one_before_and_says_the_same_without_a_write(db: Db) {
    insert_agents(&db, &["a", "b"]).await;
    let twice = [package("bash", "5.1", false), package("bash", "5.2", false)];
    report(&db, "a", &twice).await;
    report(&db, "b", &[package("bash", "5.2", false)]).await;
    let list = async |filter: PendingFilter| {
        let mut reader = db.store.read("packages").await.unwrap();
        let page = PageRequest::first(50);
        reader.pending_packages().list(&org(), &filter, &page).await.unwrap().items
    };
    let of_a = || PendingFilter { agent: Some(id("a")), ..PendingFilter::default() };
    assert_eq!(list(of_a()).await[0].package, {
        let last = package("bash", "5.2", false);
        ReportedPackage { repository: "a\u{fffd}b".into(), ..last }
    });
    report(&db, "a", &[package("curl", "8", true)]).await;
    let rows = list(PendingFilter::default()).await;
    let rows: Vec<_> = rows.iter().map(|r| (r.package.name.as_str(), r.agent.as_str())).collect();
    assert_eq!(rows, [("bash", "b"), ("curl", "a")], "b keeps what it reported");
    report(&db, "a", &[]).await;
    assert!(list(of_a()).await.is_empty());
}

async fn pages_of_agents_go_on_where_they_ended(db: Db) {
    let agents = ["a", "b", "c", "d"];
    insert_agents(&db, &agents).await;
    for agent in agents {
        report(&db, agent, &[package("bash", "5.2", false), package("zlib", "2", false)]).await;
    }
    for limit in [1, 3, 7] {
        let (mut page, mut seen) = (PageRequest::first(limit), Vec::new());
        loop {
            let mut reader = db.store.read("packages").await.unwrap();
            let filter = PendingFilter::default();
            let found = reader.pending_packages().list(&org(), &filter, &page).await.unwrap();
            let rows = found.items.iter().map(|r| format!("{} {}", r.package.name, r.agent));
            seen.extend(rows);
            match found.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        let expected = ["bash", "zlib"].map(|name| agents.map(|a| format!("{name} {a}"))).concat();
        assert_eq!(seen, expected, "{limit}");
    }
}

async fn what_is_no_host_of_the_fleet_has_nothing_pending(db: Db) {
    let by = || Decider("user:ada".into());
    let state = AgentState::Approved(Approval { by: by(), at: at(20), fingerprint: None });
    let gone = Agent { state, ..agent("gone") };
    insert_agents(&db, &["deleted"]).await;
    db.write(async |tx| tx.agents().insert(&gone).await).await;
    for agent in ["gone", "deleted"] {
        report(&db, agent, &[package("bash", "5.2", false)]).await;
    }
    let everything = PendingFilter::default();
    assert_eq!(names(&db, &everything, 5).await, named(&[("bash", false, 2)]));
    db.write(async |tx| tx.agents().delete(&org(), &id("deleted")).await).await;
    assert_eq!(names(&db, &everything, 5).await, named(&[("bash", false, 1)]));
    let revoked =
        gone.state.clone().revoke(Closure { by: by(), at: at(30), reason: None }).unwrap();
    let gone = Agent { state: revoked, ..gone };
    assert!(db.write(async |tx| tx.agents().save_state(&gone, AgentStatus::Approved).await).await);
    assert!(names(&db, &everything, 5).await.is_empty());
}
