//! An agent in the test's hands: it speaks the protocol, and every part of what it says can be
//! changed before it is said.

use argosy_config::host::OsEntropy;
use argosy_domain::{
    entropy::random_bytes,
    id::{AccountId, AgentId},
    time::{Clock as _, Timestamp},
};
use argosy_wire::{
    bytes::{Bytes32, Fixed, decode, encode},
    dpop::{self, ProofRequest},
    sign::{Purpose, Signed, Statement as _, sign_payload},
    statement::{ChallengeStatement, EnrolmentStatement, HandshakeStatement, ServerPin},
    token::TokenString,
};
use ed25519_dalek::SigningKey;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    http::Answer,
    server::{OtherOrganisation, TestServer},
};

/// An agent's keys and what the server told it.
#[derive(Clone)]
pub struct TestAgent {
    /// Identity key.
    pub key: SigningKey,
    /// Public part of the encryption key.
    pub encryption_key: Bytes32,
    /// Shown in the statement and at handshakes.
    pub machine_id: Option<Bytes32>,
    /// Name.
    pub name: String,
    /// Set once registered.
    pub agent_id: String,
    /// Set once registered.
    pub api_key: String,
    /// From the last handshake.
    pub continuation: Option<String>,
    /// From the last handshake.
    pub session: String,
    /// The newest DPoP nonce.
    pub nonce: String,
    /// What it says to be: signed at enrolment and at handshakes.
    pub version: String,
}

impl TestAgent {
    /// An agent with fresh keys.
    pub fn new(name: &str) -> Self {
        Self {
            key: SigningKey::from_bytes(&random_bytes(&OsEntropy)),
            encryption_key: Fixed(random_bytes(&OsEntropy)),
            machine_id: None,
            name: name.to_owned(),
            agent_id: String::new(),
            api_key: String::new(),
            continuation: None,
            session: String::new(),
            nonce: String::new(),
            version: "0.1.0".to_owned(),
        }
    }

    /// Raw identity key.
    pub fn public_key(&self) -> Bytes32 {
        Fixed(self.key.verifying_key().to_bytes())
    }

    /// The statement that this agent would sign for a token.
    pub fn statement(&self, token: &TokenString) -> EnrolmentStatement {
        EnrolmentStatement {
            server: token.pin.map_or(ServerPin::Tofu, ServerPin::Pinned),
            token_id: token.id.clone(),
            name: self.name.clone(),
            account_id: AccountId(1),
            identity_key: self.public_key(),
            encryption_key: self.encryption_key,
            device_signing_key: None,
            machine_id: self.machine_id,
            hostname: "test-host".to_owned(),
            platform: "linux-amd64".to_owned(),
            version: self.version.clone(),
            release_root_sha256: None,
            nonce: Fixed(random_bytes(&OsEntropy)),
        }
    }

    /// The body of a registration with a proof of the token.
    pub fn registration(&self, token: &str) -> Value {
        let token = TokenString::parse(token).unwrap();
        let signed = Signed::new(&self.key, &self.statement(&token));
        registration_body(&self.name, &token.prove(&signed.payload).to_text(), &signed)
    }

    /// Registers and keeps id and API key.
    pub async fn register(&mut self, server: &TestServer, token: &str) -> Answer {
        let body = self.registration(token);
        let answer = server.client.post_anonymous("/api/v1/agents/register", &body).await;
        if answer.status == 201 {
            self.agent_id = answer.text("agent_id");
            self.api_key = answer.body["api_key"].as_str().unwrap_or_default().to_owned();
        }
        answer
    }

    /// Registers with a fresh token and is approved.
    pub async fn admitted(server: &TestServer, name: &str) -> Self {
        let mut agent = Self::new(name);
        let token = server.token(json!({})).await;
        agent.register(server, &token).await.expect(201);
        server.decide(&agent.agent_id, "approve", json!({})).await.expect(200);
        agent
    }

    /// Admitted, with a session.
    pub async fn in_session(server: &TestServer, name: &str) -> Self {
        let mut agent = Self::admitted(server, name).await;
        agent.handshake(server).await.expect(200);
        agent
    }

    /// Admitted to another organisation, with a session.
    pub async fn in_session_of(server: &TestServer, other: &OtherOrganisation, name: &str) -> Self {
        let mut agent = Self::new(name);
        let (client, key) = (&server.client, other.admin_key.as_str());
        let token = client.post("/api/v1/bootstrap-tokens", key, &json!({ "name": "t" })).await;
        let token = TokenString::parse(&token.text("token")).unwrap();
        let account_id = AccountId(other.account_id);
        let statement = EnrolmentStatement { account_id, ..agent.statement(&token) };
        let signed = Signed::new(&agent.key, &statement);
        let body = registration_body(name, &token.prove(&signed.payload).to_text(), &signed);
        let made = client.post_anonymous("/api/v1/agents/register", &body).await;
        (agent.agent_id, agent.api_key) = (made.text("agent_id"), made.text("api_key"));
        let path = format!("/api/v1/agents/{}/approve", agent.agent_id);
        client.post(&path, key, &json!({})).await.expect(200);
        agent.handshake(server).await.expect(200);
        agent
    }

