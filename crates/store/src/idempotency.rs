//! Writes that carried an idempotency key, so that whoever repeats one gets the first answer and
//! nothing happens twice.
//!
//! A claim is taken before a write begins. *Invariant:* whatever is committed [`within`] a claim
//! marks it in the same transaction, and is not committed where another attempt has the claim by
//! then: of all attempts of one write, one takes effect.

use argosy_domain::{digest::Sha256, id::OrgId, time::Timestamp};

use crate::{
    conn::Conn,
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    value::Row,
};

const TABLE: &str = "idempotent_writes";

tokio::task_local! {
    static CLAIM: Claim;
}

/// A write as its caller asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedWrite {
    /// The caller's organisation.
    pub org: OrgId,
    /// Who asks.
    pub caller: String,
    /// The key that the caller chose.
    pub key: String,
    /// Of everything that the request says.
    pub request_sha256: Sha256,
}

/// The right to carry a write out, until another attempt takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The organisation.
    pub org: OrgId,
    /// Who asks.
    pub caller: String,
    /// The key.
    pub key: String,
    attempt: i64,
}

/// What is known of a write when it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Nothing: carry it out.
    Taken(Claim),
    /// The key was used for another request.
    Another,
    /// Another attempt is at it.
    Running,
    /// It was carried out; what was answered, where that was kept.
    Done(Option<Vec<u8>>),
    /// The organisation has as many as are kept.
    Full,
}

/// Bounds of what is kept.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    /// Now.
    pub now: Timestamp,
    /// What began before this is forgotten.
    pub kept_since: Timestamp,
    /// An attempt that began before this, and committed nothing, is given up.
    pub given_up_before: Timestamp,
    /// Writes of one organisation.
    pub writes_max: u32,
}

selection! {
    select = "idempotent_writes",
    "org_id, caller, idempotency_key, request_sha256, attempt, started_at, carried_out,
    answer"
}

aggregate! {
    /// Writes with an idempotency key.
    IdempotentWrites
}

