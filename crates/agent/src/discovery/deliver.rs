//! What was found, on its way to the server: chunks of one sync job.

use std::{sync::Arc, time::Duration};

use argosy_wire::rest::discovery::{
    Ingest, IngestAccount, IngestFailure, IngestOrg, IngestResource, IngestScope, Ingested,
};
use serde::Serialize;

use super::{Member, Reading};
use crate::{backoff::Backoff, transport::CallError, upload::Way};

const INGEST: &str = "/api/v1/discovery/ingest";
const INGEST_ORG: &str = "/api/v1/discovery/ingest/org";
/// Resources in one chunk.
const CHUNK: usize = 1_000;
/// How long the server may take for a chunk.
const PATIENCE: Duration = Duration::from_secs(60);
/// Attempts for one chunk; then the run is given up, and the next one begins afresh.
const ATTEMPTS: usize = 12;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) job_id: String,
    pub(super) found: usize,
    pub(super) failed: usize,
}

/// A run that is being delivered.
pub(super) struct Run<'w> {
    way: &'w Way,
    job: Option<String>,
    chunk: u32,
    found: usize,
    failed: usize,
}

/// What one chunk says.
#[derive(Default)]
struct Part {
    resources: Vec<IngestResource>,
    scope: Option<IngestScope>,
    failures: Vec<IngestFailure>,
    last: bool,
}

impl<'w> Run<'w> {
    /// A run that has not begun.
    pub(super) fn new(way: &'w Way) -> Self {
        Self { way, job: None, chunk: 0, found: 0, failed: 0 }
    }

    /// Delivers a region: its last chunk says that it was read whole.
    pub(super) async fn deliver(&mut self, reading: Reading) -> Result<(), CallError> {
        let Reading { member, provider, region, found } = reading;
        let resources = match found {
            Ok(resources) => resources,
            Err(failure) => {
                self.failed += 1;
                let failures = vec![failure.of(provider, &region)];
                return self.send(member.as_ref(), Part { failures, ..Part::default() }).await;
            }
        };
        self.found += resources.len();
        let scope = IngestScope { provider: provider.to_owned(), regions: vec![region] };
        let mut left = resources;
        while left.len() > CHUNK {
            let rest = left.split_off(CHUNK);
            let resources = std::mem::replace(&mut left, rest);
            self.send(member.as_ref(), Part { resources, ..Part::default() }).await?;
        }
        let part = Part { resources: left, scope: Some(scope), ..Part::default() };
        self.send(member.as_ref(), part).await
    }

    /// Ends the run.
    pub(super) async fn end(mut self) -> Result<Report, CallError> {
        self.send(None, Part { last: true, ..Part::default() }).await?;
        let job_id = self.job.unwrap_or_default();
        Ok(Report { job_id, found: self.found, failed: self.failed })
    }

    async fn send(&mut self, member: Option<&Member>, part: Part) -> Result<(), CallError> {
        let (sync_job_id, chunk) = (self.job.clone(), Some(self.chunk));
        let last = part.last.then_some(true);
        let failures = (!part.failures.is_empty()).then_some(part.failures);
        let answer = match member {
            None => {
                let body = Ingest {
                    resources: Some(part.resources),
                    sync_job_id,
                    scope: part.scope,
                    failures,
                    chunk,
                    last,
                    ..Ingest::default()
                };
                self.post(INGEST, &body).await?
            }
            Some(member) => {
                let account = IngestAccount {
                    aws_account_id: member.id.clone(),
                    account_name: member.name.clone(),
                    account_email: None,
                    provider: "aws".to_owned(),
                    regions: part.scope.map(|scope| scope.regions).unwrap_or_default(),
                    resources: Some(part.resources),
                    failures,
                };
                let accounts = vec![account];
                let body = IngestOrg { accounts, agent_id: None, sync_job_id, chunk, last };
                self.post(INGEST_ORG, &body).await?
            }
        };
        self.job = Some(answer.job_id);
        self.chunk += 1;
        Ok(())
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<Ingested, CallError> {
        let way = self.way;
        let mut backoff = Backoff::new(Arc::clone(&way.deps.entropy));
        let mut attempts = 0;
        loop {
            let session = way.sessions.wait().await;
            let error = match way.prover.post(&way.link, path, &session, body, PATIENCE).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            attempts += 1;
            if error.is_final() || attempts == ATTEMPTS {
                return Err(error);
            }
            let pause = way.pause_after("discovered resources", &error, &session, &mut backoff);
            tokio::time::sleep(pause).await;
        }
    }
}
