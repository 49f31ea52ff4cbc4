//! Discovery: what lies in the clouds that this host has credentials for.
//!
//! A [`Provider`] reads; the [`Discoverer`] has it read by schedule and on command, and delivers what
//! it found, region by region, in chunks of one sync job.
//!
//! *Invariant:* the credentials of a cloud stay in this process and go to that cloud alone; nothing of
//! them is logged or delivered. A provider only reads. One run at a time.

#[cfg(feature = "aws")]
pub mod aws;
mod deliver;
mod settings;

use std::{sync::Arc, time::Duration};

use argosy_wire::rest::discovery::{IngestFailure, IngestResource};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::{Mutex, mpsc};

use crate::{
    backoff::jitter, engine::RunOutcome, policy_file::PolicyFile, transport::CallError, upload::Way,
};

use deliver::Run;
pub use settings::{AwsOrgSettings, AwsSettings, InvalidDiscovery, Wanted};

/// Readings that wait to be delivered.
const READINGS_WAITING: usize = 4;
/// How long a command for a run may take.
pub const RUN_TIMEOUT: Duration = Duration::from_secs(3600);

/// An account of a cloud organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The provider's own id of it.
    pub id: String,
    /// As the provider names it.
    pub name: String,
}

/// What came of one region.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Whose it is; none for the account that the agent belongs to.
    pub member: Option<Member>,
    /// Such as `aws`.
    pub provider: &'static str,
    /// Such as `eu-central-1`; empty where no region could be read at all.
    pub region: String,
    /// Everything that is there, or why that is not known.
    pub found: Result<Vec<IngestResource>, Failure>,
}

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// In a sentence.
    pub error: String,
    /// The call that failed.
    pub call: Option<String>,
    /// The permission that is missing.
    pub permission: Option<String>,
}

impl Failure {
    fn of(self, provider: &str, region: &str) -> IngestFailure {
        IngestFailure {
            provider: provider.to_owned(),
            region: region.to_owned(),
            error: self.error,
            call: self.call,
            permission: self.permission,
        }
    }
}

/// What reads one cloud.
pub trait Provider: Send + Sync {
    /// Such as `aws`.
    fn name(&self) -> &'static str;

    /// Reads everything, region by region. Dropping the future stops it.
    fn read(&self, out: mpsc::Sender<Reading>) -> BoxFuture<'_, ()>;
}

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// No cloud is configured on this host.
    #[error("no cloud is configured on this host: set aws_regions")]
    NoProvider,
    /// The server did not take it.
    #[error("the server did not take what was found")]
    Call(#[from] CallError),
}

/// Has clouds read, and delivers what was found.
pub struct Discoverer {
    /// What reads.
    pub providers: Vec<Box<dyn Provider>>,
    /// How the server is reached.
    pub way: Way,
    /// What the host's owner allows.
    pub policy: PolicyFile,
    /// From run to run.
    pub interval: Duration,
    /// Held by the run that is under way.
    pub turn: Mutex<()>,
}

impl Discoverer {
    /// Runs by schedule, for ever.
    pub async fn keep(&self) {
        if self.providers.is_empty() {
            return std::future::pending().await;
        }
        loop {
            match self.run().await {
                Ok(report) => tracing::info!(
                    job = report.job_id,
                    found = report.found,
                    failed = report.failed,
                    "discovery ran"
                ),
                Err(error) => tracing::warn!(%error, "discovery failed"),
            }
            let factor = jitter(self.way.deps.entropy.as_ref());
            tokio::time::sleep(self.interval.mul_f64(factor)).await;
        }
    }

    /// Runs on command.
    pub async fn command(&self) -> RunOutcome {
        match self.run().await {
            Ok(report) => {
                let report = serde_json::json!({
                    "sync_job_id": report.job_id, "resources": report.found,
                    "regions_failed": report.failed,
                });
                RunOutcome::Succeeded { report: report.to_string().into_bytes() }
            }
            Err(error @ DiscoveryError::NoProvider) => {
                RunOutcome::Failed { code: "no_provider", error: error.to_string() }
            }
            Err(DiscoveryError::Call(error)) => {
                RunOutcome::Failed { code: "not_delivered", error: error.to_string() }
            }
        }
    }

    async fn run(&self) -> Result<deliver::Report, DiscoveryError> {
        let _turn = self.turn.lock().await;
        if self.providers.is_empty() {
            return Err(DiscoveryError::NoProvider);
        }
        let (out, mut readings) = mpsc::channel(READINGS_WAITING);
        let reading = futures::future::join_all(
            self.providers.iter().map(|provider| self.read(provider.as_ref(), out.clone())),
        );
        drop(out);
        let mut reading = reading.map(drop).boxed().fuse();
        let mut run = Run::new(&self.way);
        loop {
            tokio::select! {
                () = &mut reading => {}
                next = readings.recv() => match next {
                    Some(found) => run.deliver(found).await?,
                    None => return Ok(run.end().await?),
                },
            }
        }
    }

    /// Reads one cloud, if the host's owner allows it.
    async fn read(&self, provider: &dyn Provider, out: mpsc::Sender<Reading>) {
        let policy = self.policy.clone();
        let loaded = tokio::task::spawn_blocking(move || policy.load()).await;
        let refused = match loaded.map(|loaded| loaded.allows_provider(provider.name())) {
            Ok(Ok(())) => return provider.read(out).await,
            Ok(Err(refused)) => refused.to_string(),
            // It happens only while the process ends.
            Err(_) => return,
        };
        let failure = Failure { error: refused, call: None, permission: None };
        let (provider, region) = (provider.name(), String::new());
        // Nobody listens any more once the run is over.
        let _ = out.send(Reading { member: None, provider, region, found: Err(failure) }).await;
    }
}

/// The clouds that are configured.
pub fn providers(wanted: &Wanted, way: &Way) -> Vec<Box<dyn Provider>> {
    let mut providers: Vec<Box<dyn Provider>> = Vec::new();
    #[cfg(feature = "aws")]
    if let Some(aws) = &wanted.aws {
        providers.push(Box::new(aws::Aws::new(aws.clone(), way.deps.clone())));
    }
    providers
}

/// A discoverer of what is configured.
pub fn discoverer(wanted: &Wanted, way: Way, policy: PolicyFile) -> Arc<Discoverer> {
    Arc::new(Discoverer {
        providers: providers(wanted, &way),
        way,
        policy,
        interval: wanted.interval,
        turn: Mutex::default(),
    })
}
