//! Accounts: the cloud accounts and sites that agents and resources belong to.

use crate::{
    id::{AccountId, OrgId},
    time::Timestamp,
};

/// A cloud account or site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// Its tenant.
    pub org: OrgId,
    /// For people; unique in the organisation.
    pub name: String,
    /// Such as `aws`, where it is a cloud account.
    pub provider: Option<String>,
    /// The provider's own id of it.
    pub external_id: Option<String>,
    /// Regions in use.
    pub regions: Vec<String>,
    /// The account whose agents may deliver resources for this one too.
    pub organised_by: Option<AccountId>,
    /// When it was made.
    pub created_at: Timestamp,
}
