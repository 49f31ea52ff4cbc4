//! What stands out about networks: which overlap, and which are nearly full.

use super::called;
use crate::{
    app::{
        discovery::{Crowded, Overlap},
        error::AppResult,
        records::NetworkRecord,
    },
    console::{agents::account_name, chart, show, visit::Visit},
};

/// Findings of each sort on the page.
const SHOWN_MAX: usize = 100;

/// A network, and one of its ranges.
pub(super) struct Network {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) cidr: String,
    /// Account and region.
    pub(super) place: String,
}

/// Two networks that cannot be routed to each other.
pub(super) struct Clash {
    pub(super) one: Network,
    pub(super) other: Network,
}

/// A subnet that is nearly full.
pub(super) struct Full {
    pub(super) subnet: Network,
    pub(super) level: String,
    pub(super) percent: u64,
    pub(super) free: String,
}

/// What stands out.
pub(super) struct Hints {
    pub(super) clashes: Vec<Clash>,
    pub(super) full: Vec<Full>,
    /// There is more than is shown.
    pub(super) more: bool,
}

fn network(row: &NetworkRecord, cidr: String, accounts: &[(String, String)]) -> Network {
    let account = account_name(accounts, &row.account.0.to_string());
    let place = [row.provider.as_str(), &row.region, &account];
    let place = place.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    Network {
        id: row.id.to_string(),
        name: called(&row.name, &row.resource_id),
        cidr,
        place: place.join(" · "),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of a hundred")]
fn full(crowded: &Crowded, accounts: &[(String, String)]) -> Full {
    let percent = crowded.used_percent;
    let tone = if percent >= 95 { "bad" } else { "warn" };
    let subnet =
        network(&crowded.subnet, crowded.subnet.cidr.clone().unwrap_or_default(), accounts);
    Full {
        level: chart::level(&format!("{percent} % in use"), percent as f64, tone),
        free: format!("{} of {} free", show::count(crowded.free), show::count(crowded.usable)),
        percent,
        subnet,
    }
}

/// Of one account, or of all.
pub(super) async fn hints(
    visit: &Visit,
    account: Option<i64>,
    accounts: &[(String, String)],
) -> AppResult<Hints> {
    let found = visit.app.network_insight(&visit.caller, account).await?;
    let clash = |overlap: &Overlap| Clash {
        one: network(&overlap.one.0, overlap.one.1.to_string(), accounts),
        other: network(&overlap.other.0, overlap.other.1.to_string(), accounts),
    };
    let more = [found.overlaps.len(), found.crowded.len()].into_iter().any(|n| n > SHOWN_MAX);
    Ok(Hints {
        clashes: found.overlaps.iter().take(SHOWN_MAX).map(clash).collect(),
        full: found.crowded.iter().take(SHOWN_MAX).map(|one| full(one, accounts)).collect(),
        more: more || found.truncated,
    })
}
