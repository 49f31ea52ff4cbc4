//! Scenario `store-commit`: what group commit buys on SQLite.
//!
//! Writers in a closed loop each note one sign of life and wait until it is durable. The same
//! work is done with one transaction to a commit, with group commit, and as batches that the
//! caller collected. The modes take turns, round by round, beside a probe of the disk's own sync. What a
//! database takes in bare batches is the bound that heartbeats and ingest are measured against.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use argosy_domain::{
    agent::{Agent, AgentState},
    id::{AccountId, AgentId, OrgId},
    labels::Labels,
    review::KeyDelivery,
    time::Timestamp,
};
use argosy_store::{Options, Store, StoreError, Target};
use serde_json::{Value, json};

use crate::{Outcome, bare, calibrate::syncs_per_second};

/// How the scenario is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Writers that wait for their commits at the same time.
    #[arg(long, default_value_t = 64)]
    writers: usize,
    /// Rounds; each runs every mode once.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Milliseconds of one mode in one round.
    #[arg(long, default_value_t = 1_000)]
    span_ms: u64,
    /// `postgres://…`: bare batch upserts on this PostgreSQL instead of on SQLite.
    #[arg(long, hide_env_values = true)]
    database_url: Option<String>,
    /// Where the databases are made; it should be on the disk that matters.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Who commits what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// One transaction to a commit.
    Single,
    /// Group commit, one sign of life in each transaction.
    Group,
    /// One transaction carries a sign of life of every writer.
    Batch,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Single, Self::Group, Self::Batch];

    fn name(self) -> &'static str {
        match self {
            Self::Single => "one transaction each",
            Self::Group => "group commit",
            Self::Batch => "batches of the caller",
        }
    }
}

/// One mode in one round.
struct Sample {
    per_second: f64,
    commits_per_1000: f64,
    p99_ms: f64,
}

/// Runs the scenario and prints what it found.
pub(crate) async fn run(arguments: &Arguments) -> Outcome<()> {
    let directory = match &arguments.directory {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    let span = Duration::from_millis(arguments.span_ms);
    let mut probes = Vec::new();
    let mut samples: [Vec<Sample>; 3] = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..arguments.rounds {
        probes.push(syncs_per_second(directory.path())?);
        // Each round begins with another mode, so that none always has the better place.
        for turn in 0..Mode::ALL.len() {
            let place = (round + turn) % Mode::ALL.len();
            let mode = Mode::ALL[place];
            let path = directory.path().join(format!("{round}-{mode:?}.db"));
            samples[place].push(measure(path, mode, arguments.writers, span).await?);
        }
    }
    let mut summary = summary(arguments, &probes, &samples);
    let url = arguments.database_url.as_deref();
    summary["bare_upserts"] = bare::measure(url, directory.path(), arguments.rounds, span).await?;
    let text = if arguments.json { format!("{summary:#}\n") } else { table(&summary) };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn agent(id: &AgentId) -> Agent {
    Agent {
        id: id.clone(),
        org: OrgId::default_org(),
        account: AccountId::DEFAULT,
        name: id.to_string(),
        state: AgentState::Pending { since: Timestamp::from_seconds(1) },
        identity: None,
        version: None,
        platform: None,
        hostname: None,
        labels: Labels::default(),
        token: None,
        source: None,
        registered_at: Timestamp::from_seconds(1),
        epoch: 1,
        key_delivery: KeyDelivery::Direct,
        last_origin: None,
        review: None,
    }
}

async fn prepared(path: PathBuf, mode: Mode, agents: &[AgentId]) -> Outcome<Store> {
    let options = match mode {
        Mode::Single => Options { group_members_max: 1, ..Options::default() },
        Mode::Group | Mode::Batch => Options::default(),
    };
    let store = Store::open(Target::Sqlite(path), options).await?;
    store.migrate().await?;
    let mut tx = store.write("prepare").await?;
    tx.orgs().ensure_default(Timestamp::from_seconds(1)).await?;
    for id in agents {
        tx.agents().insert(&agent(id)).await?;
    }
    tx.commit().await?;
    Ok(store)
}

/// What the writers of one run share.
struct Run {
    store: Store,
    stop: AtomicBool,
    tick: AtomicUsize,
}

impl Run {
    /// Notes signs of life until told to stop; answers how long each commit took.
    async fn write(self: Arc<Self>, agents: Vec<AgentId>) -> Result<Vec<Duration>, StoreError> {
        let mut took = Vec::new();
        while !self.stop.load(Relaxed) {
            let tick = i64::try_from(self.tick.fetch_add(1, Relaxed)).unwrap_or(i64::MAX);
            let at = Timestamp::from_micros(1_000_000_i64.saturating_add(tick));
            let seen: Vec<_> = agents.iter().map(|id| (id.clone(), at)).collect();
            let began = Instant::now();
            let mut tx = self.store.write("heartbeat").await?;
            tx.presence().touch_many(&seen).await?;
            tx.commit().await?;
            took.push(began.elapsed());
        }
        Ok(took)
    }
}

async fn measure(path: PathBuf, mode: Mode, writers: usize, span: Duration) -> Outcome<Sample> {
    let agents: Vec<AgentId> =
        (0..writers).map(|n| format!("agent-{n}").parse()).collect::<Result<_, _>>()?;
    let store = prepared(path, mode, &agents).await?;
    let before = store.counters().commits;
    let run = Arc::new(Run { store, stop: AtomicBool::new(false), tick: AtomicUsize::new(0) });
    let shares: Vec<Vec<AgentId>> = match mode {
        Mode::Single | Mode::Group => agents.into_iter().map(|id| vec![id]).collect(),
        Mode::Batch => vec![agents],
    };
    let per_transaction = shares[0].len();
    let began = Instant::now();
    let tasks: Vec<_> =
        shares.into_iter().map(|share| tokio::spawn(run.clone().write(share))).collect();
    tokio::time::sleep(span).await;
    run.stop.store(true, Relaxed);
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await??);
    }
    let seconds = began.elapsed().as_secs_f64();
    let commits = run.store.counters().commits - before;
    run.store.close().await;
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
    let operations = figure(took.len() * per_transaction);
    Ok(Sample {
        per_second: operations / seconds,
        commits_per_1000: figure(commits) * 1_000.0 / operations.max(1.0),
        p99_ms: p99.as_secs_f64() * 1_000.0,
    })
}

