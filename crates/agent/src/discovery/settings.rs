//! Which clouds are read, as the host's owner wrote it.

use std::time::Duration;

use argosy_domain::time::{InvalidSpan, parse_span};
use serde::{Deserialize, Deserializer};

/// Shortest and longest time between two runs.
const INTERVAL: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(24 * 3600);
/// Regions that are read.
const REGIONS_MAX: usize = 100;
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

/// What of AWS is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsSettings {
    /// Regions; at least one.
    pub regions: Vec<String>,
    /// Every account of the organisation, where that is wanted.
    pub org: Option<AwsOrgSettings>,
}

/// What is read, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// From run to run.
    pub interval: Duration,
    /// AWS, where it is configured.
    pub aws: Option<AwsSettings>,
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
}

fn regions(names: &[String]) -> Result<Vec<String>, InvalidDiscovery> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = |name: &String| (1..=32).contains(&name.len()) && name.chars().all(plain);
    if names.len() > REGIONS_MAX || !names.iter().all(fits) {
        return Err(InvalidDiscovery::Regions);
    }
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    Ok(names)
}

impl Wanted {
    /// Checks what was written.
    pub fn check(
        interval: &str,
        aws_regions: &[String],
        org: &AwsOrgSettings,
    ) -> Result<Self, InvalidDiscovery> {
        let interval = parse_span(interval)?;
        if !INTERVAL.contains(&interval) {
            return Err(InvalidDiscovery::IntervalBounds);
        }
        let own = regions(aws_regions)?;
        if !org.enabled {
            let aws = (!own.is_empty()).then_some(AwsSettings { regions: own, org: None });
            return Ok(Self { interval, aws });
        }
        let of_org = regions(&org.regions)?;
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
        Ok(Self { interval, aws: Some(AwsSettings { regions, org: Some(org.clone()) }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn nothing_is_read_unless_somebody_says_so() {
        let wanted = Wanted::check("15m", &[], &AwsOrgSettings::default()).unwrap();
        assert_eq!(wanted.aws, None);
        let two = names(&["us-east-1", "eu-central-1", "us-east-1"]);
        let wanted = Wanted::check("15m", &two, &AwsOrgSettings::default()).unwrap();
        assert_eq!(wanted.aws.unwrap().regions, ["eu-central-1", "us-east-1"]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let none = AwsOrgSettings::default();
        let bad = |interval: &str, regions: &[&str], org: &AwsOrgSettings| {
            Wanted::check(interval, &names(regions), org).unwrap_err()
        };
        assert_eq!(bad("1s", &[], &none), InvalidDiscovery::IntervalBounds);
        assert_eq!(bad("15m", &["EU/../x"], &none), InvalidDiscovery::Regions);
        let on = AwsOrgSettings { enabled: true, ..none };
        assert_eq!(bad("15m", &[], &on), InvalidDiscovery::NoRegions);
        let role = AwsOrgSettings { role_name: "a/b".into(), ..on.clone() };
        assert_eq!(bad("15m", &["us-east-1"], &role), InvalidDiscovery::Role);
        let except = AwsOrgSettings { exclude_accounts: names(&["12"]), ..on };
        assert_eq!(bad("15m", &["us-east-1"], &except), InvalidDiscovery::Accounts);
    }
}
