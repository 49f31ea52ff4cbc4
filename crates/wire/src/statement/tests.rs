//! Any statement of any purpose: read back as it was made, in one form only, and nothing of it can
//! be changed without anybody noticing.

use std::fmt::Debug;

use ed25519_dalek::SigningKey;
use proptest::{option, prelude::*, sample::Index};

use super::*;
use crate::sign::{InvalidSigned, Signed, read};

fn bytes() -> impl Strategy<Value = Bytes32> {
    any::<[u8; 32]>().prop_map(Fixed)
}

fn id<T: std::str::FromStr<Err: Debug> + Debug>() -> impl Strategy<Value = T> {
    "[A-Za-z0-9._:-]{1,40}".prop_map(|text| text.parse().unwrap())
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0i64..253_402_300_799_999_999).prop_map(Timestamp::from_micros)
}

/// Whatever people and hosts call things, with everything that JSON escapes.
fn words() -> impl Strategy<Value = String> {
    prop_oneof!["\\PC{0,30}", "[\"\\\\/\u{0}-\u{1f}\u{7f}\u{2028}\u{fffd}é𝄞a]{0,12}"]
}

prop_compose! {
    fn certificate()(
        server in bytes(), usage in words(), public_key in bytes(), serial in any::<i64>(),
        not_before in time(), not_after in time(),
    ) -> KeyCertificate {
        KeyCertificate { server, usage, public_key, serial, not_before, not_after }
    }
}

prop_compose! {
    fn enrolment()(
        pin in option::of(bytes()), token_id in id(), account in any::<i64>(),
        texts in (words(), words(), words(), words()), keys in (bytes(), bytes(), bytes()),
        optional in (option::of(bytes()), option::of(bytes()), option::of(bytes())),
    ) -> EnrolmentStatement {
        EnrolmentStatement {
            server: pin.map_or(ServerPin::Tofu, ServerPin::Pinned),
            token_id,
            name: texts.0,
            account_id: AccountId(account),
            identity_key: keys.0,
            encryption_key: keys.1,
            device_signing_key: optional.0,
            machine_id: optional.1,
            hostname: texts.1,
            platform: texts.2,
            version: texts.3,
            release_root_sha256: optional.2,
            nonce: keys.2,
        }
    }
}

prop_compose! {
    fn receipt_of_enrolment()(
        server in bytes(), agent_id in id(), enrolment_sha256 in bytes(), status in words(),
        time in time(),
    ) -> EnrolmentReceipt {
        EnrolmentReceipt { server, agent_id, enrolment_sha256, status, time }
    }
}

prop_compose! {
    fn challenge()(
        server in bytes(), agent in id(), agent_nonce in bytes(), challenge in bytes(),
        server_time in time(),
    ) -> ChallengeStatement {
        ChallengeStatement { server, agent, agent_nonce, challenge, server_time }
    }
}

prop_compose! {
    fn handshake()(
        server in bytes(), agent in id(), challenge in bytes(), machine_id in option::of(bytes()),
        version in words(), continuation in option::of(bytes()), nonce in option::of(words()),
    ) -> HandshakeStatement {
        HandshakeStatement { server, agent, challenge, machine_id, version, continuation, nonce }
    }
}

prop_compose! {
    fn hello()(
        agent in id(), session_sha256 in bytes(), journal_id in id(), high_water in any::<i64>(),
    ) -> HelloStatement {
        HelloStatement { agent, session_sha256, journal_id, high_water: CommandSeq(high_water) }
    }
}

prop_compose! {
    fn command()(
        server in bytes(), org in id(), agent in id(), command_id in id(), kind in words(),
        params_sha256 in bytes(), sequence in any::<i64>(), times in (time(), time(), time()),
    ) -> CommandStatement {
        CommandStatement {
            server, org, agent, command_id, kind, params_sha256,
            sequence: CommandSeq(sequence),
            not_before: times.0,
            expires_at: times.1,
            server_time: times.2,
        }
    }
}

prop_compose! {
    fn receipt()(
        agent in id(), command_id in id(), outcome in words(),
        digests in (bytes(), bytes(), bytes()), started_at in option::of(time()),
        ended_at in time(), boot_id in words(), journal_id in id(),
    ) -> ReceiptStatement {
        ReceiptStatement {
            agent, command_id, outcome, started_at, ended_at, boot_id, journal_id,
            params_sha256: digests.0,
            result_sha256: digests.1,
            policy_sha256: digests.2,
        }
    }
}

