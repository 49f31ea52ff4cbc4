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
use argosy_wire::{
    bytes::Fixed,
    token::{Secret32, TokenProof},
};

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
/// Hashed, or compared with, where there is no secret.
const NO_SECRET: [u8; 32] = [0; 32];

impl App {
    pub(super) async fn judge_token(&self, registration: &Registration) -> AppResult<Judged> {
        let presented = &registration.presented;
        let unnamed: TokenId = NO_TOKEN.parse().map_err(AppError::internal)?;
        let id = presented.token_id().unwrap_or(&unnamed);
        // No connection is held while a hash is made: others need it meanwhile.
        let found = self.store().read("register").await?.tokens().find(id).await?;
        let fits = match presented {
            Presented::Raw(token) => {
                let hash = found.as_ref().map(|(_, secret)| secret.hash.as_str());
                let given = token.as_ref().map_or(&NO_SECRET, |token| token.secret.expose());
                self.hasher().verify(&Secret32::new(*given), hash).await?
            }
            Presented::Proof(proof) => {
                let bytes = registration.signed.as_ref().map_or(&[][..], |signed| &signed.payload);
                let sealer = self.sealer();
                let opened = found.as_ref().and_then(|(_, secret)| {
                    sealer.open_sealed("enrolment", id.as_str(), &secret.sealed_mac_key).ok()
                });
                // One key is as good as another for a proof that is refused anyway, and this one
                // is known to everybody: a token whose own key does not open is worth nothing.
                let has_key = opened.is_some();
                let key = opened.unwrap_or_else(|| Secret32::new(NO_SECRET));
                let mac = proof.as_ref().map_or(Fixed(NO_SECRET), |proof| proof.mac);
                let proof = TokenProof { id: id.clone(), mac };
                proof.verifies(&key, bytes) && has_key && registration.signed.is_some()
            }
        };
        let org = found.as_ref().map_or_else(OrgId::default_org, |(token, _)| token.org.clone());
        let genuine = fits && presented.token_id().is_some() && found.is_some();
        let genuine = genuine && self.lets_in(&org).await?;
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

    /// The organisation whose record keeps a refusal that comes before the token is judged.
    pub(super) async fn org_of(&self, presented: &Presented) -> AppResult<OrgId> {
        let Some(id) = presented.token_id() else { return Ok(OrgId::default_org()) };
        let found = self.store().read("register").await?.tokens().find(id).await?;
        Ok(found.map_or_else(OrgId::default_org, |(token, _)| token.org))
    }
}
