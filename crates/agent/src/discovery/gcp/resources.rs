//! Networks, subnets and addresses of Google Cloud, as Argosy keeps them.
//!
//! Their ids are the paths of their links, such as `projects/alpha/global/networks/main`: names are
//! unique in a project and a region only.

use argosy_wire::rest::discovery::IngestResource;
use serde_json::{Map, Value, json};

use super::GLOBAL;
use crate::discovery::{
    Failure,
    holdings::Regions,
    shape::{self, list, metadata, range, text},
};

/// One kind of resources.
pub(super) struct Kind {
    /// The call that lists them.
    pub(super) call: &'static str,
    /// What the call needs.
    pub(super) permission: &'static str,
    /// Where the list is, below the project.
    pub(super) path: &'static str,
    /// What is asked for beside the number of items.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// What a region calls its list, where one answer has all regions.
    of_region: Option<&'static str>,
    one: fn(&Value) -> Option<Found>,
}

/// A resource without what all of a kind have in common.
struct Found {
    resource_type: &'static str,
    cidr: Option<String>,
    parent: Option<String>,
    metadata: Map<String, Value>,
}

/// A region that does not answer is told, and does not take the others with it.
const PARTIAL: (&str, &str) = ("returnPartialSuccess", "true");

/// Every kind that is read, what holds others first.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        call: "compute.networks.list",
        permission: "compute.networks.list",
        path: "global/networks",
        query: &[],
        of_region: None,
        one: network,
    },
    Kind {
        call: "compute.subnetworks.aggregatedList",
        permission: "compute.subnetworks.list",
        path: "aggregated/subnetworks",
        query: &[PARTIAL, ("views", "WITH_UTILIZATION")],
        of_region: Some("subnetworks"),
        one: subnet,
    },
    Kind {
        call: "compute.addresses.aggregatedList",
        permission: "compute.addresses.list",
        path: "aggregated/addresses",
        query: &[PARTIAL],
        of_region: Some("addresses"),
        one: address,
    },
];

/// `regions/europe-west3` and `projects/alpha/regions/europe-west3` are `europe-west3`.
fn region_of(scope: &str) -> &str {
    scope.rsplit('/').next().unwrap_or(scope)
}

impl Kind {
    /// Adds what a page has.
    pub(super) fn gather(&self, page: &Value, project: &str, regions: &mut Regions) {
        let Some(of_region) = self.of_region else {
            let found = list(page, "items").filter_map(|item| self.resource(item, GLOBAL, project));
            return regions.entry(GLOBAL.to_owned()).or_default().found.extend(found);
        };
        for (scope, part) in page["items"].as_object().into_iter().flatten() {
            let name = region_of(scope);
            let region = regions.entry(name.to_owned()).or_default();
            let items = list(part, of_region).filter_map(|item| self.resource(item, name, project));
            region.found.extend(items);
            // A warning stands in the place of a list that is empty.
            let warning = text(&part["warning"], "code").filter(|_| part[of_region].is_null());
            if let Some(code) = warning.filter(|code| *code != "NO_RESULTS_ON_PAGE") {
                let said = text(&part["warning"], "message").unwrap_or_default();
                region.failure = Some(self.away(project, &format!("{code}: {said}")));
            }
        }
        for scope in list(page, "unreachables").filter_map(Value::as_str) {
            let region = regions.entry(region_of(scope).to_owned()).or_default();
            region.failure = Some(self.away(project, "the region cannot be reached"));
        }
    }

    fn away(&self, project: &str, why: &str) -> Failure {
        let error = format!("project {project}: {why}");
        Failure { error, call: Some(self.call.to_owned()), permission: None }
    }

    fn resource(&self, item: &Value, region: &str, project: &str) -> Option<IngestResource> {
        let id = path(text(item, "selfLink")?);
        let mut found = (self.one)(item)?;
        found.metadata.insert("project".to_owned(), project.into());
        if let Some(labels) = item["labels"].as_object().filter(|labels| !labels.is_empty()) {
            found.metadata.insert("tags".to_owned(), Value::Object(labels.clone()));
        }
        Some(IngestResource {
            provider: super::NAME.to_owned(),
            region: region.to_owned(),
            resource_type: found.resource_type.to_owned(),
            resource_id: shape::id(id),
            name: text(item, "name").unwrap_or_default().to_owned(),
            cidr: found.cidr,
            parent_resource_id: found.parent,
            metadata: Some(found.metadata),
        })
    }
}

