//! Approvals of packages.

use argosy_domain::{
    agent::{Agent, AgentState, Approval, Decider},
    command::Withdrawal,
    package::PackageStep,
};
use argosy_store::{
    AgentFilter, ApprovalRow, ApprovedPackages, PageRequest, PendingFilter, ReportedPackage,
};

use crate::{
    common::{Db, agent, at, conformance, id, insert_agents, org},
    packages::{package, report},
};

conformance!(
    an_approval_covers_what_is_pending_in_that_version_on_the_selected_agents,
    an_approval_leaves_with_the_version_and_is_superseded,
    what_was_tried_is_known_until_the_version_changes,
    an_approval_is_taken_back_once,
);

async fn fleet(db: &Db, names: &[&str]) {
    insert_agents(db, &["pending"]).await;
    db.write(async |tx| {
        for name in names {
            let by = Decider("user:ada".into());
            let state = AgentState::Approved(Approval { by, at: at(20), fingerprint: None });
            tx.agents().insert(&Agent { state, ..agent(name) }).await?;
        }
        Ok(())
    })
    .await;
}

fn approval(name: &str) -> ApprovalRow {
    ApprovalRow {
        id: id(name),
        org: org(),
        selector: "{}".into(),
        packages: "[]".into(),
        agents: 0,
        approved_by: "user:ada".into(),
        approved_at: at(100),
        revoked: None,
        waiting: 0,
    }
}

fn named(packages: &[(&str, Option<&str>)]) -> ApprovedPackages {
    let one = |(name, version): &(&str, Option<&str>)| (id(name), version.map(id));
    ApprovedPackages::Named(packages.iter().map(one).collect())
}

async fn approve(db: &Db, name: &str, filter: AgentFilter, what: ApprovedPackages) -> u64 {
    db.write(async |tx| tx.update_approvals().insert(&approval(name), &filter, &what).await).await
}

fn everybody() -> AgentFilter {
    AgentFilter::default()
}

async fn steps(db: &Db, agent: &str) -> Vec<(String, bool)> {
    let mut reader = db.store.read("steps").await.unwrap();
    let steps = reader.update_approvals().steps(&id(agent), &[], 10).await.unwrap();
    steps.into_iter().map(|(step, tried)| (step.to_string(), tried)).collect()
}

fn step(name: &str, version: &str) -> PackageStep {
    PackageStep { name: id(name), architecture: id("amd64"), version: id(version) }
}

fn untried(steps: &[&str]) -> Vec<(String, bool)> {
    steps.iter().map(|step| ((*step).to_owned(), false)).collect()
}

async fn an_approval_covers_what_is_pending_in_that_version_on_the_selected_agents(db: Db) {
    fleet(&db, &["a", "b"]).await;
    report(&db, "a", &[package("bash", "5.2", false), package("zlib", "2", true)]).await;
    report(&db, "b", &[package("bash", "5.3", false), package("curl", "8", true)]).await;
    report(&db, "pending", &[package("bash", "5.2", true)]).await;
    assert_eq!(approve(&db, "1", everybody(), named(&[("bash", Some("9"))])).await, 0);
    assert_eq!(approve(&db, "2", everybody(), named(&[("bash", Some("5.2"))])).await, 1);
    assert_eq!(steps(&db, "a").await, untried(&["bash:amd64 5.2"]));
    assert_eq!(steps(&db, "b").await, untried(&[]));
    let only_b = AgentFilter { ids: Some(vec![id("b")]), ..everybody() };
    assert_eq!(approve(&db, "3", only_b, ApprovedPackages::Security).await, 1);
    assert_eq!(steps(&db, "b").await, untried(&["curl:amd64 8"]));
    assert_eq!(approve(&db, "4", everybody(), named(&[("bash", None), ("zlib", None)])).await, 3);
    assert_eq!(steps(&db, "a").await, untried(&["zlib:amd64 2", "bash:amd64 5.2"]));
    assert_eq!(steps(&db, "pending").await, untried(&[]), "no agent of the fleet yet");

    let mut reader = db.store.read("approvals").await.unwrap();
    let mut approvals = reader.update_approvals();
    let versions = approvals.versions(&id("4")).await.unwrap();
    let versions = versions.iter().map(|v| (v.name.as_str(), v.version.as_str(), v.agents));
    assert_eq!(
        versions.collect::<Vec<_>>(),
        [("bash", "5.2", 1), ("bash", "5.3", 1), ("zlib", "2", 1)]
    );
    assert_eq!(approvals.agents(&id("4")).await.unwrap(), 2);
    let found = approvals.approved_agents(&org(), &everybody(), &[]).await.unwrap();
    assert_eq!((found.agents.len(), found.untried), (2, 2));
    let found = approvals.approved_agents(&org(), &everybody(), &[id("zlib")]).await.unwrap();
    assert_eq!(found.agents, [id("a")]);
    let found = approvals.approved_agents(&id("other"), &everybody(), &[]).await.unwrap();
    assert!(found.agents.is_empty());
    let mut packages = reader.pending_packages();
    let filter = PendingFilter { package: Some(id("bash")), ..PendingFilter::default() };
    let page = PageRequest::first(5);
    let bash = packages.packages(&org(), &filter, &page, 5).await.unwrap().items.remove(0);
    let approved: Vec<_> = bash.versions.iter().map(|v| (v.version.as_str(), v.approved)).collect();
    assert_eq!(approved, [("5.2", 1), ("5.3", 1)]);
}

