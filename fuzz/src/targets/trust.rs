//! What an agent believes of a server: answers of registration and handshake.

use std::sync::OnceLock;

use argosy_agent::{
    engine::ServerIdentity,
    trust::{shown_identity, verify_challenge, verify_receipt},
};
use argosy_domain::{id::AgentId, time::Timestamp};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    rpc::gateway::{BeginAuthHandshakeResponse, RegisterResponse, ServerKeys, SignedStatement},
    sign::{Signed, Statement, thumbprint},
    statement::{ChallengeStatement, EnrolmentReceipt, KeyCertificate},
};
use buffa::Message;
use ed25519_dalek::SigningKey;

/// A server with keys that everybody knows, and one agent of it.
pub(super) struct Cast {
    pub(super) identity: SigningKey,
    pub(super) command: SigningKey,
    pub(super) server: ServerIdentity,
    pub(super) agent: AgentId,
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_seconds(2_000_000_000)
}

pub(super) fn cast() -> Cast {
    let identity = SigningKey::from_bytes(&[1; 32]);
    let server = ServerIdentity::new(Fixed(identity.verifying_key().to_bytes()));
    let command = SigningKey::from_bytes(&[2; 32]);
    Cast { identity, command, server, agent: "a-1".parse().unwrap() }
}

impl Cast {
    /// The certificate of the command key, or of the same key for another use.
    pub(super) fn certificate(&self, usage: &str) -> Signed {
        let statement = KeyCertificate {
            server: *self.server.thumbprint(),
            usage: usage.to_owned(),
            public_key: Fixed(self.command.verifying_key().to_bytes()),
            serial: 1,
            not_before: Timestamp::from_seconds(1_900_000_000),
            not_after: Timestamp::from_seconds(2_100_000_000),
        };
        Signed::new(&self.identity, &statement)
    }

    fn challenge_statement(&self) -> ChallengeStatement {
        ChallengeStatement {
            server: *self.server.thumbprint(),
            agent: self.agent.clone(),
            agent_nonce: nonce(),
            challenge: Fixed([9; 32]),
            server_time: now(),
        }
    }

    fn receipt_statement(&self) -> EnrolmentReceipt {
        EnrolmentReceipt {
            server: *self.server.thumbprint(),
            agent_id: self.agent.clone(),
            enrolment_sha256: nonce(),
            status: "pending_approval".to_owned(),
            time: now(),
        }
    }

    fn keys(&self, certificate: Signed) -> ServerKeys {
        ServerKeys {
            identity_key: self.server.key().0.to_vec(),
            certificates: vec![travelling(certificate)],
            ..Default::default()
        }
    }

    fn begun(&self, usage: &str, statement: &ChallengeStatement) -> BeginAuthHandshakeResponse {
        let signed = Signed::new(&self.command, statement);
        BeginAuthHandshakeResponse {
            challenge: statement.challenge.0.to_vec(),
            signature: signed.signature.0.to_vec(),
            statement: signed.payload,
            server_keys: Some(self.keys(self.certificate(usage))).into(),
            ..Default::default()
        }
    }
}

fn nonce() -> Bytes32 {
    Fixed([8; 32])
}

pub(super) fn travelling(signed: Signed) -> SignedStatement {
    SignedStatement {
        payload: signed.payload,
        signature: signed.signature.0.to_vec(),
        ..Default::default()
    }
}

/// Honest answers, and answers that are signed and say something else.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let cast = cast();
    let honest = cast.challenge_statement();
    let another = ChallengeStatement { agent: "a-2".parse().unwrap(), ..honest.clone() };
    let late = ChallengeStatement { server_time: Timestamp::from_seconds(1), ..honest.clone() };
    let registered = |statement: &EnrolmentReceipt| {
        let answer = RegisterResponse {
            agent_id: cast.agent.to_string(),
            receipt: Some(travelling(Signed::new(&cast.identity, statement))).into(),
            server_keys: Some(cast.keys(cast.certificate("command"))).into(),
            ..Default::default()
        };
        [vec![1], answer.encode_to_vec()].concat()
    };
    let receipt = cast.receipt_statement();
    let other = EnrolmentReceipt { enrolment_sha256: Fixed([0; 32]), ..receipt.clone() };
    let begun = |usage, statement| [vec![0], cast.begun(usage, statement).encode_to_vec()].concat();
    vec![
        begun("command", &honest),
        begun("command", &another),
        begun("command", &late),
        begun("audit", &honest),
        registered(&receipt),
        registered(&other),
    ]
}

/// Whatever arrives, nothing is believed but what the pinned server said to this agent now.
pub(super) fn check(input: &[u8]) {
    static CAST: OnceLock<Cast> = OnceLock::new();
    let cast = CAST.get_or_init(cast);
    let Some((selector, bytes)) = input.split_first() else { return };
    if selector % 2 == 0 {
        let Ok(answer) = BeginAuthHandshakeResponse::decode_from_slice(bytes) else { return };
        if let Some(keys) = answer.server_keys.as_option() {
            pinned(keys, cast.server.thumbprint());
        }
        let verdict = verify_challenge(&cast.server, &answer, &cast.agent, &nonce());
        if let Ok((statement, server)) = verdict {
            assert_eq!(
                server.thumbprint(),
                cast.server.thumbprint(),
                "another server was believed"
            );
            assert_eq!(statement, cast.challenge_statement(), "another challenge was believed");
            assert_eq!(answer.statement, statement.to_payload());
            assert_eq!(answer.challenge, statement.challenge.0);
        }
    } else {
        let Ok(answer) = RegisterResponse::decode_from_slice(bytes) else { return };
        let Some(receipt) = answer.receipt.as_option() else { return };
        if let Ok(statement) = verify_receipt(&cast.server, receipt, &nonce(), &cast.agent) {
            assert_eq!(statement, cast.receipt_statement(), "another receipt was believed");
        }
    }
}

fn pinned(keys: &ServerKeys, pin: &Bytes32) {
    if let Ok(identity) = shown_identity(keys, Some(pin)) {
        assert_eq!(identity.thumbprint(), pin);
        assert_eq!(thumbprint(identity.key()), *pin);
    }
    if let Ok(identity) = shown_identity(keys, None) {
        assert_eq!(identity.key().0.as_slice(), keys.identity_key.as_slice());
    }
}
