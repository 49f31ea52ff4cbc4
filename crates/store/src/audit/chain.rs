//! The chains of the audit log: what waits for its place, what has one, and the checkpoints.
//!
//! *Invariant:* a position of a chain is given once. The chain's own row moves from one head to the
//! next by a conditional statement, an entry without a place gets one by another, and no two
//! entries can share one; of two sealers that go on from the same head one fails whole.

use argosy_domain::{
    chain::{ChainHead, ChainPosition},
    digest::Sha256,
    id::OrgId,
    time::Timestamp,
};
use serde_json::json;

use super::{Audit, AuditRow, TABLE, audit_row};
use crate::{
    dialect::JsonType,
    error::StoreError,
    handle::{ReadWrite, selection},
    page::Select,
    server_keys::KeyCertificate as SignedBytes,
    value::{Row, Value},
};

const CHAINS: &str = "audit_chains";
const CHECKPOINTS: &str = "audit_checkpoints";

/// How a head of nothing is known: there is no row yet.
const EMPTY: ChainPosition = ChainPosition(0);

/// An entry with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRow {
    /// Its place and link.
    pub head: ChainHead,
    /// The entry.
    pub entry: AuditRow,
}

/// An organisation's chain as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgChain {
    /// Whose.
    pub org: OrgId,
    /// Its last entry.
    pub head: ChainHead,
    /// How far checkpoints cover it.
    pub checkpoint_position: ChainPosition,
    /// When the last checkpoint was signed.
    pub checkpoint_at: Option<Timestamp>,
}

/// A signed checkpoint with the certificate of the key that signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRow {
    /// Whose chain.
    pub org: OrgId,
    /// How far it covers the chain.
    pub position: ChainPosition,
    /// When it was signed.
    pub at: Timestamp,
    /// The signed bytes.
    pub checkpoint: SignedBytes,
    /// The certificate of the key that signed.
    pub certificate: SignedBytes,
}

fn number(position: ChainPosition) -> Value {
    i64::try_from(position.0).unwrap_or(i64::MAX).into()
}

fn position(row: &Row, column: &'static str) -> Result<ChainPosition, StoreError> {
    row.get::<u64>(column).map(ChainPosition)
}

fn head(row: &Row) -> Result<ChainHead, StoreError> {
    let link = row.parsed("link", |text| {
        let bytes = hex::decode(text).ok()?;
        bytes.try_into().ok().map(Sha256)
    })?;
    Ok(ChainHead { position: position(row, "position")?, link })
}

fn org_chain(row: &Row) -> Result<OrgChain, StoreError> {
    Ok(OrgChain {
        org: row.get("org_id")?,
        head: head(row)?,
        checkpoint_position: position(row, "checkpoint_position")?,
        checkpoint_at: row.optional("checkpoint_at")?,
    })
}

fn checkpoint_row(row: &Row) -> Result<CheckpointRow, StoreError> {
    let signed = |payload, signature| {
        Ok::<_, StoreError>(SignedBytes {
            payload: row.get(payload)?,
            signature: row.get(signature)?,
        })
    };
    Ok(CheckpointRow {
        org: row.get("org_id")?,
        position: position(row, "position")?,
        at: row.get("at")?,
        checkpoint: signed("checkpoint", "checkpoint_signature")?,
        certificate: signed("certificate", "certificate_signature")?,
    })
}

selection! {
    entries = "audit_entries",
    "ordinal, id, org_id, at, actor, action, target, detail, source, trace_id, position,
    link"
}

selection! {
    chains = "audit_chains",
    "org_id, position, link, checkpoint_position, checkpoint_at"
}

selection! {
    checkpoints = "audit_checkpoints",
    "org_id, position, at, checkpoint, checkpoint_signature, certificate,
    certificate_signature"
}

impl<A> Audit<'_, A> {
    /// Organisations with entries that have no place yet.
    pub async fn unsealed_orgs(&mut self) -> Result<Vec<OrgId>, StoreError> {
        let sql = "SELECT DISTINCT org_id FROM audit_entries WHERE position IS NULL";
        let rows = self.conn.query(TABLE, sql).fetch_all().await?;
        rows.iter().map(|row| row.get("org_id")).collect()
    }

    /// The organisation's first entries that have no place yet, in the order in which they were
    /// inserted.
    pub async fn unsealed(&mut self, org: &OrgId, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let sql = entries!(
            "WHERE org_id = $1 AND position IS NULL
            ORDER BY ordinal LIMIT $2"
        );
        let rows = self.conn.query(TABLE, sql).bind(org).bind(limit).fetch_all().await?;
        rows.iter().map(audit_row).collect()
    }

    /// The organisation's chain; none before its first entry has a place.
    pub async fn chain(&mut self, org: &OrgId) -> Result<Option<OrgChain>, StoreError> {
        let sql = chains!("WHERE org_id = $1");
        let row = self.conn.query(CHAINS, sql).bind(org).fetch_optional().await?;
        row.as_ref().map(org_chain).transpose()
    }

    /// Every chain with entries that no checkpoint covers.
    pub async fn uncovered_chains(&mut self) -> Result<Vec<OrgChain>, StoreError> {
        let sql = chains!("WHERE position > checkpoint_position");
        self.conn.query(CHAINS, sql).fetch_all().await?.iter().map(org_chain).collect()
    }

    /// Entries with their places, from after one position up to another, in order.
    pub async fn sealed(
        &mut self,
        org: &OrgId,
        after: ChainPosition,
        up_to: ChainPosition,
        limit: u32,
    ) -> Result<Vec<SealedRow>, StoreError> {
        let sql = entries!(
            "WHERE org_id = $1 AND position > $2 AND position <= $3 ORDER BY position LIMIT $4"
        );
        let query = self.conn.query(TABLE, sql).bind(org).bind(number(after)).bind(number(up_to));
        let rows = query.bind(limit).fetch_all().await?;
        let sealed = |row| Ok(SealedRow { head: head(row)?, entry: audit_row(row)? });
        rows.iter().map(sealed).collect()
    }

    /// Checkpoints from after one position up to another, in order.
    pub async fn checkpoints(
        &mut self,
        org: &OrgId,
        after: ChainPosition,
        up_to: ChainPosition,
    ) -> Result<Vec<CheckpointRow>, StoreError> {
        let sql = checkpoints!(
            "WHERE org_id = $1 AND position > $2 AND position <= $3 ORDER BY position"
        );
        let query = self.conn.query(CHECKPOINTS, sql).bind(org).bind(number(after));
        let rows = query.bind(number(up_to)).fetch_all().await?;
        rows.iter().map(checkpoint_row).collect()
    }
}

