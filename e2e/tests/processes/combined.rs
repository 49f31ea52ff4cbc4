//! Combined mode: a server that manages its own host, with no question asked.

use argosy_e2e::{
    database::{Place, raw},
    on_both,
    process::{run, until},
};
use serde_json::Value;

use crate::fleet::Fleet;

async fn this_host_shows_its_real_self(place: Place) {
    let fleet = Fleet::start(&place, "combined").await;
    let agent = fleet.agent("this host to be healthy", |a| a["health"] == "healthy").await;
    assert_eq!(agent["status"], "approved");
    assert_eq!(agent["assurance"], "proof_of_possession");
    let id = agent["agent_id"].as_str().unwrap();
    // Whether there is a container engine, and one that may be asked, is another matter.
    let inventory = until("the reports that every host has", || async {
        let inventory = fleet.get(&format!("/api/v1/agents/{id}/inventory")).await;
        let items = inventory["items"].as_array().unwrap();
        let has = |name: &&str| items.iter().any(|item| item["subsystem"] == **name);
        let all = ["system", "storage", "updates"].iter().all(has);
        all.then_some(inventory)
    })
    .await;
    let report = |name: &str| -> Value {
        let items = inventory["items"].as_array().unwrap();
        items.iter().find(|item| item["subsystem"] == name).unwrap()["report"].clone()
    };
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(report("system")["kernel"], kernel.trim());
    assert!(report("system")["memory"]["total_bytes"].as_u64().unwrap() > 0);
    assert!(!report("storage")["mounts"].as_array().unwrap().is_empty());
    assert_eq!(report("updates")["manager"], "apt");

    let login = [("ARGOSY_SERVER", fleet.url.clone()), ("ARGOSY_KEY", fleet.admin_key())];
    let login = login.each_ref().map(|(name, value)| (*name, value.as_str()));
    let status = run("argosy", &["status"], &login).await;
    assert!(status.contains("1 approved") && status.contains("1 healthy"), "{status}");
    let list: Value =
        serde_json::from_str(&run("argosy", &["agent", "list", "--output", "json"], &login).await)
            .unwrap();
    assert!(list.to_string().contains(id), "{list}");
    let shown = run("argosy", &["inventory", id], &login).await;
    assert!(shown.contains(kernel.trim()), "{shown}");
}

async fn it_comes_back_as_the_same_agent(place: Place) {
    let mut fleet = Fleet::start(&place, "combined").await;
    let agent = fleet.agent("this host to be connected", |a| a["connected"] == true).await;
    fleet.kill_server().await;
    fleet.start_server().await;
    let again = fleet.agent("this host to be connected again", |a| a["connected"] == true).await;
    assert_eq!(agent["agent_id"], again["agent_id"]);
    assert_eq!(again["status"], "approved");
}

/// Whoever holds the server holds this agent: with another database it enrols anew.
async fn it_enrols_anew_when_the_database_was_replaced(place: Place) {
    let mut fleet = Fleet::start(&place, "combined").await;
    let before = fleet.agent("this host to be connected", |a| a["connected"] == true).await;
    fleet.kill_server().await;
    if place.database_url.is_some() {
        raw(&place, "DROP SCHEMA public CASCADE").await;
        raw(&place, "CREATE SCHEMA public").await;
    } else {
        for name in ["argosy.db", "argosy.db-wal", "argosy.db-shm"] {
            let _ = std::fs::remove_file(place.data_dir.join(name));
        }
    }
    fleet.start_server().await;
    let after = fleet.agent("this host to be connected again", |a| a["connected"] == true).await;
    assert_ne!(before["agent_id"], after["agent_id"]);
    assert_eq!((&after["status"], &after["name"]), (&before["status"], &before["name"]));
}

/// So it does when the server's keys were made anew: nobody has to repin on this host.
async fn it_enrols_anew_when_the_keys_were_reset(place: Place) {
    let mut fleet = Fleet::start(&place, "combined").await;
    let before = fleet.agent("this host to be connected", |a| a["connected"] == true).await;
    fleet.kill_server().await;
    let data_dir = place.data_dir.to_str().unwrap();
    let reset = ["keys", "reset", "--agents-must-repin", "--data-dir", data_dir];
    let url = place.database_url.as_deref().map(|url| ("ARGOSY_DATABASE_URL", url));
    run("argosyd", &reset, &Vec::from_iter(url)).await;
    fleet.start_server().await;
    let after = fleet.agent("this host to be connected again", |a| a["connected"] == true).await;
    assert_eq!((&after["status"], &after["name"]), (&before["status"], &before["name"]));
}

on_both!(
    this_host_shows_its_real_self,
    it_comes_back_as_the_same_agent,
    it_enrols_anew_when_the_database_was_replaced,
    it_enrols_anew_when_the_keys_were_reset,
);
