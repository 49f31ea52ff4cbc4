//! Which clouds are read, as the host's owner wrote it.

use std::time::Duration;

use argosy_domain::time::{InvalidSpan, parse_span};
use serde::{Deserialize, Deserializer};

use crate::server_url::{InvalidServerUrl, ServerUrl};

/// Shortest and longest time between two runs.
const INTERVAL: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(24 * 3600);
/// Regions that are read.
const REGIONS_MAX: usize = 100;
/// Projects or subscriptions that are read.
const OWNERS_MAX: usize = 1_000;
const GCP_ENDPOINT: &str = "https://compute.googleapis.com";
const AZURE_ENDPOINT: &str = "https://management.azure.com";
/// The role that is assumed in the accounts of an organisation, unless another one is named.
const ROLE_DEFAULT: &str = "ArgosyDiscovery";

/// Section `aws_org`, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AwsOrgSettings {
    /// Whether every account of the organisation is read.
    pub enabled: bool,
    /// The role that is assumed in each.
    pub role_name: String,
    /// Shown when the role is assumed.
    pub external_id: Option<String>,
    /// Regions; those of `aws_regions` where there are none.
    pub regions: Vec<String>,
    /// Accounts that are left out, by their ids.
    #[serde(deserialize_with = "account_ids")]
    pub exclude_accounts: Vec<String>,
}

/// Ids of accounts. One that was written without quotes arrives as a number, and alone as no list.
fn account_ids<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Number(u64),
        Text(String),
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ids {
        One(Id),
        Many(Vec<Id>),
    }
    let text = |id: Id| match id {
        Id::Number(number) => format!("{number:012}"),
        Id::Text(text) => text,
    };
    Ok(match Ids::deserialize(from)? {
        Ids::One(id) => vec![text(id)],
        Ids::Many(ids) => ids.into_iter().map(text).collect(),
    })
}

impl Default for AwsOrgSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            role_name: ROLE_DEFAULT.to_owned(),
            external_id: None,
            regions: Vec::new(),
            exclude_accounts: Vec::new(),
        }
    }
}

/// Section `gcp`, as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GcpSection {
    /// Whether Google Cloud is read.
    pub enabled: bool,
    /// Projects, by their ids; that of the credentials where there are none.
    pub projects: Vec<String>,
    /// Regions; all of them where there are none.
    pub regions: Vec<String>,
    /// Where Compute Engine is, if not where it is for everybody.
    pub endpoint: Option<String>,
}

/// Section `azure`, as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AzureSection {
    /// Whether Azure is read.
    pub enabled: bool,
    /// Subscriptions, by their ids; all that the credentials see where there are none.
    pub subscriptions: Vec<String>,
    /// Regions; all of them where there are none.
    pub regions: Vec<String>,
    /// Where the Resource Manager is, if not where it is for everybody.
    pub endpoint: Option<String>,
}

/// Everything about discovery, as it was written.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// `sync_interval`.
    pub interval: &'a str,
    /// `aws_regions`.
    pub aws_regions: &'a [String],
    /// `aws_org`.
    pub aws_org: &'a AwsOrgSettings,
    /// `gcp`.
    pub gcp: &'a GcpSection,
    /// `azure`.
    pub azure: &'a AzureSection,
}

/// What of AWS is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsSettings {
    /// Regions; at least one.
    pub regions: Vec<String>,
    /// Every account of the organisation, where that is wanted.
    pub org: Option<AwsOrgSettings>,
}

/// What of Google Cloud is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcpSettings {
    /// Projects; that of the credentials where there are none.
    pub projects: Vec<String>,
    /// Regions; all of them where there are none.
    pub regions: Vec<String>,
    /// Where Compute Engine is.
    pub endpoint: ServerUrl,
}

/// What of Azure is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureSettings {
    /// Subscriptions; all that the credentials see where there are none.
    pub subscriptions: Vec<String>,
    /// Regions; all of them where there are none.
    pub regions: Vec<String>,
    /// Where the Resource Manager is.
    pub endpoint: ServerUrl,
}

/// What is read, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// From run to run.
    pub interval: Duration,
    /// AWS, where it is configured.
    pub aws: Option<AwsSettings>,
    /// Google Cloud, where it is configured.
    pub gcp: Option<GcpSettings>,
    /// Azure, where it is configured.
    pub azure: Option<AzureSettings>,
}