/// What of a link is the same at every endpoint and in every version.
fn path(link: &str) -> &str {
    link.find("projects/").map_or(link, |at| &link[at..])
}

fn linked(item: &Value, field: &str) -> Option<String> {
    text(item, field).map(|link| shape::id(path(link)))
}

fn network(item: &Value) -> Option<Found> {
    let peerings = list(item, "peerings").filter_map(|peering| linked(peering, "network"));
    let fields = json!({
        "number": text(item, "id"),
        "description": text(item, "description"),
        "created_at": text(item, "creationTimestamp"),
        "automatic_subnets": item["autoCreateSubnetworks"].as_bool(),
        "routing_mode": text(&item["routingConfig"], "routingMode"),
        "mtu": item["mtu"].as_u64(),
        "peered_with": peerings.collect::<Vec<_>>(),
        "ipv6_cidr_blocks": text(item, "internalIpv6Range").into_iter().collect::<Vec<_>>(),
    });
    // Only networks of the time before subnets have a range of their own.
    let cidr = text(item, "IPv4Range").map(str::to_owned);
    Some(Found { resource_type: "vpc", cidr, parent: None, metadata: metadata(fields) })
}

fn subnet(item: &Value) -> Option<Found> {
    let cidr = text(item, "ipCidrRange").map(str::to_owned);
    let secondary = list(item, "secondaryIpRanges").filter_map(|more| {
        Some(json!({ "name": text(more, "rangeName"), "cidr": text(more, "ipCidrRange")? }))
    });
    let secondary: Vec<Value> = secondary.collect();
    let more = secondary.iter().filter_map(|more| text(more, "cidr"));
    let all: Vec<&str> = cidr.as_deref().into_iter().chain(more).collect();
    // `ipv6CidrRange` says one of the others again.
    let ipv6 = ["internalIpv6Prefix", "externalIpv6Prefix", "ipv6CidrRange"];
    let mut ipv6: Vec<&str> = ipv6.into_iter().filter_map(|field| text(item, field)).collect();
    ipv6.sort_unstable();
    ipv6.dedup();
    let fields = json!({
        "number": text(item, "id"),
        "description": text(item, "description"),
        "created_at": text(item, "creationTimestamp"),
        "state": text(item, "state"),
        "purpose": text(item, "purpose"),
        "role": text(item, "role"),
        "stack_type": text(item, "stackType"),
        "ipv6_access": text(item, "ipv6AccessType"),
        "gateway": text(item, "gatewayAddress"),
        "private_google_access": item["privateIpGoogleAccess"].as_bool(),
        "available_addresses": free(item),
        "secondary_ranges": secondary,
        "cidr_blocks": all,
        "ipv6_cidr_blocks": ipv6,
    });
    let parent = linked(item, "network");
    Some(Found { resource_type: "subnet", cidr, parent, metadata: metadata(fields) })
}

/// Free addresses of the primary range, which has no name.
fn free(item: &Value) -> Option<u64> {
    let mut ranges = list(&item["utilizationDetails"], "ipv4Utilizations");
    let primary = ranges.find(|range| text(range, "rangeName").is_none())?;
    // A number of 64 bits is a text in JSON.
    primary["totalFreeIp"].as_u64().or_else(|| text(primary, "totalFreeIp")?.parse().ok())
}

fn address(item: &Value) -> Option<Found> {
    let address = text(item, "address");
    // External unless it says otherwise, as the interface has it.
    let internal = text(item, "addressType") == Some("INTERNAL");
    let users = list(item, "users").filter_map(Value::as_str).map(path);
    let fields = json!({
        "number": text(item, "id"),
        "description": text(item, "description"),
        "created_at": text(item, "creationTimestamp"),
        "public_address": address.filter(|_| !internal),
        "private_address": address.filter(|_| internal),
        "address_type": text(item, "addressType"),
        "ip_version": text(item, "ipVersion"),
        "network_tier": text(item, "networkTier"),
        "purpose": text(item, "purpose"),
        "status": text(item, "status"),
        "users": users.collect::<Vec<_>>(),
    });
    Some(Found {
        resource_type: "address",
        cidr: address.map(|address| range(address, item["prefixLength"].as_u64())),
        parent: linked(item, "subnetwork").or_else(|| linked(item, "network")),
        metadata: metadata(fields),
    })
}

#[cfg(test)]
mod tests;
