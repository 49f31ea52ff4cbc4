//! Attack 8a: a server that is not the pinned one.

use std::sync::Arc;

use argosy_agent::{
    credentials::{Registered, SecretText},
    deps::Deps,
    keys::Keys,
    session::{Applicant, handshake},
    trust::{Distrust, TrustedCallError},
};
use argosy_config::host::OsEntropy;
use argosy_domain::{
    entropy::random_bytes,
    id::AccountId,
    limits::{CHALLENGE_LIFE, CHALLENGES_MAX},
};
use argosy_e2e::{agent::TestAgent, database::Place, on_both, server::TestServer};
use argosy_wire::{
    bytes::{Bytes32, Fixed, decode},
    sign::{InvalidSigned, Purpose, Signed, sign_payload, thumbprint},
    statement::{ChallengeStatement, KeyCertificate},
    token::TokenString,
};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

use crate::gateway;

/// Two servers that both know the agent; the agent pinned the first.
struct TwoServers {
    pinned: TestServer,
    other: TestServer,
    keys: Keys,
    /// What the agent believes, except that the address and the API key are the other's.
    registered: Registered,
}

/// Registers keys at a server and has them approved.
async fn enrol(server: &TestServer, keys: &Keys) -> TestAgent {
    let mut agent = TestAgent::new("web-1");
    agent.key = (*keys.identity()).clone();
    agent.encryption_key = keys.encryption_public();
    let token = server.token(json!({ "auto_approve": true })).await;
    agent.register(server, &token).await.expect(201);
    agent
}

async fn server_keys(server: &TestServer) -> Value {
    server.client.get("/.well-known/argosy/keys", "").await.expect(200)
}