/// A count as a figure; counts of a bench are far below 2^32.
fn figure(count: impl TryInto<u32>) -> f64 {
    count.try_into().map_or(f64::NAN, f64::from)
}

/// Median, smallest and largest, rounded to what can be meant.
fn spread(values: impl Iterator<Item = f64>) -> Value {
    let mut values: Vec<f64> = values.map(|value| (value * 10.0).round() / 10.0).collect();
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(min), Some(median), Some(max)) => {
            json!({ "median": median, "min": min, "max": max })
        }
        (_, _, _) => Value::Null,
    }
}

fn summary(arguments: &Arguments, probes: &[f64], samples: &[Vec<Sample>; 3]) -> Value {
    let mode = |(mode, samples): (Mode, &Vec<Sample>)| {
        json!({
            "mode": mode.name(),
            "heartbeats_per_second": spread(samples.iter().map(|s| s.per_second)),
            "commits_per_1000": spread(samples.iter().map(|s| s.commits_per_1000)),
            "p99_ms": spread(samples.iter().map(|s| s.p99_ms)),
        })
    };
    let rounds = || samples[0].iter().zip(&samples[1]).zip(&samples[2]);
    json!({
        "scenario": "store-commit",
        "writers": arguments.writers,
        "rounds": arguments.rounds,
        "span_ms": arguments.span_ms,
        "syncs_per_second": spread(probes.iter().copied()),
        "modes": Mode::ALL.into_iter().zip(samples).map(mode).collect::<Value>(),
        "group_over_single": spread(rounds().map(|((s, g), _)| g.per_second / s.per_second)),
        "group_over_batch": spread(rounds().map(|((_, g), b)| g.per_second / b.per_second)),
    })
}

fn table(summary: &Value) -> String {
    let cell = |value: &Value| {
        let part = |name: &str| value[name].as_f64().unwrap_or(f64::NAN);
        format!("{:.1} ({:.1}–{:.1})", part("median"), part("min"), part("max"))
    };
    let mut text = format!(
        "store-commit: {} writers, {} rounds of {} ms; median (least–most)\n\
         disk syncs a second: {}\n",
        summary["writers"],
        summary["rounds"],
        summary["span_ms"],
        cell(&summary["syncs_per_second"]),
    );
    for mode in summary["modes"].as_array().into_iter().flatten() {
        // Writing to a String cannot fail.
        let _written = writeln!(
            text,
            "{:<22} {} heartbeats/s, {} commits per 1,000, p99 {} ms",
            mode["mode"].as_str().unwrap_or_default(),
            cell(&mode["heartbeats_per_second"]),
            cell(&mode["commits_per_1000"]),
            cell(&mode["p99_ms"]),
        );
    }
    let _written = writeln!(
        text,
        "group commit over one transaction each: × {}; over the caller's batches: × {}",
        cell(&summary["group_over_single"]),
        cell(&summary["group_over_batch"]),
    );
    let bare = &summary["bare_upserts"];
    let _written = writeln!(
        text,
        "bare upserts on {}, {} rows a transaction: {} rows/s like presence, {} like resources",
        bare["database"].as_str().unwrap_or_default(),
        bare["rows_in_a_transaction"],
        cell(&bare["presence_rows_per_second"]),
        cell(&bare["resource_rows_per_second"]),
    );
    text
}
