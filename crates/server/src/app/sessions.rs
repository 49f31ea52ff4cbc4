//! Session tokens: short-lived JWTs bound to the agent's key.
//!
//! *Invariant:* a token is good for nothing without a fresh proof by the key whose thumbprint it
//! carries, and dies with the agent's epoch.

use std::sync::Arc;

use argosy_domain::{
    agent::{Agent, Reach},
    audit::AuditAction,
    entropy::random_bytes,
    id::{AgentId, OrgId, SessionId},
    limits::SESSION_LIFE,
    review::ReviewReason,
    security::SecurityKind,
    time::Timestamp,
    version::Version,
};
use argosy_wire::{bytes, dpop, problem::Code};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    proofs,
    security::Sighting,
    versions::is_downgrade,
};

/// `typ` of a session token; no other JWT of ours has it.
const SESSION_TYPE: &str = "argosy-session+jwt";
const AUDIENCE: &str = "argosy-agent-api";
/// What is said of a proof that comes twice.
const PROOF_USED: &str = "the proof was used before";

#[derive(Debug, Serialize, Deserialize)]
struct Confirmation {
    jkt: String,
}

/// What a session token says (RFC 7519, RFC 7800).
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: AgentId,
    org: OrgId,
    sid: SessionId,
    epoch: i64,
    cnf: Confirmation,
    iat: i64,
    exp: i64,
    jti: String,
    /// Present where the session does not reach as far as the agent otherwise might.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

/// A session as it is handed to an agent.
#[derive(Debug, Clone)]
pub struct IssuedSession {
    /// The token.
    pub token: String,
    /// When it dies.
    pub expires_at: Timestamp,
    /// How far it reaches.
    pub reach: Reach,
}

/// A session call as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct SessionCall<'a> {
    /// The session token.
    pub token: &'a str,
    /// The DPoP proof.
    pub proof: &'a str,
    /// HTTP method; `POST` for every RPC.
    pub method: &'a str,
    /// Path of the request.
    pub path: &'a str,
    /// The salted machine id that the call shows.
    pub machine_id: Option<&'a str>,
    /// The version that the call shows.
    pub version: Option<&'a str>,
    /// The call opens a stream: its proof is remembered in the store too.
    pub opens_stream: bool,
}

/// A session that was proved.
#[derive(Debug, Clone)]
pub struct ProvedSession {
    /// The agent, approved or quarantined.
    pub agent: Arc<Agent>,
    /// The session.
    pub session: SessionId,
    /// When it ends.
    pub expires_at: Timestamp,
    /// How far it reaches.
    pub reach: Reach,
}