prop_compose! {
    fn cancel()(
        server in bytes(), org in id(), agent in id(), command_id in id(), kind in words(),
        params_sha256 in bytes(), sequence in any::<i64>(), server_time in time(),
    ) -> CancelStatement {
        let sequence = CommandSeq(sequence);
        CancelStatement {
            server, org, agent, command_id, kind, params_sha256, sequence, server_time,
        }
    }
}

prop_compose! {
    fn config()(
        server in bytes(), org in id(), agent in id(), generation in any::<i64>(),
        document_sha256 in bytes(), server_time in time(),
    ) -> ConfigStatement {
        let generation = Generation(generation);
        ConfigStatement { server, org, agent, generation, document_sha256, server_time }
    }
}

prop_compose! {
    fn result_ack()(
        server in bytes(), agent in id(), command_id in id(), result_sha256 in bytes(),
    ) -> ResultAckStatement {
        ResultAckStatement { server, agent, command_id, result_sha256 }
    }
}

prop_compose! {
    fn checkpoint()(
        server in bytes(), org in id(), position in any::<u64>(), link in bytes(), time in time(),
    ) -> AuditCheckpoint {
        AuditCheckpoint { server, org, position: ChainPosition(position), link, time }
    }
}

prop_compose! {
    fn successor()(
        server in bytes(), identity_key in bytes(), successor in bytes(), serial in any::<i64>(),
        time in time(),
    ) -> Successor {
        Successor { server, identity_key, successor, serial, time }
    }
}

prop_compose! {
    fn key_rotation()(
        server in bytes(), agent in id(), identity_key in bytes(), successor in bytes(),
        serial in any::<i64>(),
    ) -> KeyRotation {
        KeyRotation { server, agent, identity_key, successor, serial }
    }
}

/// What holds for one statement. The places say which bits are turned.
fn holds<S: Statement + Clone + PartialEq + Debug>(
    statement: &S,
    (payload_at, signature_at, key_at): (Index, Index, Index),
) -> Result<(), TestCaseError> {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public: Bytes32 = Fixed(key.verifying_key().to_bytes());
    let signed = Signed::new(&key, statement);
    prop_assert_eq!(signed.verify::<S>(&public), Ok(statement.clone()));
    prop_assert_eq!(read::<S>(&signed.payload), Ok(statement.clone()));
    prop_assert_eq!(&statement.clone().to_payload(), &signed.payload);

    let bit = payload_at.index(signed.payload.len() * 8);
    let mut turned = signed.clone();
    turned.payload[bit / 8] ^= 1 << (bit % 8);
    prop_assert_eq!(turned.verify::<S>(&public), Err(InvalidSigned::Signature));
    // Unsigned, other bytes never read as the same statement.
    prop_assert_ne!(read::<S>(&turned.payload), Ok(statement.clone()));

    let bit = signature_at.index(64 * 8);
    let mut turned = signed.clone();
    turned.signature.0[bit / 8] ^= 1 << (bit % 8);
    prop_assert_eq!(turned.verify::<S>(&public), Err(InvalidSigned::Signature));

    let bit = key_at.index(32 * 8);
    let mut other = public;
    other.0[bit / 8] ^= 1 << (bit % 8);
    prop_assert_eq!(signed.verify::<S>(&other), Err(InvalidSigned::Signature));
    Ok(())
}

macro_rules! each {
    ($($name:ident: $strategy:expr;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(64))]
            $(#[test]
            fn $name(statement in $strategy, at in any::<(Index, Index, Index)>()) {
                holds(&statement, at)?;
            })*
        }
    };
}

each! {
    any_key_certificate: certificate();
    any_enrolment: enrolment();
    any_enrolment_receipt: receipt_of_enrolment();
    any_challenge: challenge();
    any_handshake: handshake();
    any_hello: hello();
    any_command: command();
    any_receipt: receipt();
    any_result_ack: result_ack();
    any_audit_checkpoint: checkpoint();
    any_successor: successor();
    any_key_rotation: key_rotation();
    any_cancel: cancel();
    any_config: config();
}
