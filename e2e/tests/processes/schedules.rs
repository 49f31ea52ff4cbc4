//! A schedule that an operator changes is in force on a real agent, and survives its restart.

use argosy_e2e::{database::Place, on_both, process::until};
use serde_json::json;

use crate::fleet::Fleet;

async fn a_schedule_is_in_force_and_survives(place: Place) {
    let (fleet, mut agent, id) = Fleet::with_agent(&place).await;
    let off = json!({ "enabled": false });
    fleet.patch(&format!("/api/v1/agents/{id}/subsystems/storage"), &off).await;
    let path = format!("/api/v1/agents/{id}/subsystems");
    until("the agent to say so", async || {
        (fleet.get(&path).await["applied_generation"] == 1).then_some(())
    })
    .await;
    agent.kill().await;
    agent.start_again();
    fleet.agent("the agent to be back", |a| a["connected"] == true).await;
    let command = fleet.command(&id, "storage").await;
    let over = fleet.over(&command).await;
    assert_eq!(over["state"], "failed", "it is off, on command too: {over}");
    assert_eq!(over["result"]["code"], "subsystem_disabled");
    let subsystems = fleet.get(&path).await;
    assert_eq!((&subsystems["generation"], &subsystems["refused"]), (&json!(1), &json!(null)));
}

/// The agent dies before and after it has written the schedule down: it has it afterwards, once.
async fn a_schedule_survives_every_death(place: Place) {
    let (fleet, mut agent, id) = Fleet::with_agent(&place).await;
    let path = format!("/api/v1/agents/{id}/subsystems");
    for (generation, failpoint) in [(1, "configuration.before"), (2, "configuration.kept")] {
        agent.kill().await;
        agent.start_with_failpoint(failpoint);
        fleet.agent("the agent to be back", |a| a["connected"] == true).await;
        let change = json!({ "interval_s": 300 + generation });
        fleet.patch(&format!("{path}/storage"), &change).await;
        agent.ended().await;
        agent.start_again();
        until("the agent to have it", async || {
            (fleet.get(&path).await["applied_generation"] == generation).then_some(())
        })
        .await;
    }
}

on_both!(a_schedule_is_in_force_and_survives, a_schedule_survives_every_death);
