//! What the address ranges of networks tell: which overlap, and which are nearly full.

use std::collections::{HashMap, HashSet};

use argosy_domain::{
    access::{Caller, Permission},
    id::AccountId,
    limits::PAGE_ITEMS_MAX,
};
use argosy_store::{NetworkRow, PageRequest};
use ipnet::IpNet;
use serde_json::Value;

use super::super::{
    App,
    error::{AppError, AppResult},
};

/// Networks and subnets that are compared.
const NETWORKS_MAX: u32 = 100_000;
/// Findings of each sort that are shown.
const FINDINGS_MAX: usize = 1_000;
/// A subnet is nearly full from this share of its addresses on.
const CROWDED_PERCENT: u64 = 80;

/// Two networks whose ranges overlap: what is in them cannot be routed to each other.
#[derive(Debug, Clone)]
pub struct Overlap {
    /// One of them, and its range.
    pub one: (NetworkRow, IpNet),
    /// The other.
    pub other: (NetworkRow, IpNet),
}

/// A subnet that is nearly full.
#[derive(Debug, Clone)]
pub struct Crowded {
    /// The subnet.
    pub subnet: NetworkRow,
    /// Addresses that can be given to something.
    pub usable: u64,
    /// Addresses that are free.
    pub free: u64,
    /// How much is in use.
    pub used_percent: u64,
}

/// What stands out.
#[derive(Debug, Clone, Default)]
pub struct Insight {
    /// Networks that overlap.
    pub overlaps: Vec<Overlap>,
    /// Subnets that are nearly full, the fullest first.
    pub crowded: Vec<Crowded>,
    /// There is more than is shown.
    pub truncated: bool,
}

impl App {
    /// What stands out about the active networks of the caller's organisation.
    pub async fn network_insight(
        &self,
        caller: &Caller,
        account: Option<i64>,
    ) -> AppResult<Insight> {
        let org = Self::own_org(caller, Permission::DiscoveryRead)?;
        let mut reader = self.store().read("resources.networks").await?;
        let (mut rows, mut page) = (Vec::new(), PageRequest::first(PAGE_ITEMS_MAX));
        loop {
            let part = reader.resources().networks(org, account.map(AccountId), &page).await?;
            rows.extend(part.items);
            if rows.len() > usize::try_from(NETWORKS_MAX).unwrap_or(usize::MAX) {
                let limit = format!("there are more than {NETWORKS_MAX}; name an account");
                return Err(AppError::field("account_id", limit));
            }
            match part.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        Ok(insight(rows))
    }
}

/// Where a provider's id means one thing.
type Key<'r> = (AccountId, &'r str, &'r str);

fn insight(rows: Vec<NetworkRow>) -> Insight {
    let (networks, subnets): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .partition(|row| row.resource_type != "subnet" && row.resource_type != "subnetwork");
    let (overlaps, more_overlaps) = overlaps(&spans(&networks, &subnets));
    let mut crowded: Vec<Crowded> = subnets.into_iter().filter_map(crowding).collect();
    crowded.sort_by(|a, b| b.used_percent.cmp(&a.used_percent).then(a.free.cmp(&b.free)));
    let truncated = more_overlaps || crowded.len() > FINDINGS_MAX;
    crowded.truncate(FINDINGS_MAX);
    Insight { overlaps, crowded, truncated }
}

/// Every range of a network: its own, and those that its metadata lists.
fn ranges(row: &NetworkRow) -> Vec<IpNet> {
    let listed = ["cidr_blocks", "ipv6_cidr_blocks"].into_iter().flat_map(|field| {
        let blocks = row.metadata.get(field).and_then(Value::as_array);
        blocks.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>()
    });
    let own = row.cidr.as_deref();
    let mut ranges: Vec<IpNet> =
        own.into_iter().chain(listed).filter_map(|t| t.parse().ok()).collect();
    ranges.iter_mut().for_each(|range| *range = range.trunc());
    ranges.sort();
    ranges.dedup();
    ranges
}

/// Every range of every network. One without a range of its own has those of its subnets.
fn spans<'r>(
    networks: &'r [NetworkRow],
    subnets: &'r [NetworkRow],
) -> Vec<(IpNet, &'r NetworkRow)> {
    let key = |row: &'r NetworkRow, id: &'r str| -> Key<'r> { (row.account, &row.provider, id) };
    let bare = networks.iter().filter(|row| row.cidr.is_none());
    let bare: HashMap<Key<'_>, &NetworkRow> =
        bare.map(|row| (key(row, &row.resource_id), row)).collect();
    let inside = subnets.iter().filter_map(|subnet| {
        let network = bare.get(&key(subnet, subnet.parent.as_deref()?))?;
        Some(ranges(subnet).into_iter().map(|range| (range, *network)))
    });
    let own = networks.iter().map(|row| ranges(row).into_iter().map(move |range| (range, row)));
    own.flatten().chain(inside.flatten()).collect()
}

