//! Versions of agents: the minimum that the installation admits, and no way back.
//!
//! *Invariant:* an agent that is too old is heard and gets nothing; the recorded version of an agent
//! with keys moves by a handshake, which is signed, and by an operator's decision, and down by itself
//! only where two bear one identity: that agent is quarantined, and gets nothing either.

use argosy_domain::{
    access::Caller,
    agent::{Agent, Reach},
    version::Version,
};
use argosy_wire::problem::Code;

use super::{
    App,
    error::{AppError, AppResult},
};

/// A version as an agent says it; what is none compares with nothing.
fn version(text: Option<&str>) -> Option<Version> {
    text.and_then(|text| text.parse().ok())
}

/// Whether an agent that says `shown` is older than it was.
pub(crate) fn is_downgrade(agent: &Agent, shown: &Version) -> bool {
    version(agent.version.as_deref()).is_some_and(|recorded| *shown < recorded)
}

/// Whether an agent that says `shown` is newer than it was.
pub(crate) fn is_upgrade(agent: &Agent, shown: &Version) -> bool {
    version(agent.version.as_deref()).is_some_and(|recorded| *shown > recorded)
}

impl App {
    /// Whether a version is older than the installation admits. Unknown ones are admitted.
    pub(crate) fn is_outdated(&self, shown: Option<&str>) -> bool {
        match (&self.settings().minimum_agent_version, version(shown)) {
            (Some(minimum), Some(shown)) => shown < *minimum,
            (Some(_) | None, _) => false,
        }
    }

    /// How far an agent of this version reaches.
    pub(crate) fn reach_of(&self, shown: Option<&str>) -> Reach {
        if self.is_outdated(shown) { Reach::UpdateOnly } else { Reach::Full }
    }

    /// Refuses whoever is too old for anything but a heartbeat.
    pub(crate) fn must_reach(&self, caller: &Caller) -> AppResult<()> {
        match caller {
            Caller::Agent { reach: Reach::UpdateOnly, .. } => {
                let settings = self.settings();
                let detail = settings.minimum_agent_version.as_ref().map_or_else(
                    || Code::UpgradeRequired.title().to_owned(),
                    |minimum| {
                        format!("the agent is too old: this server admits {minimum} and newer")
                    },
                );
                Err(AppError::because(Code::UpgradeRequired, detail))
            }
            Caller::Agent { reach: Reach::Full, .. }
            | Caller::Key { .. }
            | Caller::User { .. }
            | Caller::Server => Ok(()),
        }
    }
}
