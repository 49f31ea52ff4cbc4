//! Pending packages over the fleet, as pages show them.

use argosy_domain::id::{AgentId, OrgId};
use argosy_e2e::{agent::TestAgent, database::Place, on_both, server::TestServer};
use argosy_store::{ReportedPackage, Tx};

use crate::{forms::hidden, world::World};

/// Puts packages into what an agent has pending: name, installed, available, security.
pub(crate) async fn put(tx: &mut Tx, agent: &AgentId, packages: &[(&str, &str, &str, bool)]) {
    let package =
        |(name, installed, available, security): &(&str, &str, &str, bool)| ReportedPackage {
            name: name.parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
            installed: installed.parse().unwrap(),
            available: available.parse().unwrap(),
            security: *security,
            repository: "Debian:12/stable".to_owned(),
        };
    let packages: Vec<ReportedPackage> = packages.iter().map(package).collect();
    tx.pending_packages().replace(&OrgId::default_org(), agent, &packages).await.unwrap();
}

/// The same for one agent of a server.
pub(crate) async fn pending(
    server: &TestServer,
    agent: &TestAgent,
    packages: &[(&str, &str, &str, bool)],
) {
    let store = server.store().await;
    let mut tx = store.write("test").await.unwrap();
    put(&mut tx, &agent.id(), packages).await;
    tx.commit().await.unwrap();
    store.close().await;
}

async fn security_comes_first_by_package_and_by_agent(place: Place) {
    let world = World::start(&place).await;
    let (server, viewer) = (&world.server, &world.viewer);
    let page = viewer.page(server, "/console/packages").await.page;
    assert!(page.contains("Nothing is pending"), "{page}");
    let other = TestAgent::admitted(server, "db-1").await;
    pending(
        server,
        &world.agent,
        &[("acl", "2.3.1-3", "2.3.2-1", false), ("openssl", "3.0.11-1", "3.0.15-1", true)],
    )
    .await;
    pending(server, &other, &[("openssl", "3.0.11-1", "3.0.16-1", true)]).await;
    let page = viewer.page(server, "/console/packages").await.page;
    let at = |words: &str| page.find(words).unwrap_or_else(|| panic!("no {words}: {page}"));
    assert!(at("openssl") < at("acl<"), "security first");
    assert!(page.contains("2 agents") && page.contains("3.0.15-1") && page.contains("3.0.16-1"));
    let page = viewer.page(server, "/console/packages?security=yes").await.page;
    assert!(page.contains("openssl") && !page.contains(">acl<"), "{page}");
    let page = viewer.page(server, "/console/packages?view=agents&package=openssl").await.page;
    for words in ["web-1", "db-1", "3.0.11-1", "Remove", "remove this filter"] {
        assert_eq!(page.contains(words), words != "Remove", "{words}: {page}");
    }
    let of_one = format!("/console/packages?view=agents&agent={}", other.agent_id);
    let page = viewer.page(server, &of_one).await.page;
    assert!(page.contains("db-1") && !page.contains(">web-1<"), "{page}");
    let page = viewer.page(server, "/console/packages?package=nothing").await.page;
    assert!(page.contains("No package fits"), "{page}");
    let answer = viewer.page(server, "/console/packages?package=--flag").await;
    assert_eq!(answer.status, 422);
}

/// From what is pending to what a host is told, by forms; and what a viewer may not.
async fn packages_are_approved_tried_and_taken_back(place: Place) {
    let world = World::start(&place).await;
    let (server, admin, viewer) = (&world.server, &world.admin, &world.viewer);
    pending(
        server,
        &world.agent,
        &[("acl", "2.3.1-3", "2.3.2-1", false), ("openssl", "3.0.11-1", "3.0.15-1", true)],
    )
    .await;
    let agent = world.agent.agent_id.as_str();
    let (approve, install) = ("/console/packages/approve", "/console/packages/install");

    // Nothing is approved yet.
    let again = admin.submit(server, install, &[("mode", "try"), ("agent", agent)]).await;
    assert_eq!(again.status, 409);
    assert!(again.page.contains("role=\"alert\"") && again.page.contains("web-1"), "{again:?}");
    let nothing = admin.submit(server, approve, &[("what", "ticked"), ("agent", agent)]).await;
    assert_eq!(nothing.status, 422, "nothing is ticked");

    let of_agent = format!("{approve}?agent={agent}&one=openssl");
    let page = admin.page(server, &of_agent).await.page;
    assert!(page.contains("value=\"openssl\"") && !page.contains("value=\"acl\""), "{page}");
    let fields = [("what", "ticked"), ("agent", agent), ("package", "openssl")];
    let approved = admin.submit(server, approve, &fields).await;
    assert_eq!(approved.location(), "/console/packages/approvals?done=packages-approved");
    let page = viewer.page(server, "/console/packages/approvals").await.page;
    assert!(page.contains("openssl 3.0.15-1") && page.contains("1 waiting"), "{page}");
    assert!(!page.contains("Take back"), "no dead button");
    let page = admin.page(server, "/console/packages?view=agents").await.page;
    assert!(page.contains("badge ok\">approved"), "{page}");

    // What was not tried is not installed; a try is an order whose progress is shown.
    let real = [("mode", "install"), ("agent", agent)];
    let refused = admin.submit(server, install, &real).await;
    assert_eq!(refused.status, 409);
    assert!(refused.page.contains("without_dry_run"), "{}", refused.page);
    let page = admin.page(server, install).await.page;
    let once = hidden(&page, "once");
    let tried = [("mode", "try"), ("once", once.as_str()), ("packages", "openssl")];
    let begun = admin.submit(server, install, &tried).await;
    let progress = begun.location();
    assert!(progress.starts_with("/console/fan-outs/"), "{progress}");
    assert_eq!(admin.submit(server, install, &tried).await.location(), progress, "sent twice");
    let page = admin.page(server, progress).await.page;
    assert!(page.contains("updates.install") && page.contains("web-1"), "{page}");

    let page = admin.page(server, "/console/packages/approvals").await.page;
    let (_, rest) = page.split_once("/console/packages/approvals/").unwrap();
    let (id, _) = rest.split_once("/revoke").unwrap();
    let take_back = format!("/console/packages/approvals/{id}/revoke");
    assert_eq!(viewer.submit(server, &take_back, &[]).await.status, 403);
    let taken = admin.submit(server, &take_back, &[]).await;
    assert_eq!(taken.location(), "/console/packages/approvals?done=packages-taken-back");
    assert_eq!(admin.submit(server, &take_back, &[]).await.status, 409, "it was taken back");
    let page = admin.page(server, "/console/packages/approvals").await.page;
    assert!(page.contains("taken back"), "{page}");

    for path in [approve, install] {
        let answer = viewer.page(server, path).await;
        assert_eq!(answer.status, 403);
        assert!(answer.page.contains("this needs the scope updates:"), "{}", answer.page);
    }
    let page = viewer.page(server, "/console/packages").await.page;
    assert!(!page.contains("Approve…") && !page.contains("Try or install…"), "{page}");
}

on_both!(security_comes_first_by_package_and_by_agent, packages_are_approved_tried_and_taken_back,);
