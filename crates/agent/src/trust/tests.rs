//! Servers that lie in one point each.

use argosy_domain::time::Timestamp;
use argosy_wire::{sign::Statement, statement::KeyCertificate};
use ed25519_dalek::SigningKey;

use super::*;

const NOW: i64 = 1_000;

struct Server {
    identity: SigningKey,
    command: SigningKey,
}

fn public(key: &SigningKey) -> Bytes32 {
    Fixed(key.verifying_key().to_bytes())
}

fn wire<S: Statement>(key: &SigningKey, statement: &S) -> gateway::SignedStatement {
    let signed = Signed::new(key, statement);
    gateway::SignedStatement {
        payload: signed.payload,
        signature: signed.signature.0.to_vec(),
        ..Default::default()
    }
}

fn server() -> Server {
    Server { identity: SigningKey::from_bytes(&[1; 32]), command: SigningKey::from_bytes(&[2; 32]) }
}

impl Server {
    fn identity(&self) -> ServerIdentity {
        ServerIdentity::new(public(&self.identity))
    }

    fn certificate(&self) -> KeyCertificate {
        KeyCertificate {
            server: *self.identity().thumbprint(),
            usage: "command".into(),
            public_key: public(&self.command),
            serial: 1,
            not_before: Timestamp::from_seconds(NOW - 10),
            not_after: Timestamp::from_seconds(NOW + 10),
        }
    }

    fn challenge(&self) -> ChallengeStatement {
        ChallengeStatement {
            server: *self.identity().thumbprint(),
            agent: agent(),
            agent_nonce: nonce(),
            challenge: Fixed([5; 32]),
            server_time: Timestamp::from_seconds(NOW),
        }
    }

    fn answer(
        &self,
        certificate: &KeyCertificate,
        challenge: &ChallengeStatement,
    ) -> gateway::BeginAuthHandshakeResponse {
        let signed = Signed::new(&self.command, challenge);
        let keys = gateway::ServerKeys {
            identity_key: public(&self.identity).0.to_vec(),
            certificates: vec![wire(&self.identity, certificate)],
            ..Default::default()
        };
        gateway::BeginAuthHandshakeResponse {
            challenge: vec![5; 32],
            signature: signed.signature.0.to_vec(),
            statement: signed.payload,
            server_keys: Some(keys).into(),
            ..Default::default()
        }
    }

    fn honest(&self) -> gateway::BeginAuthHandshakeResponse {
        self.answer(&self.certificate(), &self.challenge())
    }
}

fn agent() -> AgentId {
    "a-1".parse().unwrap()
}

fn nonce() -> Bytes32 {
    Fixed([7; 32])
}

fn verdict(answer: &gateway::BeginAuthHandshakeResponse) -> Result<(), Distrust> {
    verify_challenge(&server().identity(), answer, &agent(), &nonce()).map(drop)
}

#[test]
fn the_pinned_server_is_believed() {
    assert_eq!(verdict(&server().honest()), Ok(()));
}

#[test]
fn another_server_is_not_believed_whatever_it_signs() {
    let other = Server { identity: SigningKey::from_bytes(&[9; 32]), ..server() };
    let error = verdict(&other.honest()).unwrap_err();
    assert!(matches!(error, Distrust::OtherServer { .. }), "{error}");
}

#[test]
fn a_command_key_counts_only_with_a_certificate_for_that_use_and_time() {
    let server = server();
    let challenge = server.challenge();
    let with = |certificate: KeyCertificate| verdict(&server.answer(&certificate, &challenge));
    let good = || server.certificate();
    assert_eq!(with(KeyCertificate { usage: "audit".into(), ..good() }), Err(Distrust::NoProof));
    let others = KeyCertificate { public_key: Fixed([3; 32]), ..good() };
    assert_eq!(with(others), Err(Distrust::NoProof));
    let elsewhere = KeyCertificate { server: Fixed([3; 32]), ..good() };
    assert_eq!(with(elsewhere), Err(Distrust::NoProof));
    let over = KeyCertificate { not_after: Timestamp::from_seconds(NOW), ..good() };
    assert_eq!(with(over), Err(Distrust::Names { what: "challenge", field: "time" }));
    let mut forged = server.honest();
    forged.server_keys.get_or_insert_default().certificates = vec![wire(&server.command, &good())];
    assert_eq!(verdict(&forged), Err(Distrust::NoProof));
}

#[test]
fn a_challenge_for_somebody_else_is_refused() {
    let server = server();
    let with =
        |challenge: ChallengeStatement| verdict(&server.answer(&server.certificate(), &challenge));
    let names = |field| Err(Distrust::Names { what: "challenge", field });
    let good = || server.challenge();
    let another = ChallengeStatement { agent: "a-2".parse().unwrap(), ..good() };
    assert_eq!(with(another), names("agent"));
    let replayed = ChallengeStatement { agent_nonce: Fixed([8; 32]), ..good() };
    assert_eq!(with(replayed), names("nonce"));
    let swapped = ChallengeStatement { challenge: Fixed([8; 32]), ..good() };
    assert_eq!(with(swapped), names("challenge"));
}

#[test]
fn a_receipt_holds_for_its_own_enrolment_only() {
    let server = server();
    let identity = server.identity();
    let good = EnrolmentReceipt {
        server: *identity.thumbprint(),
        agent_id: agent(),
        enrolment_sha256: Fixed([6; 32]),
        status: "approved".into(),
        time: Timestamp::from_seconds(NOW),
    };
    let check = |receipt: &gateway::SignedStatement, digest: u8| {
        verify_receipt(&identity, receipt, &Fixed([digest; 32]), &agent())
    };
    assert_eq!(check(&wire(&server.identity, &good), 6), Ok(good.clone()));
    assert!(check(&wire(&server.identity, &good), 7).is_err());
    assert!(check(&wire(&server.command, &good), 6).is_err());
    assert_eq!(
        check(&gateway::SignedStatement::default(), 6),
        Err(Distrust::Missing("enrolment receipt"))
    );
}
