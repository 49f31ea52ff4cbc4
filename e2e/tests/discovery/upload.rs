//! Chunks of a sync job by RPC: the same run as by REST, whichever way each of them comes.

use argosy_e2e::{
    agent::TestAgent,
    database::Place,
    on_both,
    rpc::{code, link, session},
    server::TestServer,
};
use argosy_wire::{
    problem::Code,
    rpc::gateway::{UploadInventoryRequest, UploadInventoryResponse},
};
use connectrpc::ConnectError;
use serde_json::{Value, json};

use super::{INGEST, SYNC, get, named, vpc};

const UPLOAD: &str = "/agentgateway.v1.AgentGatewayService/UploadInventory";

/// Sends chunks in one upload of an agent with a session.
async fn upload(
    server: &TestServer,
    agent: &TestAgent,
    chunks: &[Value],
) -> Result<UploadInventoryResponse, ConnectError> {
    let message = |chunk: &Value| UploadInventoryRequest {
        subsystem: "discovery".to_owned(),
        report: chunk.to_string().into_bytes(),
        ..Default::default()
    };
    let messages: Vec<_> = chunks.iter().map(message).collect();
    let options = session(agent, server, UPLOAD);
    let rpc = link(server);
    let sent = rpc.rpc().upload_inventory_with_options(futures::stream::iter(messages), options);
    sent.await.map(|answer| answer.into_owned())
}

async fn chunks_come_by_upload_as_they_come_by_rest(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "collector").await;
    let scope = json!({ "provider": "aws", "regions": ["eu"] });
    let run = [
        json!({ "chunk": 0, "resources": [vpc("a", "eu"), vpc("b", "eu")] }),
        json!({ "chunk": 1, "resources": [vpc("c", "eu")] }),
        json!({ "chunk": 2, "resources": null, "final": true, "scope": scope }),
    ];
    // An agent with keys takes a job for any agent of its account with its next run.
    let asked = server.client.post(SYNC, &server.admin_key, &json!({})).await.expect(202);
    let told = upload(&server, &agent, &run).await.unwrap();
    assert_eq!(
        (&asked["items"][0]["agent_id"], &asked["items"][0]["id"]),
        (&Value::Null, &json!(told.sync_job_id))
    );
    assert_eq!((told.accepted_count, told.resources_found, told.resources_created), (3, 3, 3));
    let shown = get(&server, &format!("sync/{}", told.sync_job_id)).await;
    assert_eq!((&shown["status"], &shown["chunks"]), (&json!("completed"), &json!(3)));
    // A chunk that came is known, whichever way it comes again.
    let mut again = run[1].clone();
    again["sync_job_id"] = told.sync_job_id.clone().into();
    let answer = agent.call(&server, reqwest::Method::POST, INGEST, Some(&again)).await;
    assert_eq!(answer.expect(200)["resources_created"], 1);
    // A job begun by REST goes on by upload; and whole runs need no number.
    let begun = json!({ "chunk": 0, "resources": [vpc("a", "eu")] });
    let begun = agent.call(&server, reqwest::Method::POST, INGEST, Some(&begun)).await.expect(200);
    let end = json!({ "chunk": 1, "sync_job_id": begun["job_id"], "final": true, "scope": scope });
    let told = upload(&server, &agent, &[end]).await.unwrap();
    assert_eq!((json!(told.sync_job_id), told.resources_deleted), (begun["job_id"].clone(), 2));
    let whole = json!({ "resources": [vpc("a", "eu"), vpc("b", "eu")] });
    let told = upload(&server, &agent, &[whole.clone(), whole]).await.unwrap();
    assert_eq!((told.accepted_count, told.resources_updated, told.resources_found), (2, 1, 4));
    // What is wrong is named, and what came before it is durable.
    let bad = json!({ "chunk": 1, "resources": [{ "provider": "aws", "resource_type": "vpc",
        "resource_id": "" }] });
    let first = json!({ "chunk": 0, "resources": [vpc("d", "us")] });
    let refused = upload(&server, &agent, &[first, bad]).await.unwrap_err();
    assert_eq!(code(&refused), Code::Invalid);
    assert!(refused.message.as_deref().unwrap().starts_with("resources[0].resource_id"));
    assert!(named(&server, "active").await.contains(&"d".to_owned()));
    let foreign = json!({ "account_id": 99, "resources": [] });
    let refused = upload(&server, &agent, &[foreign]).await.unwrap_err();
    assert_eq!(code(&refused), Code::Forbidden);
    server.decide(&agent.agent_id, "quarantine", json!({})).await.expect(200);
    let refused = upload(&server, &agent, &[json!({ "resources": [] })]).await.unwrap_err();
    assert_eq!(code(&refused), Code::Quarantined);
}

on_both!(chunks_come_by_upload_as_they_come_by_rest,);
