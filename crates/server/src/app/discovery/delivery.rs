//! What is delivered: its parts, checked field by field.

use std::collections::BTreeSet;

use argosy_domain::{
    digest::Sha256,
    discovery::{RegionFailure, RegionOutcome, merge_outcomes},
    id::AccountId,
    resource::Resource,
};
use argosy_wire::rest::discovery::{
    Ingest, IngestAccount, IngestFailure, IngestOrg, IngestResource, IngestScope,
};

use super::super::error::{AppError, AppResult};

/// Whose resources a part of a delivery holds.
#[derive(Debug, Clone)]
pub enum Place {
    /// The account of that number; the caller's own, or the organisation's first, without one.
    Account(Option<i64>),
    /// An account of a cloud organisation.
    Member {
        /// The provider's own id of it.
        external_id: String,
        /// Such as `aws`.
        provider: String,
    },
}

/// What a delivery says of one account.
#[derive(Debug, Clone)]
pub struct Part {
    /// Which account.
    pub place: Place,
    /// What was seen.
    pub resources: Vec<IngestResource>,
    /// What was read whole.
    pub scope: Vec<IngestScope>,
    /// What was not.
    pub failures: Vec<IngestFailure>,
    /// How the fields of the first resource are called.
    pub path: String,
    /// The number of the first resource.
    pub first: usize,
}

/// A chunk of a run, or a whole run.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// As the body names it.
    pub agent_id: Option<String>,
    /// The run that it belongs to; none begins one.
    pub job: Option<String>,
    /// Its number; none for a whole run.
    pub chunk: Option<u32>,
    /// Whether the run ends with it.
    pub last: bool,
    /// Whether everything that it names is the scope, because none was declared.
    pub names_scope: bool,
    /// By account.
    pub parts: Vec<Part>,
}

/// Whether the run ends with what came.
fn last(chunk: Option<u32>, last: Option<bool>) -> AppResult<bool> {
    match (chunk, last) {
        (None, Some(false)) => Err(AppError::field("chunk", "is missing")),
        (None, None | Some(true)) | (Some(_), Some(true)) => Ok(true),
        (Some(_), None | Some(false)) => Ok(false),
    }
}

impl Delivery {
    /// Of one account, as every transport brings it.
    pub fn of_run(sent: Ingest) -> AppResult<Self> {
        let names_scope = sent.chunk.is_none() && sent.scope.is_none() && sent.failures.is_none();
        let part = Part {
            place: Place::Account(sent.account_id),
            resources: sent.resources.unwrap_or_default(),
            scope: sent.scope.into_iter().collect(),
            failures: sent.failures.unwrap_or_default(),
            path: "resources".to_owned(),
            first: 0,
        };
        Ok(Self {
            names_scope,
            last: last(sent.chunk, sent.last)?,
            parts: vec![part],
            agent_id: sent.agent_id,
            job: sent.sync_job_id.filter(|id| !id.is_empty()),
            chunk: sent.chunk,
        })
    }

    /// Of the accounts of a cloud organisation.
    pub fn of_organisation(sent: IngestOrg) -> AppResult<Self> {
        let part = |(index, account): (usize, IngestAccount)| Part {
            scope: vec![IngestScope {
                provider: account.provider.clone(),
                regions: account.regions,
            }],
            place: Place::Member {
                external_id: account.aws_account_id,
                provider: account.provider,
            },
            resources: account.resources.unwrap_or_default(),
            failures: account.failures.unwrap_or_default(),
            path: format!("accounts[{index}].resources"),
            first: 0,
        };
        Ok(Self {
            names_scope: false,
            last: last(sent.chunk, sent.last)?,
            parts: sent.accounts.into_iter().enumerate().map(part).collect(),
            agent_id: sent.agent_id,
            job: sent.sync_job_id.filter(|id| !id.is_empty()),
            chunk: sent.chunk,
        })
    }
}

/// A part with its account, checked.
pub(super) struct Checked {
    pub(super) account: AccountId,
    pub(super) resources: Vec<Resource>,
    pub(super) outcomes: Vec<RegionOutcome>,
}

fn resource(path: String, sent: IngestResource) -> AppResult<Resource> {
    let resource = Resource {
        provider: sent.provider,
        region: sent.region,
        resource_type: sent.resource_type,
        resource_id: sent.resource_id,
        name: sent.name,
        cidr: sent.cidr.filter(|cidr| !cidr.is_empty()),
        parent_resource_id: sent.parent_resource_id.filter(|parent| !parent.is_empty()),
        metadata: sent.metadata.unwrap_or_default(),
    };
    resource
        .checked()
        .map_err(|error| AppError::field(format!("{path}.{}", error.field), error.problem))
}

impl Part {
    fn outcomes(&self, account: AccountId) -> Vec<RegionOutcome> {
        let outcome = |provider: &str, region: &str, failure| {
            let (provider, region) = (provider.to_owned(), region.to_owned());
            RegionOutcome { account, provider, region, failure }.clipped()
        };
        let read = self.scope.iter().flat_map(|scope| {
            let regions = scope.regions.iter();
            regions.map(|region| outcome(&scope.provider, region, None)).collect::<Vec<_>>()
        });
        let failed = self.failures.iter().map(|failure| {
            let why = RegionFailure {
                error: failure.error.clone(),
                call: failure.call.clone(),
                permission: failure.permission.clone(),
            };
            outcome(&failure.provider, &failure.region, Some(why))
        });
        read.chain(failed).collect()
    }

    pub(super) fn check(self, account: AccountId, names_scope: bool) -> AppResult<Checked> {
        let mut outcomes = self.outcomes(account);
        let (path, first) = (self.path, self.first);
        let resources = self
            .resources
            .into_iter()
            .enumerate()
            .map(|(index, sent)| resource(format!("{path}[{}]", first + index), sent))
            .collect::<AppResult<Vec<_>>>()?;
        if names_scope {
            let named: BTreeSet<(&str, &str)> = resources
                .iter()
                .map(|resource| (resource.provider.as_str(), resource.region.as_str()))
                .collect();
            merge_outcomes(
                &mut outcomes,
                named.into_iter().map(|(provider, region)| RegionOutcome {
                    account,
                    provider: provider.to_owned(),
                    region: region.to_owned(),
                    failure: None,
                }),
            );
        }
        Ok(Checked { account, resources, outcomes })
    }
}

/// Of everything that a chunk says.
pub(super) fn digest(parts: &[Checked]) -> String {
    let mut said = Vec::new();
    for part in parts {
        let resources = part.resources.iter().map(|resource| {
            (
                [&resource.provider, &resource.region, &resource.resource_type],
                [&resource.resource_id, &resource.name],
                [&resource.cidr, &resource.parent_resource_id],
                &resource.metadata,
            )
        });
        let resources: Vec<_> = resources.collect();
        // Strings and numbers only: this cannot fail.
        let _ = serde_json::to_writer(&mut said, &(part.account, resources, &part.outcomes));
    }
    Sha256::of(&said).hex()
}
