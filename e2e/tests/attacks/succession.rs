//! Attack 12: the server's identity key changes. Without a succession that old and new key signed
//! nobody follows; with one agents do, however many they missed, and nobody goes back.

use std::sync::Arc;

use argosy_agent::{
    credentials::{Registered, SecretText},
    deps::Deps,
    keys::Keys,
    session::{Applicant, Opened, handshake},
    trust::{Distrust, TrustedCallError},
};
use argosy_config::host::OsEntropy;
use argosy_domain::id::AccountId;
use argosy_e2e::{
    agent::TestAgent,
    database::{Place, raw},
    on_both,
    server::TestServer,
};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    rpc::gateway::BeginAuthHandshakeRequest,
    sign::{Purpose, thumbprint},
    token::TokenString,
};
use connectrpc::ConnectError;
use serde_json::{Value, json};

use crate::gateway::{self, Down};

const ROTATE: &str = "/api/v1/keys/rotate";

/// An agent as it is shipped, with what it keeps.
pub(crate) struct Kept {
    keys: Keys,
    registered: Registered,
}

impl Kept {
    /// Enrolled and approved, knowing the server by its present identity.
    pub(crate) async fn admitted(server: &TestServer, name: &str) -> Self {
        let keys = Keys::generate(&OsEntropy);
        let mut agent = TestAgent::new(name);
        agent.key = (*keys.identity()).clone();
        agent.encryption_key = keys.encryption_public();
        let token = server.token(json!({ "auto_approve": true })).await;
        agent.register(server, &token).await.expect(201);
        let identity = server.app.keyring().identity_public();
        let shown = server.agent(&agent.agent_id).await;
        let registered = Registered {
            server_url: server.url.clone(),
            server_thumbprint: thumbprint(&identity),
            server_identity_key: identity,
            server_serial: 0,
            command_serial: 0,
            agent_id: agent.id(),
            name: name.to_owned(),
            api_key: SecretText::new(agent.api_key.clone()),
            machine_id: None,
            fingerprint: shown["fingerprint"].as_str().unwrap().parse().unwrap(),
            statement_sha256: Fixed([0; 32]),
            account_id: AccountId::DEFAULT,
            org: None,
            continuation: None,
        };
        Self { keys, registered }
    }

    /// A handshake; what it brings is kept.
    pub(crate) async fn shake(&mut self, server: &TestServer) -> Result<Opened, TrustedCallError> {
        let deps = Deps { clock: Arc::new(server.clock.clone()), entropy: Arc::new(OsEntropy) };
        self.shake_with(server, &deps).await
    }

    /// The first half of a handshake, and no more.
    pub(crate) async fn begin(&self, server: &TestServer) -> Result<(), ConnectError> {
        let begin = BeginAuthHandshakeRequest {
            api_key: self.registered.api_key.expose().to_owned(),
            identity_pubkey: self.keys.identity_public().0.to_vec(),
            agent_nonce: vec![7; 32],
            ..Default::default()
        };
        gateway::rpc(server).begin_auth_handshake(begin).await.map(drop)
    }

    /// The same by a clock and randomness of the test's choice.
    pub(crate) async fn shake_with(
        &mut self,
        server: &TestServer,
        deps: &Deps,
    ) -> Result<Opened, TrustedCallError> {
        let applicant =
            Applicant { registered: &self.registered, keys: &self.keys, machine_id: None };
        let opened = handshake(&gateway::link(server), &applicant, deps).await?;
        let continuation = Some(opened.continuation);
        let kept = Registered { continuation, ..self.registered.clone() };
        self.registered = kept.knowing(&opened.server);
        Ok(opened)
    }

    async fn distrusts(&mut self, server: &TestServer) -> Distrust {
        let before = self.registered.clone();
        let error = self.shake(server).await.unwrap_err();
        assert_eq!(self.registered, before);
        let TrustedCallError::Distrust(distrust) = error else { panic!("believed: {error}") };
        distrust
    }
}

async fn succeed(server: &TestServer) -> Bytes32 {
    let body = json!({ "uses": ["identity"] });
    server.client.post(ROTATE, &server.admin_key, &body).await.expect(200);
    server.app.keyring().thumbprint()
}

async fn well_known(server: &TestServer) -> Value {
    server.client.get("/.well-known/argosy/keys", "").await.expect(200)
}

