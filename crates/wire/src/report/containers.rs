//! What the `containers` subsystem reports.

use argosy_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ReportTooLong, items, text};

/// Containers listed, running ones first.
pub const CONTAINERS_MAX: usize = 400;
/// Images listed.
pub const IMAGES_MAX: usize = 400;
/// Ports listed of one container.
pub const PORTS_MAX: usize = 32;
/// Names listed of one image.
pub const TAGS_MAX: usize = 8;

/// What the `containers` subsystem reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContainersReport {
    /// Who runs containers on the host; `null` where no engine was found.
    pub engine: Option<EngineReport>,
    /// Containers that run.
    pub running: u32,
    /// Containers that there are, running or not.
    pub total: u32,
    /// Containers whose health check fails.
    pub unhealthy: u32,
    /// Containers, running ones first, then by name.
    pub containers: Vec<ContainerReport>,
    /// Images that there are.
    pub images_total: u32,
    /// Images, the largest first.
    pub images: Vec<ImageReport>,
    /// There is more than is listed.
    pub truncated: bool,
}

/// A container engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EngineReport {
    /// `docker` or `podman`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The socket that it was asked by.
    pub socket: String,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContainerReport {
    /// The first twelve digits of its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image that it was made from, as it was asked for.
    pub image: String,
    /// In the engine's words: `created`, `running`, `paused`, `restarting`, `exited`, `dead` and more.
    pub state: String,
    /// The same for people, such as `Up 5 minutes (healthy)`.
    pub status: String,
    /// What its health check says; `null` where it has none.
    pub health: Option<ContainerHealth>,
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub created_at: Option<Timestamp>,
    /// Ports that it exposes or publishes.
    pub ports: Vec<PortReport>,
    /// The compose project that it belongs to.
    pub compose_project: Option<String>,
    /// Its service in that project.
    pub compose_service: Option<String>,
}

/// What a health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ContainerHealth {
    /// Not known yet.
    Starting,
    /// All is well.
    Healthy,
    /// The check fails.
    Unhealthy,
}

/// A port of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PortReport {
    /// Inside the container.
    pub private: u16,
    /// On the host, where it is published.
    pub public: Option<u16>,
    /// The host's address that it is published on; empty where it is not.
    pub address: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageReport {
    /// The first twelve digits of its id.
    pub id: String,
    /// Its names with tags; none of one that nothing names any more.
    pub tags: Vec<String>,
    /// Its size, layers that it shares included.
    pub size_bytes: u64,
    /// When it was built.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub created_at: Option<Timestamp>,
}

impl ContainersReport {
    pub(super) fn check(&self) -> Result<(), ReportTooLong> {
        if let Some(engine) = &self.engine {
            text("engine.name", &engine.name)?;
            text("engine.version", &engine.version)?;
            text("engine.socket", &engine.socket)?;
        }
        items("containers", &self.containers, CONTAINERS_MAX)?;
        self.containers.iter().try_for_each(ContainerReport::check)?;
        items("images", &self.images, IMAGES_MAX)?;
        for image in &self.images {
            text("images.id", &image.id)?;
            items("images.tags", &image.tags, TAGS_MAX)?;
            image.tags.iter().try_for_each(|tag| text("images.tags", tag))?;
        }
        Ok(())
    }
}

impl ContainerReport {
    fn check(&self) -> Result<(), ReportTooLong> {
        text("containers.id", &self.id)?;
        text("containers.name", &self.name)?;
        text("containers.image", &self.image)?;
        text("containers.state", &self.state)?;
        text("containers.status", &self.status)?;
        text("containers.compose_project", self.compose_project.as_deref().unwrap_or_default())?;
        text("containers.compose_service", self.compose_service.as_deref().unwrap_or_default())?;
        items("containers.ports", &self.ports, PORTS_MAX)?;
        for port in &self.ports {
            text("containers.ports.address", &port.address)?;
            text("containers.ports.protocol", &port.protocol)?;
        }
        Ok(())
    }
}