impl Audit<'_, ReadWrite> {
    /// Gives entries (by id) their places after `from`, in this order. At most three statements
    /// however many they are.
    ///
    /// Errors: [`StoreError::Conflict`] `audit_chain` or `audit_position` when another sealer was
    /// faster; the transaction is then spoilt.
    pub async fn seal(
        &mut self,
        org: &OrgId,
        from: &ChainHead,
        entries: &[(String, ChainHead)],
    ) -> Result<(), StoreError> {
        let Some((_, last)) = entries.last() else { return Ok(()) };
        self.move_head(org, from, last).await?;
        let place = |(id, head): &(String, ChainHead)| json!({ "id": id, "position": head.position.0, "link": hex::encode(head.link.0) });
        let batch: serde_json::Value = entries.iter().map(place).collect();
        let columns =
            [("id", JsonType::Text), ("position", JsonType::Int), ("link", JsonType::Text)];
        let rows = self.conn.dialect().rows_of_json(1, &columns);
        let update = Select::dynamic([
            // Worked out first: else the batch is read anew for each entry that waits.
            "WITH places AS MATERIALIZED (SELECT r.id, r.position, r.link FROM ",
            &rows,
            ") UPDATE audit_entries SET position = places.position, link = places.link FROM places
             WHERE audit_entries.id = places.id AND audit_entries.org_id = $2
             AND audit_entries.position IS NULL",
        ]);
        let query = self.conn.select(TABLE, update).bind(batch.to_string()).bind(org);
        let placed = query.execute().await?;
        if usize::try_from(placed).is_ok_and(|placed| placed == entries.len()) {
            Ok(())
        } else {
            self.lost("audit_position")
        }
    }

    async fn move_head(
        &mut self,
        org: &OrgId,
        from: &ChainHead,
        to: &ChainHead,
    ) -> Result<(), StoreError> {
        let link = |head: &ChainHead| hex::encode(head.link.0);
        if from.position == EMPTY {
            let sql = "INSERT INTO audit_chains (org_id, position, link, checkpoint_position)
                VALUES ($1, $2, $3, 0)";
            let query = self.conn.query(CHAINS, sql).bind(org).bind(number(to.position));
            return query.bind(link(to)).execute().await.map(drop);
        }
        let sql = "UPDATE audit_chains SET position = $2, link = $3
            WHERE org_id = $1 AND position = $4 AND link = $5";
        let query = self.conn.query(CHAINS, sql).bind(org).bind(number(to.position));
        let query = query.bind(link(to)).bind(number(from.position)).bind(link(from));
        if query.changed().await? { Ok(()) } else { self.lost("audit_chain") }
    }

    /// Keeps a checkpoint.
    ///
    /// Errors: [`StoreError::Conflict`] `audit_checkpoint` when the chain is covered that far
    /// already, or does not go that far; the transaction is then spoilt.
    pub async fn add_checkpoint(&mut self, row: &CheckpointRow) -> Result<(), StoreError> {
        let sql = "UPDATE audit_chains SET checkpoint_position = $2, checkpoint_at = $3
            WHERE org_id = $1 AND checkpoint_position < $2 AND position >= $2";
        let query = self.conn.query(CHAINS, sql).bind(&row.org).bind(number(row.position));
        if !query.bind(row.at).changed().await? {
            return self.lost("audit_checkpoint");
        }
        let sql = "INSERT INTO audit_checkpoints (org_id, position, at, checkpoint,
            checkpoint_signature, certificate, certificate_signature)
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let query = self.conn.query(CHECKPOINTS, sql).bind(&row.org).bind(number(row.position));
        query
            .bind(row.at)
            .bind(row.checkpoint.payload.as_slice())
            .bind(row.checkpoint.signature.as_slice())
            .bind(row.certificate.payload.as_slice())
            .bind(row.certificate.signature.as_slice())
            .execute()
            .await
            .map(drop)
    }

    fn lost(&mut self, what: &'static str) -> Result<(), StoreError> {
        self.conn.fail();
        Err(StoreError::Conflict { what })
    }
}
