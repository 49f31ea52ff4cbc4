//! Discovered cloud resources, checked.

use serde_json::{Map, Value};

use crate::limits::NAME_CHARS_MAX;

/// Whether the last whole run over its scope saw a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceStatus {
    /// Seen.
    Active,
    /// Not seen by the last run over its scope.
    Stale,
}

impl ResourceStatus {
    /// The stored and public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Stale => "stale",
        }
    }

    /// The status of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Stale].into_iter().find(|s| s.as_str() == text)
    }
}

/// One resource as an agent saw it. Nothing in it says whose it is: that comes from the caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Such as `aws`.
    pub provider: String,
    /// Such as `eu-central-1`.
    pub region: String,
    /// Such as `vpc`.
    pub resource_type: String,
    /// The provider's own id.
    pub resource_id: String,
    /// For people.
    pub name: String,
    /// Address range, where it has one.
    pub cidr: Option<String>,
    /// The provider's id of what contains it.
    pub parent_resource_id: Option<String>,
    /// Whatever else the provider says.
    pub metadata: Map<String, Value>,
}

/// A field of a resource that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct InvalidResource {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Resource {
    /// Checks lengths and presence of every field.
    pub fn checked(self) -> Result<Self, InvalidResource> {
        let required = [
            ("provider", &self.provider),
            ("resource_type", &self.resource_type),
            ("resource_id", &self.resource_id),
        ];
        for (field, value) in required {
            if value.trim().is_empty() {
                return Err(InvalidResource { field, problem: "must not be empty" });
            }
        }
        let bounded = required.into_iter().chain([
            ("region", &self.region),
            ("name", &self.name),
            ("cidr", self.cidr.as_ref().unwrap_or(&self.name)),
            ("parent_resource_id", self.parent_resource_id.as_ref().unwrap_or(&self.name)),
        ]);
        for (field, value) in bounded {
            if value.chars().count() > NAME_CHARS_MAX {
                return Err(InvalidResource { field, problem: "must be at most 255 characters" });
            }
            if value.chars().any(char::is_control) {
                return Err(InvalidResource {
                    field,
                    problem: "must not contain control characters",
                });
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vpc() -> Resource {
        Resource {
            provider: "aws".into(),
            region: "eu-central-1".into(),
            resource_type: "vpc".into(),
            resource_id: "vpc-1".into(),
            name: String::new(),
            cidr: Some("10.0.0.0/16".into()),
            parent_resource_id: None,
            metadata: Map::new(),
        }
    }

    #[test]
    fn a_resource_without_name_or_region_is_fine_but_not_without_id() {
        assert!(vpc().checked().is_ok());
        let nameless = Resource { resource_id: " ".into(), ..vpc() };
        assert_eq!(nameless.checked().unwrap_err().field, "resource_id");
        let long = Resource { cidr: Some("1".repeat(256)), ..vpc() };
        assert_eq!(long.checked().unwrap_err().field, "cidr");
        let broken = Resource { region: "eu\n".into(), ..vpc() };
        assert_eq!(broken.checked().unwrap_err().field, "region");
    }
}
