//! Answers as the reference of the interface shows them.

use super::*;

const LINK: &str = "https://www.googleapis.com/compute/v1/projects/alpha";

fn gathered(kind: usize, page: &Value) -> Regions {
    let mut regions = Regions::new();
    KINDS[kind].gather(page, "alpha", &mut regions);
    regions
}

#[test]
fn a_network_is_global_and_has_no_range_of_its_own() {
    let page = json!({ "kind": "compute#networkList", "items": [{
        "id": "832735270185239641", "name": "main", "autoCreateSubnetworks": false, "mtu": 1460,
        "selfLink": format!("{LINK}/global/networks/main"), "internalIpv6Range": "fd20:1::/48",
        "routingConfig": { "routingMode": "REGIONAL" },
        "peerings": [{ "network": "https://x/compute/v1/projects/beta/global/networks/other" }],
    }] });
    let regions = gathered(0, &page);
    let found = &regions[GLOBAL].found[0];
    assert_eq!(found.resource_id, "projects/alpha/global/networks/main");
    assert_eq!((found.cidr.as_deref(), found.name.as_str()), (None, "main"));
    let metadata = found.metadata.as_ref().unwrap();
    assert_eq!(metadata["ipv6_cidr_blocks"], json!(["fd20:1::/48"]));
    assert_eq!(metadata["peered_with"], json!(["projects/beta/global/networks/other"]));
    assert_eq!(metadata["project"], "alpha");
    assert!(!metadata.contains_key("description"), "what is not said is left out");
}

#[test]
fn a_subnet_lies_in_its_network_and_has_all_its_ranges() {
    let page = json!({ "items": {
        "regions/europe-west3": { "subnetworks": [{
            "name": "web", "ipCidrRange": "10.1.0.0/20", "network": format!("{LINK}/global/networks/main"),
            "selfLink": format!("{LINK}/regions/europe-west3/subnetworks/web"),
            "secondaryIpRanges": [{ "rangeName": "pods", "ipCidrRange": "10.64.0.0/14" }],
            "internalIpv6Prefix": "fd20:1:2::/64", "ipv6CidrRange": "fd20:1:2::/64",
            "utilizationDetails": { "ipv4Utilizations": [
                { "rangeName": "pods", "totalFreeIp": "7" }, { "totalFreeIp": "4000" }] },
        }] },
        "regions/us-east1": { "warning": { "code": "NO_RESULTS_ON_PAGE", "message": "none" } },
    } });
    let regions = gathered(1, &page);
    let found = &regions["europe-west3"].found[0];
    assert_eq!(found.parent_resource_id.as_deref(), Some("projects/alpha/global/networks/main"));
    let metadata = found.metadata.as_ref().unwrap();
    assert_eq!(metadata["cidr_blocks"], json!(["10.1.0.0/20", "10.64.0.0/14"]));
    assert_eq!(metadata["ipv6_cidr_blocks"], json!(["fd20:1:2::/64"]));
    assert_eq!(metadata["available_addresses"], 4000);
    assert_eq!(metadata["secondary_ranges"][0]["name"], "pods");
    let empty = &regions["us-east1"];
    assert!(empty.found.is_empty() && empty.failure.is_none(), "{empty:?}");
}

#[test]
fn a_region_that_is_away_is_not_empty() {
    let page = json!({
        "items": {
            "regions/us-east1": { "warning": { "code": "UNREACHABLE", "message": "down" } },
            "global": { "addresses": [] },
        },
        "unreachables": ["projects/alpha/regions/asia-east1"],
    });
    let regions = gathered(2, &page);
    let why = |name: &str| regions[name].failure.as_ref().map(|failure| failure.error.as_str());
    assert_eq!(why("us-east1"), Some("project alpha: UNREACHABLE: down"));
    assert_eq!(why("asia-east1"), Some("project alpha: the region cannot be reached"));
    assert_eq!(why(GLOBAL), None);
}

#[test]
fn an_address_says_where_it_lies_and_who_may_reach_it() {
    let page = json!({ "items": {
        "global": { "addresses": [
            { "name": "front", "address": "203.0.113.9", "selfLink": format!("{LINK}/global/addresses/front"),
              "labels": { "env": "test" }, "users": [format!("{LINK}/global/forwardingRules/f")] },
            { "name": "peers", "address": "10.9.0.0", "prefixLength": 20, "addressType": "INTERNAL",
              "selfLink": format!("{LINK}/global/addresses/peers"), "purpose": "VPC_PEERING",
              "network": format!("{LINK}/global/networks/main") },
        ] },
        "regions/europe-west3": { "addresses": [{ "name": "db", "address": "10.1.0.9",
            "addressType": "INTERNAL", "selfLink": format!("{LINK}/regions/europe-west3/addresses/db"),
            "subnetwork": format!("{LINK}/regions/europe-west3/subnetworks/web") }] },
    } });
    let regions = gathered(2, &page);
    let [front, peers] = regions[GLOBAL].found.as_slice() else { panic!("two are global") };
    assert_eq!((front.cidr.as_deref(), &front.parent_resource_id), (Some("203.0.113.9/32"), &None));
    let metadata = front.metadata.as_ref().unwrap();
    assert_eq!(
        (&metadata["public_address"], &metadata["tags"]["env"]),
        (&json!("203.0.113.9"), &json!("test"))
    );
    assert_eq!(metadata["users"], json!(["projects/alpha/global/forwardingRules/f"]));
    assert_eq!(peers.cidr.as_deref(), Some("10.9.0.0/20"));
    assert_eq!(peers.parent_resource_id.as_deref(), Some("projects/alpha/global/networks/main"));
    let inside = &regions["europe-west3"].found[0];
    let subnet = "projects/alpha/regions/europe-west3/subnetworks/web";
    assert_eq!(inside.parent_resource_id.as_deref(), Some(subnet));
    assert_eq!(inside.metadata.as_ref().unwrap()["private_address"], "10.1.0.9");
}
