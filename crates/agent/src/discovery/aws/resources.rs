//! Networks, subnets, addresses and interfaces, as Argosy keeps them.

use argosy_wire::rest::discovery::IngestResource;
use serde_json::{Map, Value, json};

use super::xml::Node;
use crate::discovery::shape;

/// One kind of resources.
pub(super) struct Kind {
    /// The call that lists them.
    pub(super) call: &'static str,
    /// What the call needs.
    pub(super) permission: &'static str,
    /// Whether the call takes a number of items; addresses come all at once.
    pub(super) paged: bool,
    list: &'static str,
    one: fn(&Node) -> Option<Found>,
}

/// A resource without what all of a region have in common.
struct Found {
    resource_type: &'static str,
    id: String,
    cidr: Option<String>,
    parent: Option<String>,
    metadata: Map<String, Value>,
}

/// Every kind that is read, what holds others first.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        call: "DescribeVpcs",
        permission: "ec2:DescribeVpcs",
        paged: true,
        list: "vpcSet",
        one: vpc,
    },
    Kind {
        call: "DescribeSubnets",
        permission: "ec2:DescribeSubnets",
        paged: true,
        list: "subnetSet",
        one: subnet,
    },
    Kind {
        call: "DescribeNetworkInterfaces",
        permission: "ec2:DescribeNetworkInterfaces",
        paged: true,
        list: "networkInterfaceSet",
        one: interface,
    },
    Kind {
        call: "DescribeAddresses",
        permission: "ec2:DescribeAddresses",
        paged: false,
        list: "addressesSet",
        one: address,
    },
];

impl Kind {
    /// The resources of a page.
    pub(super) fn resources(&self, page: &Node, region: &str) -> Vec<IngestResource> {
        let resource = |node: &Node| {
            let mut found = (self.one)(node)?;
            let tags = tags(node);
            let name = tags.get("Name").and_then(Value::as_str).unwrap_or_default().to_owned();
            if !tags.is_empty() {
                found.metadata.insert("tags".to_owned(), Value::Object(tags));
            }
            Some(IngestResource {
                provider: super::NAME.to_owned(),
                region: region.to_owned(),
                resource_type: found.resource_type.to_owned(),
                resource_id: found.id,
                name,
                cidr: found.cidr,
                parent_resource_id: found.parent,
                metadata: Some(found.metadata),
            })
        };
        page.items(self.list).filter_map(resource).collect()
    }
}

fn owned(node: &Node, name: &str) -> Option<String> {
    node.text(name).map(str::to_owned)
}

fn tags(node: &Node) -> Map<String, Value> {
    // Interfaces call theirs otherwise.
    let lists = ["tagSet", "TagSet"].into_iter().flat_map(|list| node.items(list));
    let pair =
        |tag: &Node| Some((owned(tag, "key")?, tag.text("value").unwrap_or_default().into()));
    lists.filter_map(pair).collect()
}

/// Ranges that are in use, as the list of that name has them.
fn ranges(node: &Node, list: &str, block: &str, state: &str) -> Vec<Value> {
    let associated = |item: &&Node| {
        let state = item.child(state).and_then(|state| state.text("state"));
        state.is_none_or(|state| state == "associated")
    };
    let ranges = node.items(list).filter(associated);
    ranges.filter_map(|item| item.text(block)).map(Value::from).collect()
}

fn vpc(node: &Node) -> Option<Found> {
    let fields = json!({
        "state": node.text("state"),
        "is_default": node.text("isDefault").map(|text| text == "true"),
        "owner_id": node.text("ownerId"),
        "dhcp_options_id": node.text("dhcpOptionsId"),
        "instance_tenancy": node.text("instanceTenancy"),
        "cidr_blocks": ranges(node, "cidrBlockAssociationSet", "cidrBlock", "cidrBlockState"),
        "ipv6_cidr_blocks": ranges(
            node, "ipv6CidrBlockAssociationSet", "ipv6CidrBlock", "ipv6CidrBlockState",
        ),
    });
    Some(Found {
        resource_type: "vpc",
        id: owned(node, "vpcId")?,
        cidr: owned(node, "cidrBlock"),
        parent: None,
        metadata: shape::metadata(fields),
    })
}

fn subnet(node: &Node) -> Option<Found> {
    let free = node.text("availableIpAddressCount").and_then(|text| text.parse::<u64>().ok());
    let fields = json!({
        "state": node.text("state"),
        "availability_zone": node.text("availabilityZone"),
        "available_addresses": free,
        "public_on_launch": node.text("mapPublicIpOnLaunch").map(|text| text == "true"),
        "default_for_zone": node.text("defaultForAz").map(|text| text == "true"),
        "owner_id": node.text("ownerId"),
        "arn": node.text("subnetArn"),
        "ipv6_cidr_blocks": ranges(
            node, "ipv6CidrBlockAssociationSet", "ipv6CidrBlock", "ipv6CidrBlockState",
        ),
    });
    Some(Found {
        resource_type: "subnet",
        id: owned(node, "subnetId")?,
        cidr: owned(node, "cidrBlock"),
        parent: owned(node, "vpcId"),
        metadata: shape::metadata(fields),
    })
}

