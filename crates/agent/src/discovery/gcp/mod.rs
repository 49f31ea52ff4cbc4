//! Google Cloud: networks, subnets and addresses of one or several projects.
//!
//! The credentials are the application default credentials of the host: the file that
//! `GOOGLE_APPLICATION_CREDENTIALS` names, that of `gcloud auth application-default login`, or the
//! metadata server. Nothing but the calls named here is made, and each of them only reads.

mod api;
mod credentials;
mod error;
mod key;
mod resources;

use std::collections::BTreeSet;

use futures::{StreamExt as _, future::BoxFuture, stream};
use tokio::sync::mpsc;

use super::{
    Failure, GcpSettings, Provider, Reading, bearer::no_credentials, holdings, settings::is_project,
};
use crate::deps::Deps;
use api::Api;
use holdings::Regions;
use resources::KINDS;

const NAME: &str = "gcp";
/// Where networks lie, and addresses that are not of one region.
const GLOBAL: &str = "global";
/// Projects that are read at once.
const AT_ONCE: usize = 4;

/// Google Cloud as it is configured on this host.
pub struct Gcp {
    settings: GcpSettings,
    deps: Deps,
}

impl Gcp {
    /// Google Cloud, read so.
    pub fn new(settings: GcpSettings, deps: Deps) -> Self {
        Self { settings, deps }
    }

    async fn read_all(&self, out: mpsc::Sender<Reading>) {
        let holdings = match self.opened().await {
            Err(failure) => vec![Err(failure)],
            Ok((api, projects)) => {
                let read = |project: String| self.read_project(&api, project);
                stream::iter(projects).map(read).buffer_unordered(AT_ONCE).collect().await
            }
        };
        holdings::send(NAME, holdings, &out).await;
    }

    /// The interface, and the projects that are read.
    async fn opened(&self) -> Result<(Api, Vec<String>), Failure> {
        let found = credentials::find(&super::variable, &self.deps).await?;
        let projects = match (&self.settings.projects, &found.project) {
            (named, _) if !named.is_empty() => named.clone(),
            (_, Some(project)) if is_project(project) => vec![project.clone()],
            (_, Some(_) | None) => {
                let why = "the credentials belong to no project: set gcp.projects";
                return Err(no_credentials(why));
            }
        };
        Ok((Api::new(self.settings.endpoint.clone(), found, self.deps.clone())?, projects))
    }

    async fn read_project(&self, api: &Api, project: String) -> Result<Regions, Failure> {
        let lists = KINDS.iter().map(|kind| api.list(kind, &project));
        let mut regions = Regions::new();
        for listed in futures::future::try_join_all(lists).await? {
            for (name, part) in listed {
                let region = regions.entry(name).or_default();
                region.found.extend(part.found);
                region.failure = region.failure.take().or(part.failure);
            }
        }
        Ok(self.wanted(regions, &project))
    }

    /// The regions that are configured; what is global goes with them, because networks do.
    fn wanted(&self, mut regions: Regions, project: &str) -> Regions {
        let named: BTreeSet<&str> = self.settings.regions.iter().map(String::as_str).collect();
        if named.is_empty() {
            return regions;
        }
        regions.retain(|name, _| name == GLOBAL || named.contains(name.as_str()));
        for name in named {
            regions.entry(name.to_owned()).or_insert_with(|| {
                let error = format!("project {project} has no region {name}");
                let failure = Failure { error, call: None, permission: None };
                holdings::Region { found: Vec::new(), failure: Some(failure) }
            });
        }
        regions
    }
}

impl Provider for Gcp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn read(&self, out: mpsc::Sender<Reading>) -> BoxFuture<'_, ()> {
        Box::pin(self.read_all(out))
    }
}