impl TwoServers {
    async fn start(place: &Place) -> Self {
        let pinned = TestServer::start(place).await;
        let folder = place.data_dir.join("other");
        let other = Place { data_dir: folder, database_url: None };
        let other = TestServer::start(&other).await;
        let keys = Keys::generate(&OsEntropy);
        enrol(&pinned, &keys).await;
        let there = enrol(&other, &keys).await;
        let identity: Bytes32 =
            server_keys(&pinned).await["identity_key"].as_str().unwrap().parse().unwrap();
        let registered = Registered {
            server_url: other.url.clone(),
            server_thumbprint: thumbprint(&identity),
            server_identity_key: identity,
            server_serial: 0,
            command_serial: 0,
            agent_id: there.id(),
            name: there.name.clone(),
            api_key: SecretText::new(there.api_key.clone()),
            machine_id: None,
            fingerprint: other.agent(&there.agent_id).await["fingerprint"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap(),
            statement_sha256: Fixed([0; 32]),
            account_id: AccountId::DEFAULT,
            org: None,
            continuation: None,
        };
        Self { pinned, other, keys, registered }
    }

    /// The agent's own handshake with the other server.
    async fn shake(&self, registered: &Registered) -> Result<(), TrustedCallError> {
        let applicant = Applicant { registered, keys: &self.keys, machine_id: None };
        let deps = Deps { clock: Arc::new(self.other.clock.clone()), entropy: Arc::new(OsEntropy) };
        handshake(&gateway::link(&self.other), &applicant, &deps).await.map(drop)
    }
}

/// The agent as it is shipped, against a server that knows it and is not the pinned one.
async fn the_agent_signs_nothing_for_another_server(place: Place) {
    let two = TwoServers::start(&place).await;
    let error = two.shake(&two.registered).await.unwrap_err();
    let TrustedCallError::Distrust(Distrust::OtherServer { shown, pinned }) = error else {
        panic!("not distrusted: {error}");
    };
    assert_eq!(pinned, two.registered.server_thumbprint);
    assert_eq!(shown.to_string(), server_keys(&two.other).await["thumbprint"]);
    // Nothing arrived after the challenge: it is still open, and nothing was refused.
    let there = TestAgent {
        key: (*two.keys.identity()).clone(),
        api_key: two.registered.api_key.expose().to_owned(),
        agent_id: two.registered.agent_id.to_string(),
        ..TestAgent::new("web-1")
    };
    for _ in 1..CHALLENGES_MAX {
        there.begin(&two.other).await.expect(200);
    }
    there.begin(&two.other).await.refused(429, "rate_limited");
    for server in [&two.other, &two.pinned] {
        assert_eq!(server.audit("handshake.refused").await, [Value::Null; 0]);
    }
    // It was the pin and nothing else: with the pin of that server the same handshake succeeds.
    two.other.clock.advance(CHALLENGE_LIFE);
    let keys = server_keys(&two.other).await;
    let identity: Bytes32 = keys["identity_key"].as_str().unwrap().parse().unwrap();
    let repinned = Registered {
        server_thumbprint: thumbprint(&identity),
        server_identity_key: identity,
        ..two.registered.clone()
    };
    two.shake(&repinned).await.unwrap();
}

/// What a false server could put together from what it and the true one sign.
async fn no_mixture_of_two_servers_passes_for_the_pinned_one(place: Place) {
    let pinned = TestServer::start(&place).await;
    let folder = place.data_dir.join("other");
    let other = TestServer::start(&Place { data_dir: folder, database_url: None }).await;
    let agent = TestAgent::admitted(&pinned, "web-1").await;
    let token = TokenString::parse(&pinned.token(json!({})).await).unwrap();
    let pin = token.pin.expect("a minted token carries the pin");
    let certificate = |keys: &Value| {
        let all = keys["certificates"].as_array().unwrap().iter().map(|certificate| {
            let part = |field: &str| certificate[field].as_str().unwrap().to_owned();
            let payload = decode(&part("payload")).unwrap();
            Signed { payload, signature: part("signature").parse().unwrap() }
        });
        all.into_iter()
            .find(|signed| {
                let read = argosy_wire::sign::read::<KeyCertificate>(&signed.payload);
                read.unwrap().usage == "command"
            })
            .unwrap()
    };
    let key = |keys: &Value| -> Bytes32 { keys["identity_key"].as_str().unwrap().parse().unwrap() };
    let (true_keys, false_keys) = (server_keys(&pinned).await, server_keys(&other).await);
    assert_eq!(thumbprint(&key(&true_keys)), pin);
    assert_ne!(thumbprint(&key(&false_keys)), pin);
    // The false server's certificate is nobody's under the pinned key.
    let honest: KeyCertificate = certificate(&true_keys).verify(&key(&true_keys)).unwrap();
    let foreign = certificate(&false_keys).verify::<KeyCertificate>(&key(&true_keys));
    assert_eq!(foreign, Err(InvalidSigned::Signature));
    // Its challenge does not verify under the key that the pinned server certified.
    let begun = agent.begin(&pinned).await.expect(200);
    let payload = decode(begun["statement"].as_str().unwrap()).unwrap();
    let genuine =
        Signed { payload, signature: begun["signature"].as_str().unwrap().parse().unwrap() };
    let challenge: ChallengeStatement = genuine.verify(&honest.public_key).unwrap();
    assert_eq!((challenge.server, challenge.agent.to_string()), (pin, agent.agent_id.clone()));
    let own = SigningKey::from_bytes(&random_bytes(&OsEntropy));
    let signature = sign_payload(&own, Purpose::Challenge, &genuine.payload);
    let forged = Signed { payload: genuine.payload.clone(), signature };
    assert_eq!(
        forged.verify::<ChallengeStatement>(&honest.public_key),
        Err(InvalidSigned::Signature)
    );
    // The identity key signs no challenges, and the command key no certificates.
    assert!(genuine.verify::<ChallengeStatement>(&key(&true_keys)).is_err());
    assert!(certificate(&true_keys).verify::<KeyCertificate>(&honest.public_key).is_err());
}

on_both!(
    the_agent_signs_nothing_for_another_server,
    no_mixture_of_two_servers_passes_for_the_pinned_one,
);
