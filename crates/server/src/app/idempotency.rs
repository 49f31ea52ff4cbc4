//! Writes with an idempotency key: carried out once, answered the same again for a day
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! *Invariant:* what a write commits marks its claim in the same transaction, so a repeated request
//! finds either nothing done or all of it. Answers may hold secrets that are shown once, so they are
//! sealed under the master key, and only the caller who was answered gets them again.

use std::time::Duration;

use argosy_domain::{
    access::Caller,
    digest::Sha256,
    limits::{IDEMPOTENCY_KEY_CHARS_MAX, IDEMPOTENT_ANSWER_BYTES_MAX, IDEMPOTENT_WRITES_MAX},
};
use argosy_store::{AskedWrite, Claim, Claimed, Keeping, within};
use argosy_wire::{bytes, problem::Code};
use serde::{Deserialize, Serialize};

use super::{
    App,
    error::{AppError, AppResult},
    principals::principal,
};

/// How long a write is remembered.
const KEPT: Duration = Duration::from_secs(24 * 3_600);
/// After that long without a trace an attempt is taken for dead: its server stopped.
const GIVEN_UP: Duration = Duration::from_secs(120);
const PURPOSE: &str = "idempotent-answer";

/// An answer as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// HTTP status.
    pub status: u16,
    /// Of the body; absent where there is none.
    pub content_type: Option<String>,
    /// The body, base64url.
    body: String,
}

impl KeptAnswer {
    /// An answer with a body.
    pub fn new(status: u16, content_type: Option<String>, body: &[u8]) -> Self {
        Self { status, content_type, body: bytes::encode(body) }
    }

    /// The body.
    pub fn body(&self) -> Option<Vec<u8>> {
        bytes::decode(&self.body).ok()
    }
}

/// What is to be done about a write.
pub enum Admitted {
    /// Carry it out under this claim.
    Run(Claim),
    /// It was carried out, and this was the answer.
    Repeat(KeptAnswer),
}

/// How a write ended.
pub enum Ended {
    /// Well, with an answer that can be given again.
    Answered(KeptAnswer),
    /// Well, with an answer that is given once only.
    Unrepeatable,
    /// Refused: nothing was done.
    Refused,
    /// Nobody can say: what was committed counts.
    Failed,
}

/// The key within the quotes of a structured header (RFC 8941), or as it stands.
fn read_key(header: &str) -> AppResult<&str> {
    let quoted = header.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let key = quoted.unwrap_or(header);
    let fits = (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len());
    if fits && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(key);
    }
    let limit = format!("must be 1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible characters");
    Err(AppError::field("Idempotency-Key", limit))
}

/// What an answer is sealed for: no other write opens it.
fn seal_id(asked: &AskedWrite) -> String {
    let AskedWrite { org, caller, key, .. } = asked;
    format!("{org} {caller} {key}")
}

fn asked(caller: &Caller, header: &str, request_sha256: Sha256) -> AppResult<AskedWrite> {
    let nobody = || AppError::new(Code::Forbidden);
    Ok(AskedWrite {
        org: caller.org().ok_or_else(nobody)?.clone(),
        caller: principal(caller).ok_or_else(nobody)?,
        key: read_key(header)?.to_owned(),
        request_sha256,
    })
}

impl App {
    /// Takes the claim on a write that shows `header` as its idempotency key, or finds out what
    /// came of it. `request_sha256` is of everything that the request says.
    pub async fn claim_write(
        &self,
        caller: &Caller,
        header: &str,
        request_sha256: Sha256,
    ) -> AppResult<Admitted> {
        let asked = asked(caller, header, request_sha256)?;
        let now = self.now();
        let keeping = Keeping {
            now,
            kept_since: now.minus(KEPT),
            given_up_before: now.minus(GIVEN_UP),
            writes_max: IDEMPOTENT_WRITES_MAX,
        };
        let mut tx = self.store().write("idempotency.claim").await?;
        let claimed = tx.idempotent_writes().claim(&asked, keeping).await?;
        tx.commit().await?;
        match claimed {
            Claimed::Taken(claim) => Ok(Admitted::Run(claim)),
            Claimed::Done(Some(sealed)) => self.opened(&asked, &sealed).map(Admitted::Repeat),
            Claimed::Done(None) => Err(AppError::new(Code::IdempotencyAnswerLost)),
            Claimed::Another => Err(AppError::new(Code::IdempotencyKeyReused)),
            Claimed::Running => Err(AppError {
                retry_after_s: Some(1),
                ..AppError::new(Code::IdempotencyInProgress)
            }),
            Claimed::Full => Err(AppError {
                detail: format!(
                    "the organisation has {IDEMPOTENT_WRITES_MAX} writes with an idempotency key \
                     within a day"
                ),
                ..AppError::rate_limited(60)
            }),
        }
    }