/// A setting of discovery that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDiscovery {
    /// Not a duration.
    #[error("sync_interval {0}")]
    Interval(#[from] InvalidSpan),
    /// Outside its bounds.
    #[error("sync_interval must be from 1m to 24h")]
    IntervalBounds,
    /// Not names of regions.
    #[error("aws_regions must be at most {REGIONS_MAX} names such as eu-central-1")]
    Regions,
    /// Nothing to read in.
    #[error("aws_org.enabled needs regions: set aws_org.regions or aws_regions")]
    NoRegions,
    /// Not the name of a role.
    #[error("aws_org.role_name must be the name of a role, 1 to 64 of A-Z a-z 0-9 + = , . @ - _")]
    Role,
    /// Not the ids of accounts.
    #[error("aws_org.exclude_accounts must be ids of 12 digits")]
    Accounts,
    /// Not ids of projects.
    #[error("gcp.projects must be at most {OWNERS_MAX} ids such as my-project-1234")]
    Projects,
    /// Not names of regions.
    #[error("gcp.regions must be at most {REGIONS_MAX} names such as europe-west3")]
    GcpRegions,
    /// Not ids of subscriptions.
    #[error(
        "azure.subscriptions must be at most {OWNERS_MAX} ids such as \
         00000000-0000-0000-0000-000000000000"
    )]
    Subscriptions,
    /// Not names of regions.
    #[error("azure.regions must be at most {REGIONS_MAX} names such as westeurope")]
    AzureRegions,
    /// Not an address.
    #[error("{0}.endpoint {1}")]
    Endpoint(&'static str, InvalidServerUrl),
    /// Tokens would travel in clear.
    #[error("{0}.endpoint must be https, unless it is on this host")]
    PlainEndpoint(&'static str),
}

/// Names in their order, each once; none where there are too many or one does not fit.
fn names(names: &[String], max: usize, fits: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    if names.len() > max || !names.iter().all(|name| fits(name)) {
        return None;
    }
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    Some(names)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

fn regions(written: &[String]) -> Option<Vec<String>> {
    let fits = |name: &str| (1..=32).contains(&name.len()) && name.chars().all(is_plain);
    names(written, REGIONS_MAX, fits)
}

/// Whether a text is the id of a project: of today's, or of a domain's.
pub(super) fn is_project(id: &str) -> bool {
    let plain = |c: char| is_plain(c) || c == '.' || c == ':';
    (1..=100).contains(&id.len()) && id.chars().all(plain)
}

fn is_subscription(id: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    let fits = |(at, c): (usize, char)| match dashes.contains(&at) {
        true => c == '-',
        false => c.is_ascii_hexdigit(),
    };
    id.len() == 36 && id.chars().enumerate().all(fits)
}

/// Where an interface is. A token goes there, so the way is encrypted or does not leave the host.
fn endpoint(
    section: &'static str,
    written: Option<&str>,
    default: &str,
) -> Result<ServerUrl, InvalidDiscovery> {
    let url: ServerUrl = written
        .unwrap_or(default)
        .parse()
        .map_err(|why| InvalidDiscovery::Endpoint(section, why))?;
    if url.is_tls() || url.is_loopback() {
        Ok(url)
    } else {
        Err(InvalidDiscovery::PlainEndpoint(section))
    }
}

fn gcp(written: &GcpSection) -> Result<Option<GcpSettings>, InvalidDiscovery> {
    let projects = names(&written.projects, OWNERS_MAX, is_project);
    let settings = GcpSettings {
        projects: projects.ok_or(InvalidDiscovery::Projects)?,
        regions: regions(&written.regions).ok_or(InvalidDiscovery::GcpRegions)?,
        endpoint: endpoint("gcp", written.endpoint.as_deref(), GCP_ENDPOINT)?,
    };
    Ok(written.enabled.then_some(settings))
}

fn azure(written: &AzureSection) -> Result<Option<AzureSettings>, InvalidDiscovery> {
    let lower: Vec<String> =
        written.subscriptions.iter().map(|id| id.to_ascii_lowercase()).collect();
    let subscriptions = names(&lower, OWNERS_MAX, is_subscription);
    let settings = AzureSettings {
        subscriptions: subscriptions.ok_or(InvalidDiscovery::Subscriptions)?,
        regions: regions(&written.regions).ok_or(InvalidDiscovery::AzureRegions)?,
        endpoint: endpoint("azure", written.endpoint.as_deref(), AZURE_ENDPOINT)?,
    };
    Ok(written.enabled.then_some(settings))
}

fn aws(
    aws_regions: &[String],
    org: &AwsOrgSettings,
) -> Result<Option<AwsSettings>, InvalidDiscovery> {
    let own = regions(aws_regions).ok_or(InvalidDiscovery::Regions)?;
    if !org.enabled {
        return Ok((!own.is_empty()).then_some(AwsSettings { regions: own, org: None }));
    }
    let of_org = regions(&org.regions).ok_or(InvalidDiscovery::Regions)?;
    let regions = if of_org.is_empty() { own } else { of_org };
    if regions.is_empty() {
        return Err(InvalidDiscovery::NoRegions);
    }
    let of_role = |c: char| c.is_ascii_alphanumeric() || "+=,.@-_".contains(c);
    if !(1..=64).contains(&org.role_name.len()) || !org.role_name.chars().all(of_role) {
        return Err(InvalidDiscovery::Role);
    }
    let digits = |id: &String| id.len() == 12 && id.chars().all(|c| c.is_ascii_digit());
    if !org.exclude_accounts.iter().all(digits) {
        return Err(InvalidDiscovery::Accounts);
    }
    Ok(Some(AwsSettings { regions, org: Some(org.clone()) }))
}

impl Wanted {
    /// Checks what was written.
    pub fn check(written: Written<'_>) -> Result<Self, InvalidDiscovery> {
        let interval = parse_span(written.interval)?;
        if !INTERVAL.contains(&interval) {
            return Err(InvalidDiscovery::IntervalBounds);
        }
        Ok(Self {
            interval,
            aws: aws(written.aws_regions, written.aws_org)?,
            gcp: gcp(written.gcp)?,
            azure: azure(written.azure)?,
        })
    }
}

#[cfg(test)]
mod tests;
