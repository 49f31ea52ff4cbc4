//! What engines answer, as the Docker Engine API reference has it (v1.24 and later; Podman answers
//! the same on its socket). Only what a report shows is read; engines write `null` for empty lists.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

fn or_default<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// `GET /version`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Version {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) version: String,
    #[serde(default, deserialize_with = "or_default")]
    components: Vec<Component>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Component {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
}

impl Version {
    /// Who answers.
    pub(super) fn engine(&self) -> &'static str {
        let podman = |part: &Component| part.name.to_lowercase().contains("podman");
        if self.components.iter().any(podman) { "podman" } else { "docker" }
    }
}

/// One of `GET /containers/json`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub(super) id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) names: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) image: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) created: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) state: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) status: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) ports: Vec<Port>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) labels: BTreeMap<String, String>,
}

/// A port of a container.
#[derive(Debug, Deserialize)]
pub(super) struct Port {
    #[serde(rename = "IP", default, deserialize_with = "or_default")]
    pub(super) address: String,
    #[serde(rename = "PrivatePort")]
    pub(super) private: u16,
    #[serde(rename = "PublicPort", default)]
    pub(super) public: Option<u16>,
    #[serde(rename = "Type", default, deserialize_with = "or_default")]
    pub(super) protocol: String,
}

/// One of `GET /images/json`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Image {
    pub(super) id: String,
    #[serde(rename = "RepoTags", default, deserialize_with = "or_default")]
    pub(super) tags: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) created: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) size: i64,
}