    /// An answer that was sealed under another master key is lost.
    fn opened(&self, asked: &AskedWrite, sealed: &[u8]) -> AppResult<KeptAnswer> {
        let lost = || AppError::new(Code::IdempotencyAnswerLost);
        let opened = self.sealer().open_bytes(PURPOSE, &seal_id(asked), sealed);
        let opened = opened.map_err(|_| lost())?;
        serde_json::from_slice(&opened).map_err(|_| lost())
    }

    /// Runs a write under its claim.
    pub async fn under_claim<F: Future>(&self, claim: &Claim, write: F) -> F::Output {
        within(claim.clone(), write).await
    }

    /// Notes how a write ended. What fails here is logged: the write itself has its outcome.
    pub async fn settle_write(&self, claim: &Claim, ended: Ended) {
        if let Err(error) = self.try_settle(claim, ended).await {
            tracing::warn!(%error, "the outcome of a write with an idempotency key was not kept");
        }
    }

    async fn try_settle(&self, claim: &Claim, ended: Ended) -> AppResult<()> {
        let sealed = match &ended {
            Ended::Answered(answer) => self.sealed(claim, answer)?,
            Ended::Unrepeatable | Ended::Refused | Ended::Failed => None,
        };
        let mut tx = self.store().write("idempotency.settle").await?;
        match ended {
            Ended::Answered(_) | Ended::Unrepeatable => {
                tx.idempotent_writes().keep(claim, sealed.as_deref()).await?
            }
            Ended::Refused => tx.idempotent_writes().forget(claim, true).await?,
            Ended::Failed => tx.idempotent_writes().forget(claim, false).await?,
        };
        Ok(tx.commit().await?)
    }

    /// A large answer is not kept.
    fn sealed(&self, claim: &Claim, answer: &KeptAnswer) -> AppResult<Option<Vec<u8>>> {
        let plain = serde_json::to_vec(answer).map_err(AppError::internal)?;
        if plain.len() > IDEMPOTENT_ANSWER_BYTES_MAX {
            return Ok(None);
        }
        let id = seal_id(&AskedWrite {
            org: claim.org.clone(),
            caller: claim.caller.clone(),
            key: claim.key.clone(),
            request_sha256: Sha256::of(&[]),
        });
        let sealed = self.sealer().seal(self.entropy(), PURPOSE, &id, &plain);
        sealed.map(Some).map_err(AppError::internal)
    }

    /// Forgets writes of more than a day ago. Answers how many.
    pub async fn purge_idempotent_writes(&self) -> AppResult<u64> {
        let mut tx = self.store().write("idempotency.purge").await?;
        let gone = tx.idempotent_writes().purge(self.now().minus(KEPT)).await?;
        tx.commit().await?;
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_with_and_without_quotes() {
        assert_eq!(read_key("\"8e03978e\"").unwrap(), "8e03978e");
        assert_eq!(read_key("8e03978e").unwrap(), "8e03978e");
        let longest = "x".repeat(IDEMPOTENCY_KEY_CHARS_MAX);
        assert_eq!(read_key(&longest).unwrap(), longest);
        for bad in ["", "\"\"", "a b", "ä", &format!("{longest}x")] {
            assert!(read_key(bad).is_err(), "{bad}");
        }
    }
}
