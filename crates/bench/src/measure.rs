//! Rounds of load on a server, with what each operation cost it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    Outcome,
    load::{self, Client, Sample, number},
    report::spread,
    scenario::Common,
    server::{Server, Snapshot},
};

/// Shares of the maximum at which latencies are looked at.
const SHARES: [(u32, f64); 4] = [(25, 0.25), (50, 0.5), (75, 0.75), (90, 0.9)];
/// Load before anything is counted.
pub(crate) const WARM_UP: Duration = Duration::from_secs(1);

/// What the server spent on `operations` between two looks at it.
pub(crate) fn cost(before: &Snapshot, after: &Snapshot, operations: u64) -> Value {
    let operations = number(operations.max(1));
    let cpu_s = (after.cpu - before.cpu).as_secs_f64();
    let grown = |name: &str| after.counter(name) - before.counter(name);
    json!({
        "server_cpu_us_per_operation": cpu_s * 1e6 / operations,
        "per_server_cpu_second": operations / cpu_s.max(0.01),
        "statements_per_operation": grown("argosy_store_statements_total") / operations,
        "transactions_per_operation": grown("argosy_store_transactions_total") / operations,
        "commits_per_1000_operations": grown("argosy_store_commits_total") * 1_000.0 / operations,
        "server_private_kib": after.private_kib,
    })
}

/// Warms up, finds the most that the clients get answered in a closed loop, and what answers take at
/// shares of that.
pub(crate) async fn maximum_and_latencies<C: Client>(
    server: &Server,
    clients: Vec<C>,
    common: &Common,
) -> Outcome<(Vec<C>, Value)> {
    let (clients, maximum, per_second) = maximum(server, clients, common).await?;
    let mut clients = clients;
    let mut open = serde_json::Map::new();
    let shares = if common.counts { &[][..] } else { &SHARES[..] };
    for (percent, share) in shares {
        let rate = per_second * share;
        let (back, sample) = load::open(clients, common.span(), rate).await?;
        clients = back;
        let mut figures = sample.to_json();
        figures["rate"] = rate.into();
        open.insert(format!("at_{percent}_percent"), figures);
    }
    Ok((clients, json!({ "closed_loop": maximum, "open_loop": open })))
}

/// The most that the clients get answered in a closed loop: the figures, and the median of the rounds.
pub(crate) async fn maximum<C: Client>(
    server: &Server,
    clients: Vec<C>,
    common: &Common,
) -> Outcome<(Vec<C>, Value, f64)> {
    let (clients, _) = load::closed(clients, WARM_UP).await?;
    let before = server.snapshot().await?;
    let (clients, rates, total) = rounds(clients, common).await?;
    let after = server.snapshot().await?;
    if total.operations() == 0 {
        return Err(format!("nothing was answered: {:?}", total.first_error()).into());
    }
    let mut figures = total.to_json();
    let per_second = spread(rates);
    let median = per_second["median"].as_f64().unwrap_or_default();
    figures["per_second"] = per_second;
    figures["clients"] = clients.len().into();
    figures["cost"] = cost(&before, &after, total.operations());
    Ok((clients, figures, median))
}

/// Rounds of a closed loop: what each gave in a second, and all of them together.
pub(crate) async fn rounds<C: Client>(
    clients: Vec<C>,
    common: &Common,
) -> Outcome<(Vec<C>, Vec<f64>, Sample)> {
    let (mut clients, mut rates, mut total) = (clients, Vec::new(), Sample::new()?);
    for _ in 0..common.rounds() {
        let (back, sample) = load::closed(clients, common.span()).await?;
        clients = back;
        rates.push(sample.per_second());
        total.add(&sample)?;
    }
    Ok((clients, rates, total))
}