fn interface(node: &Node) -> Option<Found> {
    let private = node.items("privateIpAddressesSet");
    let private: Vec<&str> = private.filter_map(|item| item.text("privateIpAddress")).collect();
    let ipv6 = node.items("ipv6AddressesSet");
    let ipv6: Vec<&str> = ipv6.filter_map(|item| item.text("ipv6Address")).collect();
    let attachment = node.child("attachment");
    let attached = |name| attachment.and_then(|attachment| attachment.text(name));
    let public = node.at(&["association"]).and_then(|association| association.text("publicIp"));
    let fields = json!({
        "status": node.text("status"),
        "description": node.text("description"),
        "interface_type": node.text("interfaceType"),
        "vpc_id": node.text("vpcId"),
        "availability_zone": node.text("availabilityZone"),
        "mac_address": node.text("macAddress"),
        "private_addresses": private,
        "ipv6_addresses": ipv6,
        "public_address": public,
        "instance_id": attached("instanceId"),
        "owner_id": node.text("ownerId"),
    });
    Some(Found {
        resource_type: "network_interface",
        id: owned(node, "networkInterfaceId")?,
        cidr: node.text("privateIpAddress").map(|address| format!("{address}/32")),
        parent: owned(node, "subnetId"),
        metadata: shape::metadata(fields),
    })
}

fn address(node: &Node) -> Option<Found> {
    let public = node.text("publicIp");
    let fields = json!({
        "public_address": public,
        "private_address": node.text("privateIpAddress"),
        "association_id": node.text("associationId"),
        "instance_id": node.text("instanceId"),
        "network_border_group": node.text("networkBorderGroup"),
        "domain": node.text("domain"),
    });
    Some(Found {
        resource_type: "elastic_ip",
        // Addresses of the time before networks have no id of their own.
        id: owned(node, "allocationId").or_else(|| public.map(str::to_owned))?,
        cidr: public.map(|address| format!("{address}/32")),
        parent: owned(node, "networkInterfaceId"),
        metadata: shape::metadata(fields),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: usize, xml: &str) -> Vec<IngestResource> {
        KINDS[kind].resources(&Node::parse(xml).unwrap(), "eu-central-1")
    }

    #[test]
    fn a_network_has_all_its_ranges_and_tags() {
        let found = read(
            0,
            "<DescribeVpcsResponse><vpcSet><item><vpcId>vpc-1</vpcId><cidrBlock>10.0.0.0/16</cidrBlock>
             <isDefault>false</isDefault><cidrBlockAssociationSet>
             <item><cidrBlock>10.0.0.0/16</cidrBlock><cidrBlockState><state>associated</state>
             </cidrBlockState></item>
             <item><cidrBlock>10.9.0.0/16</cidrBlock><cidrBlockState><state>disassociated</state>
             </cidrBlockState></item></cidrBlockAssociationSet>
             <ipv6CidrBlockAssociationSet><item><ipv6CidrBlock>2001:db8::/56</ipv6CidrBlock>
             <ipv6CidrBlockState><state>associated</state></ipv6CidrBlockState></item>
             </ipv6CidrBlockAssociationSet>
             <tagSet><item><key>Name</key><value>main &amp; only</value></item>
             <item><key>empty</key><value/></item></tagSet></item></vpcSet></DescribeVpcsResponse>",
        );
        let metadata = found[0].metadata.as_ref().unwrap();
        assert_eq!(
            (found[0].name.as_str(), found[0].resource_id.as_str()),
            ("main & only", "vpc-1")
        );
        assert_eq!(metadata["cidr_blocks"], json!(["10.0.0.0/16"]));
        assert_eq!(metadata["ipv6_cidr_blocks"], json!(["2001:db8::/56"]));
        assert_eq!(metadata["tags"], json!({ "Name": "main & only", "empty": "" }));
        assert!(!metadata.contains_key("owner_id"), "what is not said is left out");
    }

    #[test]
    fn things_lie_in_each_other() {
        let subnet = read(
            1,
            "<r><subnetSet><item><subnetId>s-1</subnetId><vpcId>vpc-1</vpcId>
             <availableIpAddressCount>251</availableIpAddressCount></item></subnetSet></r>",
        );
        assert_eq!(subnet[0].parent_resource_id.as_deref(), Some("vpc-1"));
        assert_eq!(subnet[0].metadata.as_ref().unwrap()["available_addresses"], 251);
        let interface = read(
            2,
            "<r><networkInterfaceSet><item><networkInterfaceId>eni-1</networkInterfaceId>
             <subnetId>s-1</subnetId><privateIpAddress>10.0.0.4</privateIpAddress></item>
             </networkInterfaceSet></r>",
        );
        assert_eq!(interface[0].cidr.as_deref(), Some("10.0.0.4/32"));
        let address = read(
            3,
            "<r><addressesSet><item><publicIp>192.0.2.1</publicIp>
             <networkInterfaceId>eni-1</networkInterfaceId></item></addressesSet></r>",
        );
        assert_eq!(address[0].resource_id, "192.0.2.1");
        assert_eq!(address[0].parent_resource_id.as_deref(), Some("eni-1"));
    }
}