async fn an_approval_leaves_with_the_version_and_is_superseded(db: Db) {
    fleet(&db, &["a"]).await;
    report(&db, "a", &[package("bash", "5.2", false)]).await;
    approve(&db, "1", everybody(), named(&[("bash", None)])).await;
    let again = ReportedPackage { repository: "elsewhere".into(), ..package("bash", "5.2", true) };
    report(&db, "a", &[again]).await;
    assert_eq!(steps(&db, "a").await, untried(&["bash:amd64 5.2"]), "the same version");
    report(&db, "a", &[package("bash", "5.3", false)]).await;
    assert_eq!(steps(&db, "a").await, untried(&[]), "nobody approved this one");
    approve(&db, "2", everybody(), named(&[("bash", None)])).await;
    approve(&db, "3", everybody(), named(&[("bash", None)])).await;
    let mut reader = db.store.read("approvals").await.unwrap();
    let page = reader.update_approvals().list(&org(), &PageRequest::first(9)).await.unwrap();
    let waiting: Vec<_> = page.items.iter().map(|row| (row.id.as_str(), row.waiting)).collect();
    assert_eq!(waiting, [("3", 1), ("2", 0), ("1", 0)]);
    drop(reader);
    report(&db, "a", &[]).await;
    assert_eq!(steps(&db, "a").await, untried(&[]), "it is installed");
}

async fn what_was_tried_is_known_until_the_version_changes(db: Db) {
    fleet(&db, &["a"]).await;
    report(&db, "a", &[package("bash", "5.2", false), package("curl", "8", false)]).await;
    approve(&db, "1", everybody(), named(&[("bash", None), ("curl", None)])).await;
    let tried = async |steps: &[PackageStep]| {
        db.write(async |tx| tx.update_approvals().tried(&id("a"), steps, at(200)).await).await;
    };
    tried(&[step("bash", "5.1"), step("zlib", "1")]).await;
    assert_eq!(steps(&db, "a").await, untried(&["bash:amd64 5.2", "curl:amd64 8"]));
    tried(&[step("bash", "5.2")]).await;
    assert_eq!(
        steps(&db, "a").await,
        [("bash:amd64 5.2".into(), true), ("curl:amd64 8".into(), false)]
    );
    let mut reader = db.store.read("approved").await.unwrap();
    let found = reader.update_approvals().approved_agents(&org(), &everybody(), &[]).await.unwrap();
    assert_eq!(found.untried, 1);
    let only = [id("bash")];
    let found =
        reader.update_approvals().approved_agents(&org(), &everybody(), &only).await.unwrap();
    assert_eq!(found.untried, 0);
    drop(reader);
    report(&db, "a", &[package("bash", "5.3", false)]).await;
    approve(&db, "2", everybody(), named(&[("bash", None)])).await;
    assert_eq!(steps(&db, "a").await, untried(&["bash:amd64 5.3"]));
}

async fn an_approval_is_taken_back_once(db: Db) {
    fleet(&db, &["a"]).await;
    report(&db, "a", &[package("bash", "5.2", false)]).await;
    approve(&db, "1", everybody(), named(&[("bash", None)])).await;
    db.write(async |tx| tx.update_approvals().save_content(&id("1"), "[1]", 1).await).await;
    let by = Withdrawal { by: "user:bob".into(), at: at(300) };
    let revoke = async |org: &str| {
        db.write(async |tx| tx.update_approvals().revoke(&id(org), &id("1"), &by).await).await
    };
    assert!(!revoke("other").await);
    assert_eq!(steps(&db, "a").await.len(), 1);
    assert!(revoke(org().as_str()).await);
    assert!(!revoke(org().as_str()).await);
    assert_eq!(steps(&db, "a").await, untried(&[]));
    let mut reader = db.store.read("approval").await.unwrap();
    let row = reader.update_approvals().get(&org(), &id("1")).await.unwrap().unwrap();
    assert_eq!((row.revoked, row.agents, row.packages.as_str()), (Some(by), 1, "[1]"));
    assert_eq!(reader.update_approvals().get(&id("other"), &id("1")).await.unwrap(), None);
}
