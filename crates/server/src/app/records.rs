//! Stored records as the transports see them, so that no transport names the store.

pub use argosy_store::{
    AgentEventRow as AgentEventRecord, ApiKey as KeyRecord, ApprovalRow as ApprovalRecord,
    AuditRow as AuditRecord, BucketRow as BucketRecord, CheckpointRow as CheckpointRecord,
    FleetPackage as FleetPackageRecord, InventoryRow as ReportRecord, NetworkRow as NetworkRecord,
    Organisation as OrganisationRecord, PendingRow as PendingRecord,
    ResourceChange as ResourceChangeRecord, ResourceRow as ResourceRecord,
    SealedRow as SealedRecord, SecurityRow as SecurityRecord, SeriesRow as SeriesRecord,
    SubsystemRow as SubsystemRecord, SyncJob as SyncJobRecord,
};
