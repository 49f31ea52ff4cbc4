//! The sealer of the audit log, its checkpoints, and the export.
//!
//! *Invariant:* links are computed from what is stored, outside of any transaction; the one that
//! writes them holds the store for two statements, so that heartbeats do not wait for it. Of two
//! sealers that meet, the store lets one through.

use std::time::Duration;

use argosy_domain::{
    access::{Caller, Permission},
    chain::{ChainHead, ChainPosition},
    id::OrgId,
    time::Timestamp,
};
use argosy_store::{CheckpointRow, KeyCertificate, OrgChain, SealedRow, StoreError};
use argosy_wire::{
    bytes::encode,
    sign::{Signed, read},
    statement::{AuditCheckpoint, KeyCertificate as KeyStatement, digest},
};

use crate::app::{
    App,
    error::{AppError, AppResult},
};

/// Entries that one transaction gives their places.
pub const SEAL_BATCH: u32 = 256;
/// Entries of one part of an export.
pub const EXPORT_BATCH: u32 = 500;
/// A checkpoint is signed when the last one is this old and entries have come.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);
/// A checkpoint is signed when it would cover this many entries more.
pub const CHECKPOINT_ENTRIES: u64 = 1_000;
/// How often a use case that needs the sealer's work done tries beside the others.
const ATTEMPTS: usize = 64;

/// What a round of the sealer did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sealed {
    /// Entries that got their places.
    pub entries: u64,
    /// Whether more wait already.
    pub more: bool,
}

/// An export under way.
pub struct AuditExport {
    app: App,
    org: OrgId,
    after: ChainPosition,
    end: ChainPosition,
}

/// A part of an export: entries in order, and the checkpoints among them.
#[derive(Debug)]
pub struct ExportPart {
    /// Entries with their places.
    pub entries: Vec<SealedRow>,
    /// Checkpoints up to the last of these entries.
    pub checkpoints: Vec<CheckpointRow>,
}

fn is_due(chain: &OrgChain, now: Timestamp) -> bool {
    let uncovered = chain.head.position.0.saturating_sub(chain.checkpoint_position.0);
    // One from the future was signed before the clock was set back.
    let stale = |at: Timestamp| now >= at.plus(CHECKPOINT_INTERVAL) || at > now;
    let old = chain.checkpoint_at.is_none_or(stale);
    uncovered >= CHECKPOINT_ENTRIES || (uncovered > 0 && old)
}

/// Another sealer did it, or is doing it.
fn lost_race<T: Default>(error: StoreError) -> Result<T, StoreError> {
    match error {
        StoreError::Conflict { .. } => Ok(T::default()),
        StoreError::BrokenReference
        | StoreError::CorruptRow { .. }
        | StoreError::Aborted
        | StoreError::Unavailable(_)
        | StoreError::Newer { .. }
        | StoreError::Migration(_)
        | StoreError::BackupByPgDump
        | StoreError::Backup(_) => Err(error),
    }
}

impl App {
    /// One round of the sealer: a batch of every organisation, and the checkpoints that are due.
    pub(crate) async fn seal_audit(&self) -> AppResult<Sealed> {
        let orgs = self.store().read("audit.due").await?.audit().unsealed_orgs().await?;
        let mut sealed = Sealed::default();
        for org in &orgs {
            let entries = self.seal_batch(org).await.or_else(lost_race)?;
            sealed.entries += entries;
            sealed.more |= entries >= u64::from(SEAL_BATCH);
        }
        let chains = self.store().read("audit.due").await?.audit().uncovered_chains().await?;
        for chain in chains.iter().filter(|chain| is_due(chain, self.now())) {
            self.add_checkpoint(chain).await.or_else(lost_race)?;
        }
        Ok(sealed)
    }

