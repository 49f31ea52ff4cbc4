//! The `containers` subsystem: what Docker or Podman runs on this host, asked by its socket.
//!
//! *Invariant:* nothing is asked of an engine but lists (`GET`). Of a container neither its command
//! nor its environment is read, which may hold secrets, and of its labels only those of compose.

mod engine;
mod socket;

use std::path::{Path, PathBuf};

use argosy_domain::{subsystem::Subsystem, time::Timestamp};
use argosy_wire::report::{
    CONTAINERS_MAX, ContainerHealth, ContainerReport, ContainersReport, EngineReport, IMAGES_MAX,
    ImageReport, PORTS_MAX, PortReport, SubsystemReport, TAGS_MAX,
};
use futures::future::BoxFuture;

use self::{
    engine::{Container, Image, Port, Version},
    socket::Socket,
};
use super::{CollectError, Collector, reported};
use crate::host;

/// Digits of an id that a report shows, as the engines' own programs do.
const ID_DIGITS: usize = 12;

/// Collects the `containers` report.
#[derive(Debug, Clone)]
pub struct ContainersCollector {
    /// Where an engine may listen; the first that does is asked.
    pub sockets: Vec<PathBuf>,
}

impl Default for ContainersCollector {
    fn default() -> Self {
        Self { sockets: host::container_sockets() }
    }
}

impl Collector for ContainersCollector {
    fn subsystem(&self) -> Subsystem {
        Subsystem::Containers
    }

    fn collect(&self) -> BoxFuture<'_, Result<SubsystemReport, CollectError>> {
        Box::pin(async move {
            for path in &self.sockets {
                if let Some(report) = ask(path).await? {
                    return Ok(SubsystemReport::Containers(report));
                }
            }
            Ok(SubsystemReport::Containers(no_engine()))
        })
    }
}

fn no_engine() -> ContainersReport {
    ContainersReport {
        engine: None,
        running: 0,
        total: 0,
        unhealthy: 0,
        containers: Vec::new(),
        images_total: 0,
        images: Vec::new(),
        truncated: false,
    }
}

/// The report of the engine behind a socket; none where nobody listens.
async fn ask(path: &Path) -> Result<Option<ContainersReport>, CollectError> {
    let Some(version) = question::<Version>(path, "/version").await? else { return Ok(None) };
    let gone = || CollectError::EngineSilent {
        path: path.to_owned(),
        source: std::io::ErrorKind::ConnectionReset.into(),
    };
    let containers = question(path, "/containers/json?all=true").await?.ok_or_else(gone)?;
    let images = question(path, "/images/json").await?.ok_or_else(gone)?;
    Ok(Some(report(path, &version, containers, images)))
}

async fn question<A: serde::de::DeserializeOwned>(
    path: &Path,
    question: &'static str,
) -> Result<Option<A>, CollectError> {
    match socket::open(path).await? {
        Socket::Nobody => Ok(None),
        Socket::Open(stream) => socket::get(path, stream, question).await.map(Some),
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn report(
    path: &Path,
    version: &Version,
    containers: Vec<Container>,
    mut images: Vec<Image>,
) -> ContainersReport {
    let mut all: Vec<_> = containers.into_iter().map(container).collect();
    all.sort_by(|a, b| {
        (a.state != "running", &a.name, &a.id).cmp(&(b.state != "running", &b.name, &b.id))
    });
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let unhealthy = |one: &&ContainerReport| one.health == Some(ContainerHealth::Unhealthy);
    ContainersReport {
        engine: Some(EngineReport {
            name: version.engine().to_owned(),
            version: reported(&version.version),
            socket: reported(&path.to_string_lossy()),
        }),
        running: number(all.iter().filter(|one| one.state == "running").count()),
        total: number(all.len()),
        unhealthy: number(all.iter().filter(unhealthy).count()),
        truncated: all.len() > CONTAINERS_MAX || images.len() > IMAGES_MAX,
        containers: {
            all.truncate(CONTAINERS_MAX);
            all
        },
        images_total: number(images.len()),
        images: images.into_iter().take(IMAGES_MAX).map(image).collect(),
    }
}

/// The digits of an id that people see.
fn short(id: &str) -> String {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.chars().take(ID_DIGITS).collect()
}

/// A time in seconds since 1970; engines write 0 or less for one that they do not know.
fn time(seconds: i64) -> Option<Timestamp> {
    (seconds > 0).then(|| Timestamp::from_seconds(seconds))
}

fn container(one: Container) -> ContainerReport {
    let label = |names: [&str; 2]| {
        let value = names.iter().find_map(|name| one.labels.get(*name));
        value.filter(|value| !value.is_empty()).map(|value| reported(value))
    };
    let compose_project = label(["com.docker.compose.project", "io.podman.compose.project"]);
    let compose_service = label(["com.docker.compose.service", "io.podman.compose.service"]);
    let name = one.names.first().map(|name| name.trim_start_matches('/')).unwrap_or_default();
    let mut ports: Vec<_> = one.ports.into_iter().map(port).collect();
    ports.sort_by(|a, b| {
        (a.private, &a.protocol, &a.address).cmp(&(b.private, &b.protocol, &b.address))
    });
    ports.truncate(PORTS_MAX);
    ContainerReport {
        id: short(&one.id),
        name: reported(name),
        image: reported(&one.image),
        state: reported(&one.state.to_lowercase()),
        health: health(&one.status),
        status: reported(&one.status),
        created_at: time(one.created),
        ports,
        compose_project,
        compose_service,
    }
}

/// Lists of engines name the health in the sentence of the state only.
fn health(status: &str) -> Option<ContainerHealth> {
    if status.contains("(unhealthy)") {
        Some(ContainerHealth::Unhealthy)
    } else if status.contains("(healthy)") {
        Some(ContainerHealth::Healthy)
    } else if status.contains("(health: starting)") || status.contains("(starting)") {
        Some(ContainerHealth::Starting)
    } else {
        None
    }
}

fn port(one: Port) -> PortReport {
    PortReport {
        private: one.private,
        public: one.public.filter(|port| *port != 0),
        address: reported(&one.address),
        protocol: reported(&one.protocol),
    }
}

fn image(one: Image) -> ImageReport {
    let named = one.tags.iter().filter(|tag| *tag != "<none>:<none>");
    ImageReport {
        id: short(&one.id),
        tags: named.take(TAGS_MAX).map(|tag| reported(tag)).collect(),
        size_bytes: u64::try_from(one.size).unwrap_or(0),
        created_at: time(one.created),
    }
}

#[cfg(test)]
mod tests;
