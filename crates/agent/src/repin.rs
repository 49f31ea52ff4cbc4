//! A new pin, because a person on this host says so: the server's key was lost or stolen, and no
//! succession leads from the known identity to the one that it has now (PROTOCOL §2).
//!
//! *Invariant:* nothing but the known identity changes: the agent keeps its id, keys, journal and the
//! salt of its machine id. Nothing changes before a person has seen both pins, or has given the new
//! one.

use argosy_wire::{bytes::Bytes32, rest::enrolment::ServerKeys, succession::Cosigned};

use crate::{
    credentials::Registered,
    engine::ServerIdentity,
    transport::FetchError,
    trust::{Distrust, led_to},
};

/// Why the pin stays what it is.
#[derive(Debug, thiserror::Error)]
pub enum RepinError {
    /// There is no pin to replace.
    #[error("this machine is not registered with a server")]
    NotRegistered,
    /// The server shows another identity than the one that was asked for.
    #[error("the server shows the identity {shown}, and {asked} was asked for")]
    OtherPin {
        /// Thumbprint that it shows.
        shown: Bytes32,
        /// Thumbprint that the person gave.
        asked: Bytes32,
    },
    /// Nobody said yes.
    #[error("nothing was changed: nobody confirmed the new pin")]
    Unconfirmed,
    /// The server's keys could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It shows no key.
    #[error(transparent)]
    Distrust(#[from] Distrust),
}

/// What a new pin would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposal {
    /// Thumbprint of the identity that is known.
    pub known: Bytes32,
    /// The identity that the server shows now.
    pub shown: ServerIdentity,
    /// It is the known one, or the known one's successor: no person is needed.
    pub proved: bool,
}

impl Proposal {
    /// What the server shows to an agent that knows it. `asked` is the pin that the person gave.
    pub fn new(
        registered: &Registered,
        keys: &ServerKeys,
        asked: Option<&Bytes32>,
    ) -> Result<Self, RepinError> {
        let key = keys.identity_key.parse().map_err(|_| Distrust::NoIdentity)?;
        let shown = ServerIdentity::new(key);
        if let Some(asked) = asked.filter(|asked| *asked != shown.thumbprint()) {
            return Err(RepinError::OtherPin { shown: *shown.thumbprint(), asked: *asked });
        }
        let known = registered.server();
        let links: Vec<Cosigned> =
            keys.successors.iter().filter_map(|link| Cosigned::try_from(link).ok()).collect();
        let proved = led_to(shown, &links, known.thumbprint(), known.serial());
        Ok(Self {
            known: *known.thumbprint(),
            shown: proved.as_ref().map_or(shown, |proved| *proved),
            proved: proved.is_ok(),
        })
    }

    /// The agent under its new pin. What was known of command keys is forgotten only with the
    /// identity that vouched for them: those of a server that begins anew begin anew, and under an
    /// identity that is known, or follows from one, a replaced command key stays replaced.
    pub fn accept(&self, registered: Registered) -> Registered {
        let serial = if self.proved { registered.command_serial } else { 0 };
        let shown = self.shown.with_command_serial(serial);
        registered.knowing(&shown)
    }
}

#[cfg(test)]
mod tests {
    use argosy_domain::{digest::Fingerprint, digest::Sha256, id::AccountId, time::Timestamp};
    use argosy_wire::{bytes::Fixed, sign::thumbprint, statement::Successor};
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::credentials::SecretText;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn public(seed: u8) -> Bytes32 {
        Fixed(key(seed).verifying_key().to_bytes())
    }

    fn pin(seed: u8) -> Bytes32 {
        thumbprint(&public(seed))
    }

    fn registered() -> Registered {
        Registered {
            server_url: "http://localhost:8080".into(),
            server_thumbprint: pin(1),
            server_identity_key: public(1),
            server_serial: 0,
            command_serial: 3,
            agent_id: "a1".parse().unwrap(),
            name: "web-1".into(),
            api_key: SecretText::new("agent_a1_secret".into()),
            machine_id: None,
            fingerprint: Fingerprint::of(Sha256::of(b"x")),
            statement_sha256: Fixed([4; 32]),
            account_id: AccountId::DEFAULT,
            org: None,
            continuation: Some(Fixed([5; 32])),
        }
    }

    fn keys(identity: u8, successors: Vec<Cosigned>) -> ServerKeys {
        ServerKeys {
            identity_key: public(identity).to_string(),
            thumbprint: pin(identity).to_string(),
            certificates: Vec::new(),
            successors: successors.iter().map(Cosigned::to_json).collect(),
        }
    }

    #[test]
    fn only_the_identity_changes() {
        let proposal = Proposal::new(&registered(), &keys(2, vec![]), None).unwrap();
        assert_eq!((proposal.known, *proposal.shown.thumbprint()), (pin(1), pin(2)));
        assert!(!proposal.proved);
        let expected =
            Registered { server_identity_key: public(2), command_serial: 0, ..registered() };
        assert_eq!(proposal.accept(registered()), expected);
    }

    #[test]
    fn another_pin_than_the_one_asked_for_is_refused() {
        let refused = Proposal::new(&registered(), &keys(2, vec![]), Some(&pin(3)));
        assert!(matches!(refused, Err(RepinError::OtherPin { .. })), "{refused:?}");
        Proposal::new(&registered(), &keys(2, vec![]), Some(&pin(2))).unwrap();
    }

    #[test]
    fn a_succession_needs_no_person() {
        let statement = Successor {
            server: pin(1),
            identity_key: public(1),
            successor: public(2),
            serial: 2,
            time: Timestamp::from_seconds(1),
        };
        let link = Cosigned::new(&key(1), &key(2), &statement);
        let proposal = Proposal::new(&registered(), &keys(2, vec![link]), None).unwrap();
        assert!(proposal.proved);
        let accepted = proposal.accept(registered());
        assert_eq!((accepted.server_serial, accepted.command_serial), (2, 3));
        let same = Proposal::new(&registered(), &keys(1, vec![]), None).unwrap();
        assert_eq!(same.accept(registered()), registered(), "and nothing that was known is lost");
        assert!(Proposal::new(&registered(), &keys(1, vec![]), None).unwrap().proved);
    }
}
