//! Discovery: what lies in the clouds that this host has credentials for.
//!
//! A [`Provider`] reads; the [`Discoverer`] has it read by schedule and on command, and delivers what
//! it found, region by region, in chunks of one sync job.
//!
//! *Invariant:* the credentials of a cloud stay in this process and go to that cloud alone; nothing of
//! them is logged or delivered. A provider only reads. One run at a time.

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "azure")]
pub mod azure;
#[cfg(any(feature = "gcp", feature = "azure"))]
mod bearer;
mod deliver;
#[cfg(feature = "gcp")]
pub mod gcp;
#[cfg(any(feature = "gcp", feature = "azure"))]
mod holdings;
#[cfg(any(feature = "gcp", feature = "azure"))]
mod rest;
mod settings;
#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
mod shape;

use std::{sync::Arc, time::Duration};

use argosy_wire::rest::discovery::{IngestFailure, IngestResource};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::{Mutex, mpsc};

use crate::{
    backoff::jitter, deps::Deps, engine::RunOutcome, policy_file::PolicyFile, transport::CallError,
    upload::Way,
};

use deliver::Run;
pub use settings::{
    AwsOrgSettings, AwsSettings, AzureSection, AzureSettings, GcpSection, GcpSettings,
    InvalidDiscovery, Wanted, Written,
};

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
    #[error("no cloud is configured on this host: set aws_regions, gcp or azure")]
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
        // Nobody listens any more once the run is over.
        let _ = out.send(nothing_read(provider.name(), refused)).await;
    }
}

/// A cloud of which nothing was read, and why.
fn nothing_read(provider: &'static str, error: String) -> Reading {
    let failure = Failure { error, call: None, permission: None };
    Reading { member: None, provider, region: String::new(), found: Err(failure) }
}

/// A cloud that is configured, and that this program cannot read.
#[cfg(any(test, not(all(feature = "aws", feature = "gcp", feature = "azure"))))]
struct Missing(&'static str);

#[cfg(any(test, not(all(feature = "aws", feature = "gcp", feature = "azure"))))]
impl Provider for Missing {
    fn name(&self) -> &'static str {
        self.0
    }

    fn read(&self, out: mpsc::Sender<Reading>) -> BoxFuture<'_, ()> {
        let error = format!("this agent was built without {}", self.0);
        Box::pin(async move { drop(out.send(nothing_read(self.0, error)).await) })
    }
}

/// The clouds that are configured.
pub fn providers(wanted: &Wanted, deps: &Deps) -> Vec<Box<dyn Provider>> {
    let (aws, gcp, azure) = (wanted.aws.as_ref(), wanted.gcp.as_ref(), wanted.azure.as_ref());
    let clouds = [
        aws.map(|settings| aws_of(settings, deps)),
        gcp.map(|settings| gcp_of(settings, deps)),
        azure.map(|settings| azure_of(settings, deps)),
    ];
    clouds.into_iter().flatten().collect()
}

#[cfg(feature = "aws")]
fn aws_of(settings: &AwsSettings, deps: &Deps) -> Box<dyn Provider> {
    Box::new(aws::Aws::new(settings.clone(), deps.clone()))
}

#[cfg(not(feature = "aws"))]
fn aws_of(_: &AwsSettings, _: &Deps) -> Box<dyn Provider> {
    Box::new(Missing("aws"))
}

#[cfg(feature = "gcp")]
fn gcp_of(settings: &GcpSettings, deps: &Deps) -> Box<dyn Provider> {
    Box::new(gcp::Gcp::new(settings.clone(), deps.clone()))
}

#[cfg(not(feature = "gcp"))]
fn gcp_of(_: &GcpSettings, _: &Deps) -> Box<dyn Provider> {
    Box::new(Missing("gcp"))
}

#[cfg(feature = "azure")]
fn azure_of(settings: &AzureSettings, deps: &Deps) -> Box<dyn Provider> {
    Box::new(azure::Azure::new(settings.clone(), deps.clone()))
}

#[cfg(not(feature = "azure"))]
fn azure_of(_: &AzureSettings, _: &Deps) -> Box<dyn Provider> {
    Box::new(Missing("azure"))
}

/// A variable of this process, if it says anything.
#[cfg(any(feature = "gcp", feature = "azure"))]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A discoverer of what is configured.
pub fn discoverer(wanted: &Wanted, way: Way, policy: PolicyFile) -> Arc<Discoverer> {
    Arc::new(Discoverer {
        providers: providers(wanted, &way.deps),
        way,
        policy,
        interval: wanted.interval,
        turn: Mutex::default(),
    })
}

#[cfg(test)]
mod tests {
    use argosy_config::host::{OsEntropy, SystemClock};

    use super::*;

    /// Time and randomness of this host.
    pub(super) fn deps() -> Deps {
        Deps { clock: Arc::new(SystemClock), entropy: Arc::new(OsEntropy) }
    }

    #[tokio::test]
    async fn a_cloud_that_was_not_built_in_is_told() {
        let (out, mut readings) = mpsc::channel(1);
        Missing("gcp").read(out).await;
        let reading = readings.recv().await.unwrap();
        assert_eq!((reading.provider, reading.region.as_str()), ("gcp", ""));
        let why = reading.found.unwrap_err().error;
        assert_eq!(why, "this agent was built without gcp");
    }

    #[test]
    fn every_cloud_that_is_configured_is_read() {
        let at = |url: &str| url.parse().unwrap();
        let wanted = Wanted {
            interval: Duration::from_secs(60),
            aws: Some(AwsSettings { regions: vec!["eu-central-1".into()], org: None }),
            gcp: Some(GcpSettings {
                projects: vec![],
                regions: vec![],
                endpoint: at("https://a.example"),
            }),
            azure: Some(AzureSettings {
                subscriptions: vec![],
                regions: vec![],
                endpoint: at("https://b.example"),
            }),
        };
        let providers = providers(&wanted, &deps());
        let names: Vec<_> = providers.iter().map(|provider| provider.name()).collect();
        assert_eq!(names, ["aws", "gcp", "azure"]);
    }
}