async fn agents_follow_however_many_they_missed(place: Place) {
    let server = TestServer::start(&place).await;
    let mut diligent = Kept::admitted(&server, "diligent").await;
    let mut asleep = Kept::admitted(&server, "asleep").await;
    let first = server.app.keyring().thumbprint();
    diligent.shake(&server).await.unwrap();
    for serial in 2..5 {
        let pin = succeed(&server).await;
        let opened = diligent.shake(&server).await.unwrap();
        assert_eq!((*opened.server.thumbprint(), opened.server.serial()), (pin, serial));
        assert_eq!(diligent.registered.server_identity_key, server.app.keyring().identity_public());
    }
    let opened = asleep.shake(&server).await.unwrap();
    assert_eq!(*opened.server.thumbprint(), server.app.keyring().thumbprint());
    // The salt of the machine id stays the one under which the agent enrolled.
    assert_eq!(asleep.registered.server_thumbprint, first);
    // Each step is in the audit log, with every key that came with it.
    let audited = server.audit("server.keys_rotated").await;
    assert_eq!(audited.len(), 3);
    let keys = json!({ "keys": ["identity-4", "command-4", "federation-4", "audit-4"] });
    assert!(audited.iter().any(|entry| entry["detail"] == keys), "{audited:?}");
    let shown = well_known(&server).await;
    assert_eq!(shown["successors"].as_array().unwrap().len(), 3);
    let listed = server.client.get("/api/v1/security/signing", &server.admin_key).await.expect(200);
    let keys = listed["keys"].as_array().unwrap();
    let identities: Vec<_> = keys.iter().filter(|key| key["use"] == "identity").collect();
    let told: Vec<_> = identities
        .iter()
        .map(|key| (key["status"].as_str().unwrap(), key["succession"].is_object()))
        .collect();
    let expected = [("retiring", false), ("retiring", true), ("retiring", true), ("active", true)];
    assert_eq!(told, expected);
    // What was certified under an identity that is gone is not shown to agents any more.
    assert_eq!(shown["certificates"].as_array().unwrap().len(), 3);
}

async fn sessions_and_streams_end_so_that_agents_learn_of_it(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = TestAgent::in_session(&server, "web-1").await;
    let rpc = gateway::rpc(&server);
    let options = gateway::session(&agent, &server, gateway::STREAM);
    let mut stream = gateway::open(&rpc, options, gateway::hello(&agent)).await.unwrap();
    succeed(&server).await;
    let reason = loop {
        match gateway::next(&mut stream).await.unwrap() {
            Some(Down::Goaway(goaway)) => break goaway.reason,
            Some(_) => {}
            None => panic!("closed without a word"),
        }
    };
    assert_eq!(reason, "session_ended");
    agent.heartbeat(&server).await.refused(401, "invalid_session");
    agent.handshake(&server).await.expect(200);
    agent.heartbeat(&server).await.expect(200);
}

async fn a_handshake_begun_before_a_succession_is_no_forgery(place: Place) {
    let server = TestServer::start(&place).await;
    let agent = TestAgent::in_session(&server, "web-1").await;
    let statement = agent.handshake_statement(&agent.begin(&server).await.expect(200));
    succeed(&server).await;
    let late = agent.completion(&statement, Purpose::Handshake);
    agent.clone().complete(&server, &late).await.refused(401, "handshake_refused");
    let forged = "/api/v1/security/events?kind=handshake_forged";
    let events = server.client.get(forged, &server.admin_key).await.expect(200);
    assert_eq!(events["items"], json!([]));
    let entries = server.audit("handshake.refused").await;
    let reason = "it was begun under an earlier identity of this server";
    assert_eq!(entries[0]["detail"]["reason"], reason);
    // It begins again.
    agent.clone().handshake(&server).await.expect(200);
}

async fn tokens_minted_before_still_enrol(place: Place) {
    let server = TestServer::start(&place).await;
    let token = server.token(json!({ "max_uses": 2 })).await;
    let old = TokenString::parse(&token).unwrap().pin.unwrap();
    let new = succeed(&server).await;
    assert_ne!(old, new);
    let mut agent = TestAgent::new("late");
    let answer = agent.register(&server, &token).await.expect(201);
    // The receipt is by the new identity, and the way there is shown with it.
    assert_eq!(answer["server_keys"]["thumbprint"], new.to_string());
    let links = answer["server_keys"]["successors"].as_array().unwrap();
    assert_eq!(links.len(), 1);
    let stranger = TestAgent::new("stranger");
    let mut parsed = TokenString::parse(&token).unwrap();
    parsed.pin = Some(Fixed([9; 32]));
    let body = stranger.registration(&parsed.reveal());
    let refused = server.client.post_anonymous("/api/v1/agents/register", &body).await;
    refused.refused(422, "invalid");
}

