//! Runs of discovery: how far they are, who asked for them, and what became of each region.

use serde::{Deserialize, Serialize};

use crate::{
    id::AccountId,
    limits::{ERROR_TEXT_CHARS_MAX, NAME_CHARS_MAX},
    text::clip,
};

/// How far a sync job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncStatus {
    /// It waits for its agent.
    Pending,
    /// Chunks may come.
    Running,
    /// Every region was read.
    Completed,
    /// Some regions were read and others not.
    Partial,
    /// No region was read, or nobody went on with it.
    Failed,
}

impl SyncStatus {
    /// Every status.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Running, Self::Completed, Self::Partial, Self::Failed];

    /// The stored and public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }

    /// The status of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// What a job whose last chunk has come ends as.
    pub fn of_outcomes(outcomes: &[RegionOutcome]) -> Self {
        let read = outcomes.iter().any(|outcome| outcome.failure.is_none());
        let failed = outcomes.iter().any(|outcome| outcome.failure.is_some());
        match (read, failed) {
            (_, false) => Self::Completed,
            (true, true) => Self::Partial,
            (false, true) => Self::Failed,
        }
    }
}

/// Who had a sync job begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncSource {
    /// The agent, by its schedule.
    Schedule,
    /// The answer to a heartbeat.
    Hint,
    /// A command.
    Command,
    /// A person at the console.
    Console,
    /// A call of the interface.
    Api,
}

impl SyncSource {
    /// The stored and public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Hint => "hint",
            Self::Command => "command",
            Self::Console => "console",
            Self::Api => "api",
        }
    }

    /// The source of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Schedule, Self::Hint, Self::Command, Self::Console, Self::Api]
            .into_iter()
            .find(|source| source.as_str() == text)
    }
}

/// Why a region was not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionFailure {
    /// In a sentence.
    pub error: String,
    /// The provider's call that failed, such as `DescribeSubnets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The permission that is missing, such as `ec2:DescribeSubnets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
}

/// What became of one region of one account in a run: it was read whole, or it was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionOutcome {
    /// The account.
    pub account: AccountId,
    /// Such as `aws`.
    pub provider: String,
    /// Such as `eu-central-1`; empty where the provider has no regions, or for all of them.
    pub region: String,
    /// Absent where it was read whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<RegionFailure>,
}

impl RegionOutcome {
    /// The same with texts of bearable length.
    pub fn clipped(self) -> Self {
        let short = |text: String| clip(&text, NAME_CHARS_MAX);
        let failure = self.failure.map(|failure| RegionFailure {
            error: clip(&failure.error, ERROR_TEXT_CHARS_MAX),
            call: failure.call.map(short),
            permission: failure.permission.map(short),
        });
        Self { provider: short(self.provider), region: short(self.region), failure, ..self }
    }

    fn same_place(&self, other: &Self) -> bool {
        (self.account, &self.provider, &self.region)
            == (other.account, &other.provider, &other.region)
    }
}

/// Adds what a chunk says to what is known of a run. A region that failed once has failed.
pub fn merge_outcomes(
    known: &mut Vec<RegionOutcome>,
    said: impl IntoIterator<Item = RegionOutcome>,
) {
    for outcome in said {
        match known.iter_mut().find(|known| known.same_place(&outcome)) {
            Some(known) if known.failure.is_none() => *known = outcome,
            Some(_) => {}
            None => known.push(outcome),
        }
    }
}

/// What happened to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was seen for the first time.
    Appeared,
    /// Something about it is different.
    Changed,
    /// A run over its region did not see it.
    Vanished,
    /// It was seen again.
    Reappeared,
}

impl ChangeKind {
    /// The stored and public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Appeared => "appeared",
            Self::Changed => "changed",
            Self::Vanished => "vanished",
            Self::Reappeared => "reappeared",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Appeared, Self::Changed, Self::Vanished, Self::Reappeared]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(region: &str, error: Option<&str>) -> RegionOutcome {
        let failure = |error: &str| RegionFailure {
            error: error.to_owned(),
            call: Some("DescribeVpcs".to_owned()),
            permission: None,
        };
        RegionOutcome {
            account: AccountId(1),
            provider: "aws".to_owned(),
            region: region.to_owned(),
            failure: error.map(failure),
        }
    }

    #[test]
    fn a_region_that_failed_once_has_failed() {
        let mut known = vec![outcome("a", None)];
        merge_outcomes(&mut known, [outcome("a", Some("denied")), outcome("b", None)]);
        merge_outcomes(&mut known, [outcome("a", None), outcome("b", None)]);
        assert_eq!(known, [outcome("a", Some("denied")), outcome("b", None)]);
    }

    #[test]
    fn a_run_ends_as_its_regions_did() {
        let (good, bad) = (outcome("a", None), outcome("b", Some("denied")));
        let status = SyncStatus::of_outcomes;
        assert_eq!(status(&[]), SyncStatus::Completed);
        assert_eq!(status(std::slice::from_ref(&good)), SyncStatus::Completed);
        assert_eq!(status(std::slice::from_ref(&bad)), SyncStatus::Failed);
        assert_eq!(status(&[good, bad]), SyncStatus::Partial);
    }

    #[test]
    fn names_are_read_back() {
        for status in SyncStatus::ALL {
            assert_eq!(SyncStatus::parse(status.as_str()), Some(status));
        }
        for kind in ["appeared", "changed", "vanished", "reappeared"] {
            assert_eq!(ChangeKind::parse(kind).unwrap().as_str(), kind);
        }
        for source in ["schedule", "hint", "command", "console", "api"] {
            assert_eq!(SyncSource::parse(source).unwrap().as_str(), source);
        }
    }
}