    /// First half of the handshake.
    pub async fn begin(&self, server: &TestServer) -> Answer {
        let body = json!({
            "api_key": self.api_key,
            "identity_key": self.public_key().to_string(),
            "agent_nonce": encode(&random_bytes::<32>(&OsEntropy)),
        });
        server.client.post_anonymous("/api/v1/agents/handshake/begin", &body).await
    }

    /// The handshake statement that answers a challenge.
    pub fn handshake_statement(&self, challenge: &Value) -> HandshakeStatement {
        let payload = decode(challenge["statement"].as_str().unwrap()).unwrap();
        let statement: ChallengeStatement = argosy_wire::sign::read(&payload).unwrap();
        HandshakeStatement {
            server: statement.server,
            agent: statement.agent,
            challenge: statement.challenge,
            machine_id: self.machine_id,
            version: self.version.clone(),
            continuation: self.continuation.as_ref().map(|text| text.parse().unwrap()),
            nonce: None,
        }
    }

    /// The body of the second half, signed by this agent for `purpose`.
    pub fn completion(&self, statement: &HandshakeStatement, purpose: Purpose) -> Value {
        let signature = sign_payload(&self.key, purpose, &statement.to_payload());
        json!({
            "agent_id": self.agent_id,
            "challenge": statement.challenge.to_string(),
            "signature": signature.to_string(),
            "machine_id": statement.machine_id.map(|id| id.to_string()),
            "version": statement.version,
            "continuation": statement.continuation.map(|value| value.to_string()),
        })
    }

    /// Second half of the handshake, with any body; keeps session and continuation.
    pub async fn complete(&mut self, server: &TestServer, body: &Value) -> Answer {
        let answer = server.client.post_anonymous("/api/v1/agents/handshake/complete", body).await;
        if answer.status == 200 {
            self.session = answer.text("session_token");
            self.continuation = Some(answer.text("continuation"));
            self.nonce = answer.text("dpop_nonce");
        }
        answer
    }

    /// The whole handshake.
    pub async fn handshake(&mut self, server: &TestServer) -> Answer {
        let begun = self.begin(server).await;
        if begun.status != 200 {
            return begun;
        }
        let statement = self.handshake_statement(&begun.body);
        let body = self.completion(&statement, Purpose::Handshake);
        self.complete(server, &body).await
    }

    /// A proof for one call.
    pub fn proof(&self, server: &TestServer, method: &str, path: &str) -> String {
        let url = format!("{}{path}", server.url);
        self.proof_for(&url, method, &self.session, Some(&self.nonce), server.clock.now())
    }

    /// A proof about anything.
    pub fn proof_for(
        &self,
        url: &str,
        method: &str,
        token: &str,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> String {
        let request = ProofRequest { method, url, token, nonce };
        dpop::make(&self.key, request, &random_bytes(&OsEntropy), now).unwrap()
    }

    /// A call under the session, with a fresh proof.
    pub async fn call(
        &mut self,
        server: &TestServer,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Answer {
        let proof = self.proof(server, method.as_str(), path);
        self.call_with(server, method, path, body, &proof).await
    }

    /// A call under the session, with any proof.
    pub async fn call_with(
        &mut self,
        server: &TestServer,
        method: Method,
        path: &str,
        body: Option<&Value>,
        proof: &str,
    ) -> Answer {
        let authorization = format!("DPoP {}", self.session);
        let machine_id = self.machine_id.map(|id| id.to_string());
        let mut headers = vec![("authorization", authorization.as_str()), ("dpop", proof)];
        headers.extend(machine_id.as_deref().map(|id| ("x-machine-id", id)));
        let answer = server.client.send(method, path, &headers, body).await;
        if let Some(nonce) = answer.headers.get("dpop-nonce") {
            self.nonce = nonce.to_str().unwrap().to_owned();
        }
        answer
    }

    /// A heartbeat under the session.
    pub async fn heartbeat(&mut self, server: &TestServer) -> Answer {
        self.call(server, Method::POST, "/api/v1/agents/heartbeat", Some(&json!({}))).await
    }

    /// The id as the domain knows it.
    pub fn id(&self) -> AgentId {
        self.agent_id.parse().unwrap()
    }
}

/// The body of a registration with a statement.
pub fn registration_body(name: &str, token: &str, signed: &Signed) -> Value {
    json!({
        "name": name,
        "bootstrap_token": token,
        "statement": encode(&signed.payload),
        "statement_signature": signed.signature.to_string(),
    })
}
