//! Pending packages over the fleet, as pages show them.

use argosy_domain::id::{AgentId, OrgId};
use argosy_e2e::{agent::TestAgent, database::Place, on_both, server::TestServer};
use argosy_store::{ReportedPackage, Tx};

use crate::world::World;

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

async fn pending(server: &TestServer, agent: &TestAgent, packages: &[(&str, &str, &str, bool)]) {
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

on_both!(security_comes_first_by_package_and_by_agent);
