//! The configuration that the server wants of this agent: kept on disk, in force at once.
//!
//! *Invariant:* a configuration is durable before it is in force, and none of an earlier generation
//! takes its place. What the host's owner decides is not in it.

use std::sync::{Arc, Mutex, PoisonError};

use argosy_config::failpoint::failpoint;
use argosy_domain::configuration::{Configuration, Generation, InvalidConfiguration};
use serde::{Deserialize, Serialize};

use crate::{
    scheduler::Scheduler,
    state_dir::{StateDir, StateDirError},
};

const FILE: &str = "configuration.json";

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// This agent has it, or a newer one.
    #[error("generation {offered} is not newer than {held}, which this agent has")]
    Stale {
        /// What was offered.
        offered: Generation,
        /// What it has.
        held: Generation,
    },
    /// The document.
    #[error(transparent)]
    Invalid(#[from] InvalidConfiguration),
    /// It cannot be kept.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
}

/// What is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    generation: Generation,
    /// JSON, as it was signed.
    document: String,
}

/// What this agent was configured to be, read back.
pub fn load(dir: &StateDir) -> Result<(Generation, Configuration), StateDirError> {
    let Some(bytes) = dir.read(FILE)? else { return Ok(Default::default()) };
    let kept = serde_json::from_slice::<Kept>(&bytes).ok().and_then(|kept| {
        let configuration = Configuration::parse(kept.document.as_bytes()).ok()?;
        Some((kept.generation, configuration))
    });
    Ok(kept.unwrap_or_else(|| {
        // The server sees generation 0 and sends it again.
        tracing::warn!("{FILE} cannot be read; the defaults hold until the server sends it again");
        Default::default()
    }))
}

/// Keeps the configuration and puts it into force.
pub struct Configurator {
    dir: Arc<StateDir>,
    scheduler: Scheduler,
    held: Mutex<Generation>,
}

impl Configurator {
    /// Of an agent that has `held`.
    pub fn new(dir: Arc<StateDir>, scheduler: Scheduler, held: Generation) -> Self {
        Self { dir, scheduler, held: Mutex::new(held) }
    }

    /// The generation that is in force.
    pub fn held(&self) -> Generation {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a configuration whose signature was verified. Blocks for as long as the disk does.
    pub fn apply(&self, offered: Generation, document: &[u8]) -> Result<(), NotTaken> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if offered <= *held {
            return Err(NotTaken::Stale { offered, held: *held });
        }
        let configuration = Configuration::parse(document)?;
        let document = String::from_utf8_lossy(document).into_owned();
        let kept = Kept { generation: offered, document };
        failpoint("configuration", "before");
        // Two plain values always serialise.
        self.dir.write(FILE, &serde_json::to_vec(&kept).unwrap_or_default())?;
        failpoint("configuration", "kept");
        *held = offered;
        self.scheduler.reschedule(&configuration.schedules);
        tracing::info!(generation = %offered, "a new configuration is in force");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use argosy_config::host::{OsEntropy, SystemClock};
    use argosy_domain::subsystem::Subsystem;

    use super::*;
    use crate::{policy_file::PolicyFile, recorder::Recorder, scheduler::SchedulerParts};

    fn configurator(dir: &Arc<StateDir>) -> Configurator {
        let (held, configuration) = load(dir).unwrap();
        let (scheduler, _mailbox) = Scheduler::new(SchedulerParts {
            collectors: Subsystem::ALL.map(crate::subsystem::collector).into(),
            schedules: configuration.schedules,
            policy: PolicyFile::at(std::path::Path::new("/nowhere/policy.toml")),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            recorder: Recorder::new().0,
            bounds: crate::bounds::Bounds::of_process(0),
        });
        Configurator::new(Arc::clone(dir), scheduler, held)
    }

    fn document(interval_s: u64) -> Vec<u8> {
        let system = format!(
            r#"{{"enabled":true,"auto_run":true,"interval_s":{interval_s},"timeout_s":30}}"#
        );
        format!(r#"{{"subsystems":{{"system":{system}}}}}"#).into_bytes()
    }

    #[test]
    fn a_configuration_survives_and_never_goes_back() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Arc::new(StateDir::open(&tmp.path().join("state")).unwrap());
        let agent = configurator(&dir);
        assert_eq!(agent.held(), Generation(0));
        agent.apply(Generation(3), &document(120)).unwrap();
        for old in [3, 2, 0, -1] {
            let refused = agent.apply(Generation(old), &document(600)).unwrap_err();
            assert!(matches!(refused, NotTaken::Stale { .. }), "{refused}");
        }
        let refused = agent.apply(Generation(4), &document(1)).unwrap_err();
        assert!(matches!(refused, NotTaken::Invalid(_)), "{refused}");
        assert_eq!(agent.held(), Generation(3), "what is not taken changes nothing");
        let again = configurator(&dir);
        assert_eq!(again.held(), Generation(3));
        let schedule = again.scheduler.schedule(Subsystem::System).unwrap();
        assert_eq!(schedule.interval, Duration::from_secs(120));
    }

    #[test]
    fn a_file_that_cannot_be_read_means_the_defaults() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Arc::new(StateDir::open(&tmp.path().join("state")).unwrap());
        dir.write(FILE, b"{").unwrap();
        assert_eq!(configurator(&dir).held(), Generation(0));
    }
}
