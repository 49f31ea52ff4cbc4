//! Keys that an operator hands over: minted at approval, shown once, to nobody else.

use argosy_e2e::{agent::TestAgent, database::Place, on_both, server::TestServer};
use argosy_wire::rpc::admin::ConfirmAgentRequest;
use serde_json::{Value, json};

use super::{WAYS, Way, entry, register};
use crate::gateway;

/// A registration whose key an operator hands over.
fn by_hand(agent: &TestAgent, token: &str) -> Value {
    let mut body = agent.registration(token);
    body["key_delivery"] = "operator".into();
    body
}

/// Approves over REST or RPC and gives the key that is shown.
async fn approve(server: &TestServer, way: Way, agent_id: &str, fingerprint: &str) -> String {
    match way {
        Way::Rest => {
            let body = json!({ "fingerprint": fingerprint });
            server.decide(agent_id, "approve", body).await.text("api_key")
        }
        Way::Rpc => {
            let request = ConfirmAgentRequest {
                agent_id: agent_id.to_owned(),
                identity_fingerprint: fingerprint.to_owned(),
                ..Default::default()
            };
            let options = gateway::bearer(&server.admin_key);
            let admin = gateway::admin(server);
            let confirmed = admin.confirm_agent_with_options(request, options).await.unwrap();
            confirmed.into_owned().api_key.unwrap()
        }
    }
}

async fn the_key_is_shown_once_to_whoever_approves(place: Place) {
    let server = TestServer::start(&place).await;
    for way in WAYS {
        let mut agent = TestAgent::new(&format!("{way:?}"));
        let token = server.token(json!({ "require_proof": true })).await;
        let body = by_hand(&agent, &token);
        let taken = register(&server, way, &body).await.unwrap();
        assert_eq!((taken.status.as_str(), &taken.api_key), ("pending_approval", &None));
        // The same once more, as after a crash: the same agent, and no key either.
        let again = register(&server, way, &body).await.unwrap();
        assert_eq!((&again.agent_id, &again.api_key), (&taken.agent_id, &None));
        agent.agent_id = taken.agent_id;
        let fingerprint = taken.fingerprint.unwrap();
        agent.api_key = approve(&server, way, &agent.agent_id, &fingerprint).await;
        agent.handshake(&server).await.expect(200);
        agent.heartbeat(&server).await.expect(200);
        // Nobody is shown it again.
        server.decide(&agent.agent_id, "approve", json!({})).await.refused(409, "wrong_state");
        assert_eq!(register(&server, way, &body).await.unwrap().api_key, None);
        let entry = entry(&server, "agent.approved", &agent.agent_id).await;
        assert_eq!(entry["detail"]["key_delivery"], "operator");
        assert!(!entry.to_string().contains(&agent.api_key), "{entry}");
    }
}

/// A key that a person hands over needs a person, whatever the token says.
async fn nothing_approves_such_an_agent_by_itself(place: Place) {
    let server = TestServer::start(&place).await;
    let token = server.token(json!({ "auto_approve": true, "max_uses": 2 })).await;
    let agent = TestAgent::new("by-hand");
    let taken = register(&server, Way::Rest, &by_hand(&agent, &token)).await.unwrap();
    assert_eq!((taken.status.as_str(), taken.api_key), ("pending_approval", None));
    let mut other = TestAgent::new("direct").registration(&token);
    let taken = register(&server, Way::Rest, &other).await.unwrap();
    assert_eq!((taken.status.as_str(), taken.api_key.is_some()), ("approved", true));
    other["key_delivery"] = "by pigeon".into();
    let refusal = register(&server, Way::Rest, &other).await.unwrap_err();
    assert_eq!(refusal.field.as_deref(), Some("key_delivery"));
}

on_both!(the_key_is_shown_once_to_whoever_approves, nothing_approves_such_an_agent_by_itself);
