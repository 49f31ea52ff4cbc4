//! Virtual networks, subnets and public addresses of Azure, as Argosy keeps them.
//!
//! Azure's ids mean the same in upper and in lower case, and come in both; here they are lower case.

use std::collections::HashMap;

use argosy_wire::rest::discovery::IngestResource;
use serde_json::{Map, Value, json};

use super::NAME;
use crate::discovery::shape::{self, list, metadata, range, text};

/// Addresses of a subnet that Azure keeps for itself.
const RESERVED: u64 = 5;

/// Everything that a subscription has of what is read here.
pub(super) fn all(
    networks: &[Value],
    addresses: &[Value],
    subscription: &str,
) -> Vec<IngestResource> {
    let (mut found, mut subnet_of) = (Vec::new(), HashMap::new());
    for item in networks {
        let Some(network) = network(item, subscription) else { continue };
        for inside in list(&item["properties"], "subnets") {
            let Some(subnet) = subnet(inside, &network, subscription) else { continue };
            for configuration in list(&inside["properties"], "ipConfigurations") {
                if let Some(id) = lower(configuration) {
                    subnet_of.insert(id, subnet.resource_id.clone());
                }
            }
            found.push(subnet);
        }
        found.push(network);
    }
    found.extend(addresses.iter().filter_map(|item| address(item, &subnet_of, subscription)));
    found
}

/// The name of a region, if it is one: other locations are names for several.
pub(super) fn physical(location: &Value) -> Option<String> {
    let kind = text(&location["metadata"], "regionType");
    text(location, "name").filter(|_| kind != Some("Logical")).map(region)
}

/// `West Europe` and `westeurope` are one.
fn region(name: &str) -> String {
    name.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase()
}

fn lower(item: &Value) -> Option<String> {
    text(item, "id").map(|id| shape::id(&id.to_ascii_lowercase()))
}

/// The name of the group, which stands in the id.
fn group(id: &str) -> Option<&str> {
    id.split_once("/resourcegroups/")?.1.split('/').next()
}

/// What is common to all: `id`, `name`, `location`, `tags`.
fn resource(
    item: &Value,
    resource_type: &str,
    subscription: &str,
    mut fields: Map<String, Value>,
) -> Option<IngestResource> {
    let id = lower(item)?;
    fields.insert("subscription_id".to_owned(), subscription.into());
    if let Some(group) = group(&id) {
        fields.insert("resource_group".to_owned(), group.into());
    }
    if let Some(tags) = item["tags"].as_object().filter(|tags| !tags.is_empty()) {
        fields.insert("tags".to_owned(), Value::Object(tags.clone()));
    }
    Some(IngestResource {
        provider: NAME.to_owned(),
        region: text(item, "location").map(region).unwrap_or_default(),
        resource_type: resource_type.to_owned(),
        resource_id: id,
        name: text(item, "name").unwrap_or_default().to_owned(),
        cidr: None,
        parent_resource_id: None,
        metadata: Some(fields),
    })
}

/// Ranges of both families.
fn families<'v>(ranges: impl Iterator<Item = &'v str>) -> (Vec<&'v str>, Vec<&'v str>) {
    ranges.partition(|range| !range.contains(':'))
}

fn network(item: &Value, subscription: &str) -> Option<IngestResource> {
    let properties = &item["properties"];
    let prefixes = list(&properties["addressSpace"], "addressPrefixes").filter_map(Value::as_str);
    let (ipv4, ipv6) = families(prefixes);
    let peered = list(properties, "virtualNetworkPeerings")
        .filter_map(|peering| lower(&peering["properties"]["remoteVirtualNetwork"]));
    let dns = list(&properties["dhcpOptions"], "dnsServers");
    let fields = json!({
        "state": text(properties, "provisioningState"),
        "guid": text(properties, "resourceGuid"),
        "cidr_blocks": ipv4,
        "ipv6_cidr_blocks": ipv6,
        "dns_servers": dns.collect::<Vec<_>>(),
        "peered_with": peered.collect::<Vec<_>>(),
        "ddos_protection": properties["enableDdosProtection"].as_bool(),
    });
    let cidr = ipv4.first().or(ipv6.first()).map(|range| (*range).to_owned());
    let resource = resource(item, "vpc", subscription, metadata(fields))?;
    Some(IngestResource { cidr, ..resource })
}

fn subnet(item: &Value, network: &IngestResource, subscription: &str) -> Option<IngestResource> {
    let properties = &item["properties"];
    let one = text(properties, "addressPrefix");
    let more = list(properties, "addressPrefixes").filter_map(Value::as_str);
    let (ipv4, ipv6) = families(one.into_iter().chain(more.filter(|more| one != Some(*more))));
    let delegated = list(properties, "delegations")
        .filter_map(|delegation| text(&delegation["properties"], "serviceName"));
    let delegated: Vec<&str> = delegated.collect();
    let linked = |field: &str| lower(&properties[field]);
    let used = list(properties, "ipConfigurations").count();
    let fields = json!({
        "state": text(properties, "provisioningState"),
        "purpose": text(properties, "purpose"),
        "cidr_blocks": ipv4,
        "ipv6_cidr_blocks": ipv6,
        // What a service does with a subnet of its own is not told.
        "available_addresses": if delegated.is_empty() { free(&ipv4, used) } else { None },
        "delegated_to": delegated,
        "security_group": linked("networkSecurityGroup"),
        "route_table": linked("routeTable"),
        "nat_gateway": linked("natGateway"),
    });
    let cidr = ipv4.first().or(ipv6.first()).map(|range| (*range).to_owned());
    let resource = resource(item, "subnet", subscription, metadata(fields))?;
    Some(IngestResource {
        cidr,
        region: network.region.clone(),
        parent_resource_id: Some(network.resource_id.clone()),
        ..resource
    })
}

/// Addresses that are free, where there is one range.
fn free(ipv4: &[&str], used: usize) -> Option<u64> {
    let [range] = ipv4 else { return None };
    let prefix: u32 = range.split_once('/')?.1.parse().ok()?;
    let size = 1u64.checked_shl(32u32.checked_sub(prefix)?)?;
    Some(size.saturating_sub(RESERVED).saturating_sub(u64::try_from(used).ok()?))
}

fn address(
    item: &Value,
    subnet_of: &HashMap<String, String>,
    subscription: &str,
) -> Option<IngestResource> {
    let properties = &item["properties"];
    let public = text(properties, "ipAddress");
    let configuration = lower(&properties["ipConfiguration"]);
    let parent = configuration.as_ref().and_then(|id| subnet_of.get(id)).cloned();
    let zones = list(item, "zones").collect::<Vec<_>>();
    let fields = json!({
        "state": text(properties, "provisioningState"),
        "public_address": public,
        "ip_version": text(properties, "publicIPAddressVersion"),
        "allocation": text(properties, "publicIPAllocationMethod"),
        "sku": text(&item["sku"], "name"),
        "tier": text(&item["sku"], "tier"),
        "zones": zones,
        "dns_name": text(&properties["dnsSettings"], "fqdn"),
        "ip_configuration": configuration,
        "nat_gateway": lower(&properties["natGateway"]),
    });
    let resource = resource(item, "public_ip", subscription, metadata(fields))?;
    let cidr = public.map(|address| range(address, None));
    Some(IngestResource { cidr, parent_resource_id: parent, ..resource })
}

#[cfg(test)]
mod tests;
