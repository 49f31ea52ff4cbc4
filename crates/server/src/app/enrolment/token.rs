//! Judging what was presented as a token.
//!
//! *Invariant:* whatever is wrong with it (unknown, malformed, expired, used up, revoked), the
//! work is the same: one look-up of the token, one Argon2id or one HMAC, with a statement one
//! look-up of an earlier registration. The answer is the same too.

use argosy_domain::{
    agent::Agent,
    digest::Sha256,
    id::{OrgId, TokenId},
    token::{EnrolmentToken, TokenStatus},
};
use argosy_wire::token::Secret32;

use super::request::{Presented, Registration};
use crate::app::{
    App,
    error::{AppError, AppResult},
};

/// What came of it.
pub(super) struct Judged {
    /// The token, where it admits this machine.
    pub(super) token: Option<EnrolmentToken>,
    /// The organisation whose record keeps a refusal.
    pub(super) org: OrgId,
    /// The agent that the same statement made before.
    pub(super) earlier: Option<Agent>,
}

/// Looked up when the request names no token, so that naming none costs the same.
const NO_TOKEN: &str = "none";

impl App {
    pub(super) async fn judge_token(&self, registration: &Registration) -> AppResult<Judged> {
        let unnamed: TokenId = NO_TOKEN.parse().map_err(AppError::internal)?;
        let id = match &registration.presented {
            Presented::Raw(token) => &token.id,
            Presented::Proof(proof) => &proof.id,
            Presented::Malformed => &unnamed,
        };
        // No connection is held while a hash is made: others need it meanwhile.
        let found = self.store().read("register").await?.tokens().find(id).await?;
        let hash = found.as_ref().map(|(_, secret)| secret.hash.as_str());
        let genuine = match &registration.presented {
            Presented::Raw(token) => self.hasher().verify(&token.secret, hash).await?,
            Presented::Malformed if registration.signed.is_none() => {
                self.hasher().verify(&Secret32::new([0; 32]), None).await?
            }
            Presented::Malformed => false,
            Presented::Proof(proof) => {
                let bytes = registration.signed.as_ref().map_or(&[][..], |signed| &signed.payload);
                let sealed = found.as_ref().map(|(_, secret)| secret.sealed_mac_key.as_slice());
                let key = match sealed {
                    Some(sealed) => self
                        .sealer()
                        .open_sealed("enrolment", id.as_str(), sealed)
                        .map_err(AppError::internal)?,
                    None => Secret32::new([0; 32]),
                };
                proof.verifies(&key, bytes) && found.is_some() && registration.signed.is_some()
            }
        };
        let org = found.as_ref().map_or_else(OrgId::default_org, |(token, _)| token.org.clone());
        let earlier = match &registration.signed {
            Some(signed) => {
                let digest = Sha256::of(&signed.payload);
                let mut reader = self.store().read("register").await?;
                reader.agents().find_by_statement(&org, id, digest).await?
            }
            None => None,
        };
        let token = found.map(|(token, _)| token).filter(|_| genuine).filter(|token| {
            match token.status(self.now()) {
                TokenStatus::Active => true,
                // A statement that has its seat may be repeated: the first answer may be lost.
                TokenStatus::UsedUp => earlier.is_some(),
                TokenStatus::Expired | TokenStatus::Revoked => false,
            }
        });
        let earlier = earlier.filter(|_| token.is_some());
        Ok(Judged { token, org, earlier })
    }
}