async fn nobody_follows_without_both_signatures(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = Kept::admitted(&server, "web-1").await;
    let pinned = server.app.keyring().thumbprint();
    let shown = succeed(&server).await;
    // The same new identity, with nobody's word for it.
    raw(
        &place,
        "INSERT INTO server_keys (key_use, serial, public_key, sealed_private, certificate,
            certificate_signature, not_before, created_at)
            SELECT 'kept', serial, public_key, sealed_private, certificate,
            certificate_signature, not_before, created_at FROM server_keys
            WHERE key_use = 'identity' AND serial = 2",
    )
    .await;
    raw(
        &place,
        "UPDATE server_keys SET certificate = NULL, certificate_signature = NULL
            WHERE key_use = 'identity' AND serial = 2",
    )
    .await;
    server.app.refresh_keys().await.unwrap();
    assert_eq!(well_known(&server).await["successors"], Value::Null);
    assert_eq!(agent.distrusts(&server).await, Distrust::OtherServer { shown, pinned });
    // A server whose succession is not what two keys signed does not even load its keys.
    raw(
        &place,
        "UPDATE server_keys SET certificate = (SELECT certificate FROM server_keys
            WHERE key_use = 'kept'), certificate_signature = (SELECT certificate_signature
            FROM server_keys WHERE key_use = 'command' AND serial = 2)
            WHERE key_use = 'identity' AND serial = 2",
    )
    .await;
    assert!(server.app.refresh_keys().await.is_err());
    // With the word of both it is the server that it was.
    raw(
        &place,
        "UPDATE server_keys SET certificate_signature = (SELECT certificate_signature
            FROM server_keys WHERE key_use = 'kept') WHERE key_use = 'identity' AND serial = 2",
    )
    .await;
    server.app.refresh_keys().await.unwrap();
    agent.shake(&server).await.unwrap();
}

/// What a thief of the old key can show to agents that have gone on.
async fn nobody_goes_back(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = Kept::admitted(&server, "web-1").await;
    succeed(&server).await;
    agent.shake(&server).await.unwrap();
    let (here, first) = (agent.registered.server(), agent.registered.server_thumbprint);
    // The store as it was before: the old identity again, and its command key.
    raw(&place, "DELETE FROM server_keys WHERE serial = 2 AND key_use <> 'session'").await;
    server.app.refresh_keys().await.unwrap();
    let pinned = *here.thumbprint();
    assert_eq!(agent.distrusts(&server).await, Distrust::OtherServer { shown: first, pinned });
    // Another successor of the old one, however high its serial.
    succeed(&server).await;
    succeed(&server).await;
    let distrust = agent.distrusts(&server).await;
    assert!(matches!(distrust, Distrust::OtherServer { .. }), "{distrust}");
}

/// A stolen command key is worth nothing to agents that have seen its successor.
async fn a_replaced_command_key_is_not_believed_again(place: Place) {
    let server = TestServer::start(&place).await;
    let mut agent = Kept::admitted(&server, "web-1").await;
    agent.shake(&server).await.unwrap();
    assert_eq!(agent.registered.command_serial, 0, "a first key needs no fence");
    let body = json!({ "uses": ["command"] });
    server.client.post(ROTATE, &server.admin_key, &body).await.expect(200);
    agent.shake(&server).await.unwrap();
    assert_eq!(agent.registered.command_serial, 2);
    raw(&place, "DELETE FROM server_keys WHERE serial = 2 AND key_use = 'command'").await;
    server.app.refresh_keys().await.unwrap();
    assert_eq!(agent.distrusts(&server).await, Distrust::NoProof);
    let naive = Registered { command_serial: 0, ..agent.registered.clone() };
    agent.registered = naive;
    agent.shake(&server).await.unwrap();
}

on_both!(
    agents_follow_however_many_they_missed,
    sessions_and_streams_end_so_that_agents_learn_of_it,
    a_handshake_begun_before_a_succession_is_no_forgery,
    tokens_minted_before_still_enrol,
    nobody_follows_without_both_signatures,
    nobody_goes_back,
    a_replaced_command_key_is_not_believed_again,
);