    /// Gives the organisation's next entries their places; how many.
    async fn seal_batch(&self, org: &OrgId) -> Result<u64, StoreError> {
        let mut reader = self.store().read("audit.unsealed").await?;
        let chain = reader.audit().chain(org).await?;
        let unsealed = reader.audit().unsealed(org, SEAL_BATCH).await?;
        drop(reader);
        let from = chain.map_or_else(|| ChainHead::genesis(org), |chain| chain.head);
        let mut head = from;
        let mut places = Vec::with_capacity(unsealed.len());
        for row in unsealed {
            head = head.then(&row.chained());
            places.push((row.id, head));
        }
        if places.is_empty() {
            return Ok(0);
        }
        let mut tx = self.store().write("audit.seal").await?;
        tx.audit().seal(org, &from, &places).await?;
        tx.commit().await?;
        Ok(u64::try_from(places.len()).unwrap_or(u64::MAX))
    }

    /// Signs the chain as it stands. The checkpoint also goes to the log, which is often kept where
    /// a thief of the database does not come.
    async fn add_checkpoint(&self, chain: &OrgChain) -> Result<(), StoreError> {
        let keyring = self.keyring();
        let (position, now) = (chain.head.position, self.now());
        let signed = keyring.sign_audit(&AuditCheckpoint {
            server: keyring.thumbprint(),
            org: chain.org.clone(),
            position,
            link: digest(chain.head.link),
            time: now,
        });
        let stored = |signed: &Signed| KeyCertificate {
            payload: signed.payload.clone(),
            signature: signed.signature.0.to_vec(),
        };
        let row = CheckpointRow {
            org: chain.org.clone(),
            position,
            at: now,
            checkpoint: stored(&signed.envelope),
            certificate: stored(&signed.certificate),
        };
        let mut tx = self.store().write("audit.checkpoint").await?;
        tx.audit().add_checkpoint(&row).await?;
        tx.commit().await?;
        let payload = encode(&signed.envelope.payload);
        let signature = &signed.envelope.signature;
        tracing::info!(org = %chain.org, %position, payload, %signature, "audit checkpoint");
        Ok(())
    }

    /// Seals what is there now and signs a checkpoint for it; how far the chain goes then.
    async fn seal_and_sign(&self, org: &OrgId) -> AppResult<ChainPosition> {
        for _ in 0..ATTEMPTS {
            if self.seal_batch(org).await.or_else(lost_race)? > 0 {
                continue;
            }
            let mut reader = self.store().read("audit.chain").await?;
            let waiting = reader.audit().unsealed(org, 1).await?;
            let chain = reader.audit().chain(org).await?;
            drop(reader);
            match chain {
                _ if !waiting.is_empty() => tokio::task::yield_now().await,
                None => return Ok(ChainPosition::default()),
                Some(chain) if chain.checkpoint_position >= chain.head.position => {
                    return Ok(chain.head.position);
                }
                Some(chain) => self.add_checkpoint(&chain).await.or_else(lost_race)?,
            }
        }
        Err(AppError::rate_limited(1))
    }

    /// Begins an export of the caller's audit log, signed up to its end.
    pub async fn export_audit(&self, caller: &Caller) -> AppResult<AuditExport> {
        let org = Self::own_org(caller, Permission::AuditRead)?.clone();
        let end = self.seal_and_sign(&org).await?;
        Ok(AuditExport { app: self.clone(), org, after: ChainPosition::default(), end })
    }
}

impl AuditExport {
    /// Whose log.
    pub fn org(&self) -> &OrgId {
        &self.org
    }

    pub(super) fn app(&self) -> &App {
        &self.app
    }

    /// How far it goes.
    pub fn end(&self) -> ChainPosition {
        self.end
    }

    /// The next part; none after the last.
    pub async fn next(&mut self) -> AppResult<Option<ExportPart>> {
        let mut reader = self.app.store().read("audit.export").await?;
        let (after, end) = (self.after, self.end);
        let entries = reader.audit().sealed(&self.org, after, end, EXPORT_BATCH).await?;
        let Some(last) = entries.last() else { return Ok(None) };
        self.after = last.head.position;
        let mut checkpoints = reader.audit().checkpoints(&self.org, after, self.after).await?;
        // Under an identity from which nobody is led here a checkpoint proves nothing to the reader;
        // the next one covers the same entries.
        let keyring = self.app.keyring();
        checkpoints.retain(|row| {
            let certificate = read::<KeyStatement>(&row.certificate.payload);
            certificate.is_ok_and(|certificate| keyring.answers_to(&certificate.server))
        });
        Ok(Some(ExportPart { entries, checkpoints }))
    }
}