impl App {
    /// Makes a session, which holds once it is kept.
    pub(crate) fn mint_session(
        &self,
        agent: &Agent,
        version: &Version,
    ) -> AppResult<(IssuedSession, argosy_store::Session)> {
        let reach = self.reach_of(Some(&version.to_string()));
        let identity =
            agent.identity.as_ref().ok_or_else(|| AppError::new(Code::HandshakeRefused))?;
        let (now, id) = (self.now(), self.ids().fresh::<SessionId>());
        let expires_at = now.plus(SESSION_LIFE);
        let jkt = dpop::key_thumbprint(&bytes::Fixed(identity.identity_key)).to_string();
        let keyring = self.keyring();
        let claims = Claims {
            iss: keyring.thumbprint().to_string(),
            aud: AUDIENCE.to_owned(),
            sub: agent.id.clone(),
            org: agent.org.clone(),
            sid: id.clone(),
            epoch: agent.epoch,
            cnf: Confirmation { jkt: jkt.clone() },
            iat: now.as_seconds(),
            exp: expires_at.as_seconds(),
            jti: bytes::encode(&random_bytes::<16>(self.entropy())),
            scope: (reach == Reach::UpdateOnly).then(|| reach.as_str().to_owned()),
        };
        let secret = keyring.session_signer(now);
        let header = Header {
            typ: Some(SESSION_TYPE.to_owned()),
            kid: Some(secret.kid().to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        let key = EncodingKey::from_secret(secret.secret().expose());
        let token = jsonwebtoken::encode(&header, &claims, &key).map_err(AppError::internal)?;
        let session = argosy_store::Session {
            id,
            org: agent.org.clone(),
            agent: agent.id.clone(),
            jkt,
            epoch: agent.epoch,
            issued_at: now,
            expires_at,
            ended_at: None,
        };
        Ok((IssuedSession { token, expires_at, reach }, session))
    }

    /// The nonce for the next proof.
    pub fn dpop_nonce(&self) -> String {
        let (keyring, now) = (self.keyring(), self.now());
        proofs::current_nonce(keyring.session_signer(now).nonce_secret(), now)
    }

    /// Checks token, proof, and that the agent still stands.
    pub async fn prove_session(
        &self,
        origin: &Origin,
        call: SessionCall<'_>,
    ) -> AppResult<ProvedSession> {
        let outcome = self.prove(origin, call).await;
        outcome.map_err(|error| AppError { dpop_nonce: Some(self.dpop_nonce()), ..error })
    }

    async fn prove(&self, origin: &Origin, call: SessionCall<'_>) -> AppResult<ProvedSession> {
        let now = self.now();
        let claims = self.read_session(call.token, now)?;
        let proof = match self.check_proof(&call, &claims, now) {
            Ok(proof) => proof,
            Err(error) => return Err(self.note_misuse(origin, &claims, error).await),
        };
        let agent = self.standing(&claims.sub).await?;
        let own = |agent: &Arc<Agent>| agent.org == claims.org && agent.epoch == claims.epoch;
        let agent = agent.filter(own).ok_or_else(|| AppError::new(Code::InvalidSession))?;
        if let Err(error) = self.remember_proof(&agent.id, &proof, call.opens_stream, now).await {
            return Err(self.note_misuse(origin, &claims, error).await);
        }
        self.counted_agent(&agent.id)?;
        self.check_machine(origin, &agent, call.machine_id).await?;
        self.check_version(origin, &agent, call.version).await?;
        let expires_at = Timestamp::from_seconds(claims.exp);
        let shown = call.version.or(agent.version.as_deref());
        let reach = if claims.scope.is_some() { Reach::UpdateOnly } else { self.reach_of(shown) };
        Ok(ProvedSession { agent, session: claims.sid, expires_at, reach })
    }

    /// A genuine session with a proof that is not its own: whoever sends it has the token and not
    /// the key, or repeats what somebody else sent. To lack the nonce is no misuse. Gives the
    /// refusal back; a record that fails is the failure.
    async fn note_misuse(&self, origin: &Origin, claims: &Claims, error: AppError) -> AppError {
        if error.code != Code::InvalidProof {
            return error;
        }
        let kind = if error.detail == PROOF_USED {
            SecurityKind::ProofReplayed
        } else {
            SecurityKind::ProofMisused
        };
        let detail = json!({ "reason": error.detail, "session": claims.sid });
        let about = (&claims.org, &claims.sub);
        self.sighted(Sighting::of_agent(kind, about, origin, detail.clone()));
        if !self.misuses().is_news(&claims.sub, self.now()) {
            return error;
        }
        let event = Event {
            action: AuditAction::SessionRefused,
            org: &claims.org,
            target: Some(format!("agent:{}", claims.sub)),
            detail,
        };
        let recorded = self.record_alone("session.refused", "anonymous", origin, event).await;
        recorded.err().unwrap_or(error)
    }

    /// An agent that enrolled with a machine id shows it with every call. Another one, or none, is
    /// a copied state directory: the original goes on working, the copy gets nothing.
    async fn check_machine(
        &self,
        origin: &Origin,
        agent: &Agent,
        shown: Option<&str>,
    ) -> AppResult<()> {
        let enrolled = agent.identity.as_ref().and_then(|identity| identity.machine_id.as_deref());
        if enrolled.is_none() || enrolled == shown {
            return Ok(());
        }
        let detail = json!({ "shown": shown.is_some() });
        let (kind, about) = (SecurityKind::MachineMismatch, (&agent.org, &agent.id));
        self.sighted(Sighting::of_agent(kind, about, origin, detail.clone()));
        if self.mismatches().is_news(&agent.id, self.now()) {
            let event = Event {
                action: AuditAction::MachineMismatch,
                org: &agent.org,
                target: Some(format!("agent:{}", agent.id)),
                detail,
            };
            let actor = format!("agent:{}", agent.id);
            let machine_id = shown.filter(|shown| shown.parse::<bytes::Bytes32>().is_ok());
            let seen = self.appearance(origin, machine_id, None);
            let mut tx = self.store().write("session.machine_mismatch").await?;
            self.record(&mut tx, &actor, origin, event).await?;
            let reason = ReviewReason::MachineMismatch;
            // What is in memory does not know from where the agent proved its key last.
            let known = tx.agents().find(&agent.id).await?;
            self.flag_review(&mut tx, known.as_ref().unwrap_or(agent), reason, seen).await?;
            tx.commit().await?;
        }
        Err(AppError::new(Code::MachineMismatch))
    }

    /// A version that a call shows is one, and not below the recorded one.
    async fn check_version(
        &self,
        origin: &Origin,
        agent: &Agent,
        shown: Option<&str>,
    ) -> AppResult<()> {
        let Some(shown) = shown else { return Ok(()) };
        let shown: Version =
            shown.parse().map_err(|error| AppError::field("X-Agent-Version", error))?;
        if !is_downgrade(agent, &shown) {
            return Ok(());
        }
        let detail = json!({ "recorded": agent.version, "shown": shown });
        let (kind, about) = (SecurityKind::Downgrade, (&agent.org, &agent.id));
        self.sighted(Sighting::of_agent(kind, about, origin, detail.clone()));
        if self.mismatches().is_news(&agent.id, self.now()) {
            let actor = format!("agent:{}", agent.id);
            let event = Event {
                action: AuditAction::DowngradeRefused,
                org: &agent.org,
                target: Some(actor.clone()),
                detail,
            };
            self.record_alone("session.downgrade", &actor, origin, event).await?;
        }
        Err(AppError::new(Code::Downgrade))
    }

    /// Which session a token that was proved names, and when it ends.
    pub(crate) fn session_in(&self, token: &str) -> AppResult<(SessionId, Timestamp)> {
        let claims = self.read_session(token, self.now())?;
        Ok((claims.sid, Timestamp::from_seconds(claims.exp)))
    }

    fn read_session(&self, token: &str, now: Timestamp) -> AppResult<Claims> {
        let invalid = || AppError::new(Code::InvalidSession);
        let keyring = self.keyring();
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
        if header.typ.as_deref() != Some(SESSION_TYPE) {
            return Err(invalid());
        }
        let kid = header.kid.as_deref().ok_or_else(invalid)?;
        let secret = keyring.session_verifier(kid, now).ok_or_else(invalid)?;
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_audience(&[AUDIENCE]);
        rules.set_issuer(&[keyring.thumbprint().to_string()]);
        // Time is the injected clock's, so it is checked here and not by the library.
        rules.validate_exp = false;
        let key = DecodingKey::from_secret(secret.secret().expose());
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &rules).map_err(|_| invalid())?;
        if now.as_seconds() >= claims.claims.exp {
            return Err(AppError::because(Code::InvalidSession, "the session has expired"));
        }
        Ok(claims.claims)
    }

    /// Checks that a proof is for exactly this call, and fresh. Whether it was used before is asked
    /// once the agent is known to stand.
    fn check_proof(
        &self,
        call: &SessionCall<'_>,
        claims: &Claims,
        now: Timestamp,
    ) -> AppResult<dpop::Proof> {
        let refused = |why: &str| AppError::because(Code::InvalidProof, why);
        let proof = dpop::read(call.proof).map_err(|error| refused(&error.to_string()))?;
        if dpop::key_thumbprint(&proof.key).to_string() != claims.cnf.jkt {
            return Err(refused("the proof is by another key than the session's"));
        }
        if proof.claims.ath != dpop::token_hash(call.token) {
            return Err(refused("the proof is for another session token"));
        }
        if proof.claims.htm != call.method {
            return Err(refused("the proof is for another method"));
        }
        let path = proof_path(&proof.claims.htu, &self.rules().public_urls);
        if path != Some(call.path) {
            let detail = "the proof's htu is not a public URL of this server and this path; \
                          set public_url to the address that agents use";
            return Err(refused(detail));
        }
        let keyring = self.keyring();
        match &proof.claims.nonce {
            Some(nonce) if proofs::nonce_is_fresh(keyring.nonce_secrets(now), now, nonce) => {
                Ok(proof)
            }
            Some(_) | None => Err(AppError::new(Code::UseDpopNonce)),
        }
    }

    async fn remember_proof(
        &self,
        agent: &AgentId,
        proof: &dpop::Proof,
        opens_stream: bool,
        now: Timestamp,
    ) -> AppResult<()> {
        let used = || AppError::because(Code::InvalidProof, PROOF_USED);
        let digest = proofs::proof_digest(&proof.key.0, &proof.claims.jti);
        match self.replays().remember(agent, digest, now) {
            proofs::Seen::First => {}
            proofs::Seen::Again => return Err(used()),
            proofs::Seen::Full => return Err(AppError::rate_limited(1)),
        }
        if opens_stream {
            let mut tx = self.store().write("session.stream_proof").await?;
            let until = now.plus(argosy_domain::limits::DPOP_NONCE_BUCKET * 2);
            let fresh = tx.sessions().remember_proof(digest, until).await?;
            tx.commit().await?;
            if !fresh {
                return Err(used());
            }
        }
        Ok(())
    }
}

/// The path of `htu` when it begins with one of the public origins; query and fragment are cut
/// off (RFC 9449, section 4.3).
fn proof_path<'a>(htu: &'a str, public_urls: &[String]) -> Option<&'a str> {
    let end = htu.find(['?', '#']).unwrap_or(htu.len());
    let htu = &htu[..end];
    public_urls
        .iter()
        .filter_map(|origin| htu.strip_prefix(origin.as_str()))
        .find(|path| path.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::proof_path;

    #[test]
    fn only_public_origins_count() {
        let urls = ["http://localhost:8080".to_owned(), "https://fleet.example".to_owned()];
        assert_eq!(proof_path("https://fleet.example/a/b?x=1", &urls), Some("/a/b"));
        assert_eq!(proof_path("http://localhost:8080/a#f", &urls), Some("/a"));
        for other in ["http://fleet.example/a", "https://fleet.example.evil/a", "/a", ""] {
            assert_eq!(proof_path(other, &urls), None, "{other}");
        }
    }
}