/// Pairs of different networks that overlap, each once, by one walk over the ranges in their order: of
/// two prefixes that overlap one holds the other, so those that are open form a stack.
fn overlaps(all: &[(IpNet, &NetworkRow)]) -> (Vec<Overlap>, bool) {
    let mut all = all.to_vec();
    all.sort_by(|a, b| {
        a.0.network().cmp(&b.0.network()).then(a.0.prefix_len().cmp(&b.0.prefix_len()))
    });
    let (mut open, mut found) = (Vec::<(IpNet, &NetworkRow)>::new(), Vec::new());
    let mut told = HashSet::new();
    for (range, row) in all {
        while open.last().is_some_and(|(outer, _)| !outer.contains(&range)) {
            open.pop();
        }
        for (outer, holder) in &open {
            let pair = ((&holder.id).min(&row.id), (&holder.id).max(&row.id));
            if holder.id == row.id || !told.insert(pair) {
                continue;
            }
            if found.len() == FINDINGS_MAX {
                return (found, true);
            }
            let (one, other) = (((*holder).clone(), *outer), (row.clone(), range));
            found.push(Overlap { one, other });
        }
        open.push((range, row));
    }
    (found, false)
}

/// Addresses of a subnet that the provider keeps for itself.
fn reserved(provider: &str) -> u64 {
    match provider {
        "aws" | "azure" => 5,
        _ => 4,
    }
}

fn crowding(subnet: NetworkRow) -> Option<Crowded> {
    let free = subnet.metadata.get("available_addresses")?.as_u64()?;
    let IpNet::V4(range) = subnet.cidr.as_deref()?.parse().ok()? else { return None };
    let size = 1u64 << (32 - u32::from(range.prefix_len()));
    let usable = size.saturating_sub(reserved(&subnet.provider));
    let used = usable.checked_sub(free)?;
    let used_percent = (used * 100).checked_div(usable)?;
    (used_percent >= CROWDED_PERCENT).then_some(Crowded { subnet, usable, free, used_percent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(id: &str, kind: &str, cidr: &str, metadata: Value) -> NetworkRow {
        NetworkRow {
            id: id.parse().unwrap(),
            account: AccountId(1),
            provider: "aws".into(),
            region: "eu".into(),
            resource_type: kind.into(),
            resource_id: id.into(),
            name: String::new(),
            cidr: (!cidr.is_empty()).then(|| cidr.into()),
            parent: None,
            metadata: metadata.as_object().cloned().unwrap(),
        }
    }

    #[test]
    fn overlaps_are_found_once_and_not_within_a_network() {
        let none = serde_json::json!({});
        let two = serde_json::json!({ "cidr_blocks": ["10.0.0.0/16", "10.0.4.0/24"] });
        let rows = vec![
            network("a", "vpc", "10.0.0.0/16", two),
            network("b", "vpc", "10.0.128.0/17", none.clone()),
            network("c", "vpc", "10.1.0.0/16", none.clone()),
            network("d", "vpc", "fd00::/56", none.clone()),
            network("e", "vpc", "10.0.128.0/17", none),
        ];
        let found = insight(rows).overlaps;
        let pairs: Vec<_> =
            found.iter().map(|o| (o.one.0.id.as_str(), o.other.0.id.as_str())).collect();
        assert_eq!(pairs, [("a", "b"), ("a", "e"), ("b", "e")]);
    }

    #[test]
    fn a_network_without_ranges_has_those_of_its_subnets() {
        let none = || serde_json::json!({});
        let inside = |id: &str, parent: &str, cidr: &str| {
            let more = serde_json::json!({ "cidr_blocks": [cidr, "100.64.0.0/24"] });
            NetworkRow { parent: Some(parent.into()), ..network(id, "subnet", cidr, more) }
        };
        let rows = vec![
            network("a", "vpc", "", none()),
            network("b", "vpc", "", none()),
            network("c", "vpc", "10.0.0.0/8", none()),
            network("d", "vpc", "", none()),
            inside("a-1", "a", "192.168.0.0/24"),
            inside("b-1", "b", "192.168.0.0/20"),
            inside("c-1", "c", "172.16.0.0/24"),
            inside("d-1", "d", "172.16.0.0/24"),
        ];
        let (networks, subnets): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.resource_type == "vpc");
        let all = spans(&networks, &subnets);
        assert_eq!(all.len(), 7, "two of each that has none, and one of the one that has");
        let found = overlaps(&all).0;
        let pairs: Vec<_> =
            found.iter().map(|o| (o.one.0.id.as_str(), o.other.0.id.as_str())).collect();
        assert_eq!(pairs, [("a", "b"), ("a", "d"), ("b", "d")], "each pair once");
    }

    #[test]
    fn a_subnet_is_crowded_by_what_is_left_of_its_usable_addresses() {
        let with = |free: u64| serde_json::json!({ "available_addresses": free });
        let rows = vec![
            network("half", "subnet", "10.0.0.0/24", with(125)),
            network("tight", "subnet", "10.0.1.0/24", with(20)),
            network("full", "subnet", "10.0.2.0/24", with(0)),
        ];
        let crowded = insight(rows).crowded;
        let told: Vec<_> = crowded.iter().map(|c| (c.subnet.id.as_str(), c.used_percent)).collect();
        assert_eq!(told, [("full", 100), ("tight", 92)]);
        assert_eq!((crowded[1].usable, crowded[1].free), (251, 20));
    }
}