impl IdempotentWrites<'_, ReadWrite> {
    /// Takes the claim on a write, or says why not.
    pub async fn claim(
        &mut self,
        asked: &AskedWrite,
        keeping: Keeping,
    ) -> Result<Claimed, StoreError> {
        let sql = "INSERT INTO idempotent_writes (org_id, caller, idempotency_key, request_sha256,
            attempt, started_at, carried_out) VALUES ($1, $2, $3, $4, 1, $5, FALSE)
            ON CONFLICT (org_id, caller, idempotency_key) DO NOTHING";
        let query = self.conn.query(TABLE, sql).bind(&asked.org).bind(asked.caller.as_str());
        let query = query.bind(asked.key.as_str()).bind(asked.request_sha256).bind(keeping.now);
        if !query.changed().await? {
            return self.claim_again(asked, keeping).await;
        }
        let claim = claim_of(asked, 1);
        if self.count(&asked.org).await? > i64::from(keeping.writes_max) {
            self.forget(&claim, true).await?;
            return Ok(Claimed::Full);
        }
        Ok(Claimed::Taken(claim))
    }

    async fn claim_again(
        &mut self,
        asked: &AskedWrite,
        keeping: Keeping,
    ) -> Result<Claimed, StoreError> {
        let sql = select!("WHERE org_id = $1 AND caller = $2 AND idempotency_key = $3");
        let query = self.conn.query(TABLE, sql).bind(&asked.org).bind(asked.caller.as_str());
        let row = query.bind(asked.key.as_str()).fetch_optional().await?;
        // Forgotten since a moment ago: the next try finds nothing in its way.
        let Some(row) = row else { return Ok(Claimed::Running) };
        let held = Held::read(&row)?;
        let over = held.started_at < keeping.kept_since;
        if !over {
            if held.request_sha256 != asked.request_sha256 {
                return Ok(Claimed::Another);
            }
            if held.carried_out {
                return Ok(Claimed::Done(held.answer));
            }
            if held.started_at >= keeping.given_up_before {
                return Ok(Claimed::Running);
            }
        }
        let sql = "UPDATE idempotent_writes SET attempt = attempt + 1, request_sha256 = $5,
            started_at = $6, carried_out = FALSE, answer = NULL
            WHERE org_id = $1 AND caller = $2 AND idempotency_key = $3 AND attempt = $4
            AND carried_out = $7";
        let query = self.conn.query(TABLE, sql).bind(&asked.org).bind(asked.caller.as_str());
        let query = query.bind(asked.key.as_str()).bind(held.attempt).bind(asked.request_sha256);
        let taken = query.bind(keeping.now).bind(held.carried_out).changed().await?;
        let claim = claim_of(asked, held.attempt + 1);
        Ok(if taken { Claimed::Taken(claim) } else { Claimed::Running })
    }

    async fn count(&mut self, org: &OrgId) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) AS n FROM idempotent_writes WHERE org_id = $1";
        self.conn.query(TABLE, sql).bind(org).fetch_one().await?.get("n")
    }

    /// Keeps what was answered; without an answer, only that the write was carried out. False when
    /// another attempt has the claim.
    pub async fn keep(&mut self, claim: &Claim, answer: Option<&[u8]>) -> Result<bool, StoreError> {
        let sql = "UPDATE idempotent_writes SET carried_out = TRUE, answer = $5
            WHERE org_id = $1 AND caller = $2 AND idempotency_key = $3 AND attempt = $4";
        let query = self.conn.query(TABLE, sql).bind(&claim.org).bind(claim.caller.as_str());
        let query = query.bind(claim.key.as_str()).bind(claim.attempt);
        query.bind(answer).changed().await
    }

    /// Gives the claim up: the next request with the key begins anew. What was `carried_out` stays
    /// unless that is to be forgotten too.
    pub async fn forget(&mut self, claim: &Claim, carried_out: bool) -> Result<bool, StoreError> {
        let sql = "DELETE FROM idempotent_writes
            WHERE org_id = $1 AND caller = $2 AND idempotency_key = $3 AND attempt = $4
            AND (carried_out = FALSE OR $5)";
        let query = self.conn.query(TABLE, sql).bind(&claim.org).bind(claim.caller.as_str());
        let query = query.bind(claim.key.as_str()).bind(claim.attempt);
        query.bind(carried_out).changed().await
    }

    /// Forgets what began before `kept_since`. Answers how many.
    pub async fn purge(&mut self, kept_since: Timestamp) -> Result<u64, StoreError> {
        let sql = "DELETE FROM idempotent_writes WHERE started_at < $1";
        self.conn.query(TABLE, sql).bind(kept_since).execute().await
    }
}

fn claim_of(asked: &AskedWrite, attempt: i64) -> Claim {
    let AskedWrite { org, caller, key, .. } = asked.clone();
    Claim { org, caller, key, attempt }
}

/// A row, whoever has it.
struct Held {
    request_sha256: Sha256,
    attempt: i64,
    started_at: Timestamp,
    carried_out: bool,
    answer: Option<Vec<u8>>,
}

impl Held {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            request_sha256: row.get("request_sha256")?,
            attempt: row.get("attempt")?,
            started_at: row.get("started_at")?,
            carried_out: row.get("carried_out")?,
            answer: row.optional("answer")?,
        })
    }
}

/// Runs a write: what it commits, it commits under the claim.
pub async fn within<F: Future>(claim: Claim, write: F) -> F::Output {
    CLAIM.scope(claim, write).await
}

/// Marks the claim that a transaction is committed under, if there is one.
pub(crate) async fn mark(conn: &mut Conn) -> Result<(), StoreError> {
    let Ok(claim) = CLAIM.try_with(Claim::clone) else { return Ok(()) };
    let sql = "UPDATE idempotent_writes SET carried_out = TRUE
        WHERE org_id = $1 AND caller = $2 AND idempotency_key = $3 AND attempt = $4";
    let query = conn.query(TABLE, sql).bind(&claim.org).bind(claim.caller.as_str());
    let marked = query.bind(claim.key.as_str()).bind(claim.attempt).changed().await?;
    if marked { Ok(()) } else { Err(StoreError::Conflict { what: "idempotency_claim" }) }
}
