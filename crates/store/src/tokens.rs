//! Enrolment tokens. Of the secret a slow hash is kept, and a sealed key for proofs.

use argosy_domain::{
    id::{OrgId, TokenId},
    time::Timestamp,
    token::{EnrolmentToken, Seats},
};

use crate::{
    error::StoreError,
    handle::{ReadWrite, aggregate, selection},
    page::{Page, PageRequest, Select, page_of},
    value::Row,
};

const TABLE: &str = "enrolment_tokens";
const ORDER: (&str, &str) = ("created_at", "id");

selection! {
    select = "enrolment_tokens",
    "id, org_id, account_id, name, created_by, created_at, expires_at, seats_used,
    seats_max, auto_approve, require_proof, labels, revoked_at, secret_hash,
    sealed_mac_key"
}

aggregate! {
    /// Enrolment tokens.
    Tokens
}

/// What the server keeps to recognise a token or a proof of it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret {
    /// PHC string of the slow hash.
    pub hash: String,
    /// The key of proofs, sealed under the master key.
    pub sealed_mac_key: Vec<u8>,
}

impl std::fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

fn token(row: &Row) -> Result<EnrolmentToken, StoreError> {
    Ok(EnrolmentToken {
        id: row.get("id")?,
        org: row.get("org_id")?,
        account: row.optional("account_id")?,
        name: row.get("name")?,
        created_by: row.get("created_by")?,
        created_at: row.get("created_at")?,
        expires_at: row.get("expires_at")?,
        seats: Seats { used: row.get("seats_used")?, max: row.get("seats_max")? },
        auto_approve: row.get("auto_approve")?,
        require_proof: row.get("require_proof")?,
        labels: row.get("labels")?,
        revoked_at: row.optional("revoked_at")?,
    })
}

impl<A> Tokens<'_, A> {
    /// The token of that id, whosever it is, for a machine that presents it.
    pub async fn find(
        &mut self,
        id: &TokenId,
    ) -> Result<Option<(EnrolmentToken, TokenSecret)>, StoreError> {
        let sql = select!("WHERE id = $1");
        let row = self.conn.query(TABLE, sql).bind(id).fetch_optional().await?;
        let with_secret = |row: &Row| {
            let hash = row.get("secret_hash")?;
            let sealed_mac_key = row.get("sealed_mac_key")?;
            Ok((token(row)?, TokenSecret { hash, sealed_mac_key }))
        };
        row.as_ref().map(with_secret).transpose()
    }

    /// The organisation's token of that id.
    pub async fn get(
        &mut self,
        org: &OrgId,
        id: &TokenId,
    ) -> Result<Option<EnrolmentToken>, StoreError> {
        let sql = select!("WHERE org_id = $1 AND id = $2");
        let row = self.conn.query(TABLE, sql).bind(org).bind(id).fetch_optional().await?;
        row.as_ref().map(token).transpose()
    }

    /// The organisation's tokens, those that admit nobody any more included.
    pub async fn list(
        &mut self,
        org: &OrgId,
        page: &PageRequest,
    ) -> Result<Page<EnrolmentToken>, StoreError> {
        let base = select!("WHERE org_id = $1");
        let select = Select::new(base, [org.into()]).page(ORDER, page);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        page_of(rows, page, ORDER, token)
    }
}

impl Tokens<'_, ReadWrite> {
    /// Keeps a new token. `secret_hash` is a PHC string, `sealed_mac_key` is sealed by the caller.
    pub async fn insert(
        &mut self,
        token: &EnrolmentToken,
        secret_hash: &str,
        sealed_mac_key: &[u8],
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO enrolment_tokens (id, org_id, account_id, name, created_by,
            created_at, expires_at, seats_used, seats_max, auto_approve, require_proof, labels,
            revoked_at, secret_hash, sealed_mac_key)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
        self.conn
            .query(TABLE, sql)
            .bind(&token.id)
            .bind(&token.org)
            .bind(token.account)
            .bind(token.name.as_str())
            .bind(token.created_by.as_str())
            .bind(token.created_at)
            .bind(token.expires_at)
            .bind(token.seats.used)
            .bind(token.seats.max)
            .bind(token.auto_approve)
            .bind(token.require_proof)
            .bind(&token.labels)
            .bind(token.revoked_at)
            .bind(secret_hash)
            .bind(sealed_mac_key)
            .execute()
            .await?;
        Ok(())
    }

    /// Takes a seat: true when the token was active at `now` and had one left. However many ask at
    /// once, no more get one than there are.
    pub async fn take_seat(&mut self, id: &TokenId, now: Timestamp) -> Result<bool, StoreError> {
        let sql = "UPDATE enrolment_tokens SET seats_used = seats_used + 1
            WHERE id = $1 AND seats_used < seats_max AND expires_at > $2 AND revoked_at IS NULL";
        self.conn.query(TABLE, sql).bind(id).bind(now).changed().await
    }

    /// Revokes a token and answers it; none when there is no such token. A second revocation
    /// leaves the first one's time.
    pub async fn revoke(
        &mut self,
        org: &OrgId,
        id: &TokenId,
        now: Timestamp,
    ) -> Result<Option<EnrolmentToken>, StoreError> {
        let sql = select!(returning "UPDATE enrolment_tokens SET revoked_at = COALESCE(revoked_at, $3)
            WHERE org_id = $1 AND id = $2");
        let row = self.conn.query(TABLE, sql).bind(org).bind(id).bind(now).fetch_optional().await?;
        row.as_ref().map(token).transpose()
    }

    /// Revokes every token of every organisation that may still be used; answers how many.
    pub async fn revoke_all(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        let sql = "UPDATE enrolment_tokens SET revoked_at = $1
            WHERE revoked_at IS NULL AND expires_at > $1";
        self.conn.query(TABLE, sql).bind(now).execute().await
    }
}
