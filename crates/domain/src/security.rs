//! Names of what deserves the eye of whoever guards the fleet.
//!
//! A security event tells of an attempt or of a suspicion; what was decided or done stands in the
//! audit log. *Invariant:* no name says that somebody is guilty, only what was seen.

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A kind of security event. A new one begins here, and in `docs/audit.md`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum SecurityKind { $($(#[$doc])* $name,)* }

        impl SecurityKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stored and public name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// The bare API key of an agent that has keys: somebody read it.
    BareKey = "bare_key";
    /// One source failed so often that it is refused for a while.
    BruteForce = "brute_force";
    /// A challenge that does not live: answered twice, too late, or another agent's.
    ChallengeReplayed = "challenge_replayed";
    /// Two bearers of one identity: a clone, or a restored snapshot.
    CloneDetected = "clone_detected";
    /// An agent spoke for another agent.
    CrossAgent = "cross_agent";
    /// Somebody reached for another account or organisation.
    CrossTenant = "cross_tenant";
    /// An agent came back with an older version than it had.
    Downgrade = "downgrade";
    /// The fingerprint that an operator compared is not the registered one.
    FingerprintMismatch = "fingerprint_mismatch";
    /// A handshake whose signature is not the agent's over exactly this.
    HandshakeForged = "handshake_forged";
    /// An agent came back with another journal, or with one that has forgotten: its disk was lost or
    /// put back. What became of its commands nobody can say.
    JournalLost = "journal_lost";
    /// Another machine than the enrolled one, or none, under an agent's identity.
    MachineMismatch = "machine_mismatch";
    /// A genuine session with a proof that is not its own: the token without the key.
    ProofMisused = "proof_misused";
    /// A proof that was used before.
    ProofReplayed = "proof_replayed";
    /// A result whose receipt is not the agent's word about exactly this command.
    ReceiptForged = "receipt_forged";
    /// An enrolment statement that its signer did not sign like this.
    StatementForged = "statement_forged";
    /// A machine that believes to speak with another server: somebody is between.
    WrongServer = "wrong_server";
}

impl SecurityKind {
    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_name_and_is_found_by_it() {
        for kind in SecurityKind::ALL {
            assert_eq!(SecurityKind::parse(kind.as_str()), Some(*kind));
        }
        assert_eq!(SecurityKind::parse("guilty"), None);
    }
}
