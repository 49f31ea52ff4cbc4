//! Answers as the reference of the interface shows them.

use super::*;

const GROUP: &str = "/subscriptions/One/resourceGroups/Rg/providers/Microsoft.Network";

fn network_of(subnets: &Value) -> Value {
    json!({
        "id": format!("{GROUP}/virtualNetworks/Main"), "name": "Main", "location": "West Europe",
        "tags": { "env": "test" },
        "properties": {
            "addressSpace": { "addressPrefixes": ["10.0.0.0/16", "10.9.0.0/16", "fd00:1::/48"] },
            "dhcpOptions": { "dnsServers": ["10.0.0.4"] }, "subnets": subnets,
            "virtualNetworkPeerings": [{ "properties": {
                "remoteVirtualNetwork": { "id": "/subscriptions/Two/VNET" } } }],
        },
    })
}

#[test]
fn a_network_has_all_its_ranges_and_tags() {
    let found = all(&[network_of(&json!([]))], &[], "one");
    let [network] = found.as_slice() else { panic!("{found:?}") };
    let id =
        "/subscriptions/one/resourcegroups/rg/providers/microsoft.network/virtualnetworks/main";
    assert_eq!((network.resource_id.as_str(), network.name.as_str()), (id, "Main"));
    assert_eq!(
        (network.region.as_str(), network.cidr.as_deref()),
        ("westeurope", Some("10.0.0.0/16"))
    );
    let metadata = network.metadata.as_ref().unwrap();
    assert_eq!(metadata["cidr_blocks"], json!(["10.0.0.0/16", "10.9.0.0/16"]));
    assert_eq!(metadata["ipv6_cidr_blocks"], json!(["fd00:1::/48"]));
    assert_eq!(metadata["tags"], json!({ "env": "test" }));
    assert_eq!(metadata["peered_with"], json!(["/subscriptions/two/vnet"]));
    assert_eq!(
        (&metadata["resource_group"], &metadata["subscription_id"]),
        (&json!("rg"), &json!("one"))
    );
    assert!(!metadata.contains_key("state"), "what is not said is left out");
}

#[test]
fn subnets_lie_in_networks_and_addresses_in_subnets() {
    let configuration = format!("{GROUP}/networkInterfaces/nic/ipConfigurations/first");
    let subnets = json!([
        { "id": format!("{GROUP}/virtualNetworks/Main/subnets/Web"), "name": "Web", "properties": {
            "addressPrefix": "10.0.1.0/24", "ipConfigurations": [{ "id": configuration }],
            "networkSecurityGroup": { "id": "/NSG" } } },
        { "id": format!("{GROUP}/virtualNetworks/Main/subnets/Both"), "name": "Both", "properties": {
            "addressPrefixes": ["10.0.2.0/26", "fd00:1:2::/64"],
            "delegations": [{ "properties": { "serviceName": "Microsoft.Web/serverFarms" } }] } },
    ]);
    let addresses = [
        json!({ "id": format!("{GROUP}/publicIPAddresses/Front"), "name": "Front", "location": "westeurope",
            "sku": { "name": "Standard", "tier": "Regional" }, "zones": ["1"], "properties": {
            "ipAddress": "203.0.113.7", "ipConfiguration": { "id": configuration.to_uppercase() } } }),
        json!({ "id": format!("{GROUP}/publicIPAddresses/Idle"), "name": "Idle", "location": "westeurope",
            "properties": { "publicIPAllocationMethod": "Dynamic" } }),
    ];
    let found = all(&[network_of(&subnets)], &addresses, "one");
    let named = |name: &str| found.iter().find(|resource| resource.name == name).unwrap();
    let (web, both, main) = (named("Web"), named("Both"), named("Main"));
    assert_eq!(web.parent_resource_id.as_ref(), Some(&main.resource_id));
    assert_eq!((web.region.as_str(), web.cidr.as_deref()), ("westeurope", Some("10.0.1.0/24")));
    let metadata = |resource: &IngestResource| resource.metadata.clone().unwrap();
    assert_eq!(metadata(web)["available_addresses"], 250);
    assert_eq!(metadata(web)["security_group"], "/nsg");
    assert_eq!(metadata(both)["ipv6_cidr_blocks"], json!(["fd00:1:2::/64"]));
    assert!(!metadata(both).contains_key("available_addresses"), "it is delegated");
    let (front, idle) = (named("Front"), named("Idle"));
    assert_eq!(front.parent_resource_id.as_ref(), Some(&web.resource_id));
    assert_eq!(front.cidr.as_deref(), Some("203.0.113.7/32"));
    assert_eq!((idle.cidr.as_ref(), idle.parent_resource_id.as_ref()), (None, None));
}

#[test]
fn only_places_are_regions() {
    let location = |kind: &str| json!({ "name": "europe", "metadata": { "regionType": kind } });
    assert_eq!(physical(&location("Logical")), None);
    assert_eq!(physical(&location("Physical")).as_deref(), Some("europe"));
}

#[test]
fn what_is_free_is_known_of_one_range() {
    assert_eq!(free(&["10.0.0.0/29"], 3), Some(0));
    assert_eq!(free(&["10.0.0.0/24"], 1), Some(250));
    assert_eq!(free(&["10.0.0.0/24", "10.1.0.0/24"], 1), None);
    assert_eq!(free(&["10.0.0.0/33"], 1), None);
}
