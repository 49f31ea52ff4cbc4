//! Pages of the list of resources, under every filter, pairs of filters and searches.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::INGEST;
use crate::{Outcome, load::Sample, server::Server};

/// Resources in one region of one account.
const PLACE: usize = 5_000;
/// Accounts, and regions of each; an account has one in four of them.
const ACCOUNTS: usize = 20;
const REGIONS: usize = 16;
/// Times that a page is asked for.
const TIMES: u32 = 20;
/// A page may take so long.
const PAGE_MS: f64 = 50.0;
/// How long it may take until searches are quick.
const QUICK_WITHIN: Duration = Duration::from_secs(180);
/// How often it is looked whether they are.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Fills up, waits until searches are quick, and times pages.
pub(super) async fn time(server: &Server, missing: usize) -> Outcome<Value> {
    let began = Instant::now();
    let accounts = fill(server, missing).await?;
    let filled_s = began.elapsed().as_secs_f64();
    let nothing = "q=nothing-has-this".to_owned();
    let began = Instant::now();
    while page(server, &nothing).await?.0 > PAGE_MS && began.elapsed() < QUICK_WITHIN {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let quick_s = began.elapsed().as_secs_f64();
    let (mut figures, mut slow, mut slowest) = (serde_json::Map::new(), Vec::new(), 0.0_f64);
    for (name, query) in questions(&accounts) {
        let (mut sample, mut found) = (Sample::new()?, 0);
        for _ in 0..TIMES {
            let (took_ms, items) = page(server, &query).await?;
            sample.took(Duration::from_secs_f64(took_ms / 1_000.0));
            found = items;
        }
        let p99 = sample.quantile_ms(0.99);
        if p99 > PAGE_MS {
            slow.push(name);
        }
        slowest = slowest.max(p99);
        let p50 = sample.quantile_ms(0.5);
        figures.insert(name.to_owned(), json!({ "p50_ms": p50, "p99_ms": p99, "found": found }));
    }
    Ok(json!({
        "seconds_to_fill": filled_s, "seconds_until_searches_are_quick": quick_s,
        "above_50_ms": slow, "slowest_p99_ms": slowest, "of": figures,
    }))
}

/// Filters alone, pairs that meet and pairs that do not, and searches for what many, few and none have.
fn questions(accounts: &[i64]) -> Vec<(&'static str, String)> {
    let account = accounts.get(1).copied().unwrap_or(1);
    let here = format!("account_id={account}");
    let with = |query: &str| format!("{here}&{query}");
    vec![
        ("everything", String::new()),
        ("account", here.clone()),
        ("provider_of_nearly_all", "provider=aws".to_owned()),
        ("provider_of_few", "provider=gcp".to_owned()),
        ("provider_of_none", "provider=azure".to_owned()),
        ("region", "region=place-5".to_owned()),
        ("region_of_none", "region=nowhere".to_owned()),
        ("type", "resource_type=vpc".to_owned()),
        ("type_of_none", "resource_type=bucket".to_owned()),
        ("active", "status=active".to_owned()),
        ("stale", "status=stale".to_owned()),
        ("account_and_region", with("region=place-5")),
        ("account_and_region_that_never_meet", with("region=place-6")),
        ("account_and_type", with("resource_type=vpc")),
        ("account_and_provider_that_never_meet", with("provider=gcp")),
        ("account_and_stale_that_never_meet", with("status=stale")),
        ("provider_and_type", "provider=gcp&resource_type=vpc".to_owned()),
        ("provider_and_region_that_never_meet", "provider=gcp&region=place-5".to_owned()),
        ("region_and_type", "region=place-5&resource_type=elastic_ip".to_owned()),
        ("region_and_stale_that_never_meet", "region=place-5&status=stale".to_owned()),
        ("type_and_stale", "resource_type=vpc&status=stale".to_owned()),
        ("q_of_a_third", "q=WEB-".to_owned()),
        ("q_of_few", "q=-00123".to_owned()),
        ("q_of_one", "q=a5f0002468".to_owned()),
        ("q_of_none", "q=nothing-has-this".to_owned()),
        ("q_of_two_letters_of_none", "q=zz".to_owned()),
        ("q_of_a_third_and_account", with("q=web-")),
        ("q_of_a_third_and_region", "region=place-5&q=web-".to_owned()),
        ("q_of_few_and_region_that_never_meet", "region=place-6&q=-0005001".to_owned()),
        ("q_of_a_third_and_type", "resource_type=vpc&q=web-".to_owned()),
        ("q_of_a_third_and_stale", "status=stale&q=web-".to_owned()),
    ]
}

/// How many milliseconds a page took, and how many items it has.
async fn page(server: &Server, query: &str) -> Outcome<(f64, usize)> {
    let began = Instant::now();
    let path = format!("/api/v1/discovery/resources?{query}");
    let answer = server.call(Method::GET, &path, None).await?;
    let took = began.elapsed().as_secs_f64() * 1_000.0;
    Ok((took, answer["items"].as_array().map_or(0, Vec::len)))
}

/// Resources of many accounts and regions, some of them of another cloud, and some of them gone.
async fn fill(server: &Server, missing: usize) -> Outcome<Vec<i64>> {
    let mut accounts = Vec::new();
    for number in 0..ACCOUNTS {
        let order = json!({ "name": format!("fill-{number}") });
        let made = server.call(Method::POST, "/api/v1/accounts", Some(&order)).await?;
        let id = made["account_id"].as_i64().or_else(|| made["id"].as_i64());
        accounts.push(id.ok_or("an account without a number")?);
    }
    let mut number = 0;
    for place in 0..missing.div_ceil(PLACE) {
        let (account, region) = (accounts[place % ACCOUNTS], place % REGIONS);
        let provider = if place % ACCOUNTS == ACCOUNTS - 1 { "gcp" } else { "aws" };
        let last = missing.min(number + PLACE);
        let resources: Vec<Value> =
            (number..last).map(|number| resource(provider, region, number)).collect();
        number = last;
        let body = json!({
            "account_id": account, "resources": resources,
            "failures": [{ "provider": provider, "region": format!("place-{region}"), "error": "more is to come" }],
        });
        server.call(Method::POST, INGEST, Some(&body)).await?;
    }
    let gone = json!({
        "account_id": accounts[0], "resources": null,
        "scope": { "provider": "aws", "regions": ["place-0"] },
    });
    server.call(Method::POST, INGEST, Some(&gone)).await?;
    Ok(accounts)
}

fn resource(provider: &str, region: usize, n: usize) -> Value {
    let kind = match n % 100 {
        0 => "vpc",
        1..=9 => "elastic_ip",
        10..=39 => "network_interface",
        _ => "subnet",
    };
    let role = ["web", "data", "batch"][n % 3];
    json!({
        "provider": provider, "region": format!("place-{region}"), "resource_type": kind,
        "resource_id": format!("{kind}-{:04x}a5f{n:07}", n * 2_654_435_761 % 65_536),
        "name": format!("{role}-{:07}", n), "cidr": format!("10.{}.{}.0/24", n / 256 % 256, n % 256),
        "metadata": { "zone": "a", "tags": { "team": format!("team-{}", n % 40) } },
    })
}
