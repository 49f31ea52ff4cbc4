//! Schedules under a clock that is turned by hand.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use argosy_config::host::OsEntropy;
use argosy_domain::time::Timestamp;
use argosy_wire::report::{StorageReport, SubsystemReport};
use futures::future::BoxFuture;

use super::*;
use crate::{engine::RunOutcome, subsystem::CollectError};

/// The clock of the test runtime, which stands still until everybody waits.
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_000).plus(self.0.elapsed())
    }

    fn since_boot(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How a collector behaves.
#[derive(Clone, Copy)]
enum Manner {
    Works,
    Fails,
    Hangs,
    Panics,
}

struct Pretender {
    subsystem: Subsystem,
    manner: Manner,
    runs: Arc<AtomicUsize>,
    under_way: Arc<AtomicUsize>,
}

impl Collector for Pretender {
    fn subsystem(&self) -> Subsystem {
        self.subsystem
    }

    fn collect(&self) -> BoxFuture<'_, Result<SubsystemReport, CollectError>> {
        Box::pin(async {
            self.runs.fetch_add(1, Ordering::SeqCst);
            let others = self.under_way.fetch_add(1, Ordering::SeqCst);
            assert_eq!(others, 0, "two runs of one subsystem at once");
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            match self.manner {
                Manner::Works => Ok(SubsystemReport::Storage(StorageReport {
                    mounts: Vec::new(),
                    unreadable: Vec::new(),
                    truncated: false,
                })),
                Manner::Fails => Err(CollectError::Stopped),
                Manner::Hangs => std::future::pending().await,
                Manner::Panics => panic!("on purpose"),
            }
        })
    }
}

struct Rig {
    scheduler: Scheduler,
    mailbox: Mailbox,
    runs: BTreeMap<Subsystem, Arc<AtomicUsize>>,
}

impl Rig {
    fn runs(&self, subsystem: Subsystem) -> usize {
        self.runs[&subsystem].load(Ordering::SeqCst)
    }
}

fn rig_with(
    policy: PolicyFile,
    schedules: BTreeMap<Subsystem, Schedule>,
    manners: &[(Subsystem, Manner)],
) -> Rig {
    bounded_rig(policy, schedules, manners, Bounds::of_process(0))
}

fn bounded_rig(
    policy: PolicyFile,
    schedules: BTreeMap<Subsystem, Schedule>,
    manners: &[(Subsystem, Manner)],
    bounds: Bounds,
) -> Rig {
    let mut runs = BTreeMap::new();
    let collectors = manners.iter().map(|(subsystem, manner)| {
        let counter = Arc::new(AtomicUsize::new(0));
        runs.insert(*subsystem, Arc::clone(&counter));
        let (subsystem, manner, under_way) = (*subsystem, *manner, Arc::default());
        Box::new(Pretender { subsystem, manner, runs: counter, under_way }) as Box<dyn Collector>
    });
    let (scheduler, mailbox) = Scheduler::new(SchedulerParts {
        collectors: collectors.collect(),
        schedules,
        policy,
        clock: Arc::new(PausedClock(Instant::now())),
        entropy: Arc::new(OsEntropy),
        recorder: Recorder::new().0,
        bounds,
    });
    Rig { scheduler, mailbox, runs }
}

fn rig(manners: &[(Subsystem, Manner)]) -> Rig {
    rig_with(PolicyFile::defaults(), BTreeMap::new(), manners)
}

/// Runs the schedule for a while of the paused clock.
async fn let_run(rig: &Rig, span: Duration) {
    let run = rig.scheduler.run(CancellationToken::new());
    assert!(tokio::time::timeout(span, run).await.is_err());
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn every_subsystem_shows_itself_within_seconds_also_beside_one_that_hangs() {
    let rig = rig(&[
        (Subsystem::System, Manner::Hangs),
        (Subsystem::Storage, Manner::Works),
        (Subsystem::Updates, Manner::Fails),
    ]);
    let_run(&rig, Duration::from_secs(5)).await;
    let outcomes = rig.mailbox.take().await;
    let shown: Vec<_> = outcomes.iter().map(|o| (o.subsystem, o.report.is_ok())).collect();
    assert_eq!(shown, [(Subsystem::Storage, true), (Subsystem::Updates, false)]);
    assert_eq!(outcomes[0].took, Duration::from_secs(1));
    assert_eq!(
        outcomes[0].report,
        Ok(br#"{"subsystem":"storage","mounts":[],"unreadable":[],"truncated":false}"#.to_vec())
    );
    assert_eq!(outcomes[1].report, Err("the run was stopped".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn runs_come_by_their_interval() {
    let rig = rig(&[(Subsystem::Storage, Manner::Works)]);
    let_run(&rig, 60 * MINUTE).await;
    let runs = rig.runs(Subsystem::Storage);
    assert!((11..=14).contains(&runs), "{runs} runs in an hour, one in 5 minutes wanted");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_too_long_is_stopped_and_three_failures_open_the_breaker() {
    let rig = rig(&[(Subsystem::System, Manner::Hangs)]);
    let error = rig.scheduler.run_now(Subsystem::System).await.unwrap_err();
    assert_eq!(error.to_string(), "stopped after 1m");
    for _ in 0..2 {
        rig.scheduler.run_now(Subsystem::System).await.unwrap_err();
    }
    assert_eq!(rig.mailbox.take().await[0].breaker, "open");
    let_run(&rig, 20 * MINUTE).await;
    assert_eq!(rig.runs(Subsystem::System), 3, "an open breaker stops scheduled runs");
    rig.scheduler.run_now(Subsystem::System).await.unwrap_err();
    assert_eq!(rig.runs(Subsystem::System), 4, "and no commands");
    let_run(&rig, 20 * MINUTE).await;
    assert!(rig.runs(Subsystem::System) > 4, "after its rest it tries again");
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_panics_is_a_failed_run() {
    let rig = rig(&[(Subsystem::System, Manner::Panics), (Subsystem::Storage, Manner::Works)]);
    let_run(&rig, Duration::from_secs(5)).await;
    let outcomes = rig.mailbox.take().await;
    assert_eq!(outcomes[0].report, Err("the collector failed unexpectedly".to_owned()));
    assert!(outcomes[1].report.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_command_and_the_schedule_take_turns() {
    let rig = rig(&[(Subsystem::Storage, Manner::Works)]);
    let (first, second) = tokio::join!(
        rig.scheduler.run_now(Subsystem::Storage),
        rig.scheduler.run_now(Subsystem::Storage),
    );
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(rig.runs(Subsystem::Storage), 2);
}

#[tokio::test(start_paused = true)]
async fn the_policy_and_the_schedule_may_forbid_a_subsystem() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("policy.toml");
    std::fs::write(&path, "[subsystems]\nallow = [\"updates\"]").unwrap();
    let off = Schedule { enabled: false, ..Subsystem::Updates.default_schedule() };
    let manners = [(Subsystem::Storage, Manner::Works), (Subsystem::Updates, Manner::Works)];
    let schedules = BTreeMap::from([(Subsystem::Updates, off)]);
    let rig = rig_with(PolicyFile::at(&path), schedules, &manners);
    let_run(&rig, 30 * MINUTE).await;
    assert_eq!((rig.runs(Subsystem::Storage), rig.runs(Subsystem::Updates)), (0, 0));

    let runner = SubsystemRunner::new(rig.scheduler.clone());
    for (subsystem, expected) in [
        (Subsystem::Storage, "refused_by_policy"),
        (Subsystem::Updates, "subsystem_disabled"),
        (Subsystem::System, "subsystem_disabled"),
    ] {
        let outcome = runner.run(subsystem).await;
        assert!(
            matches!(&outcome, RunOutcome::Failed { code, .. } if *code == expected),
            "{outcome:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_gets_the_report_and_the_server_gets_it_as_inventory() {
    let rig = rig(&[(Subsystem::Storage, Manner::Works)]);
    let runner = SubsystemRunner::new(rig.scheduler.clone());
    assert!(runner.timeout(Subsystem::Storage) > Subsystem::Storage.default_schedule().timeout);
    let outcome = runner.run(Subsystem::Storage).await;
    let report = rig.mailbox.take().await.remove(0).report.unwrap();
    assert_eq!(outcome, RunOutcome::Succeeded { report });
}

#[tokio::test(start_paused = true)]
async fn a_run_that_fills_the_agents_memory_ends_and_says_so() {
    const MIB: u64 = 1024 * 1024;
    let held = Arc::new(AtomicUsize::new(20));
    let look = Arc::clone(&held);
    let bounds = Bounds::measured_by(100, move || Some(look.load(Ordering::SeqCst) as u64 * MIB));
    let manners = [(Subsystem::Storage, Manner::Hangs)];
    let rig = bounded_rig(PolicyFile::defaults(), BTreeMap::new(), &manners, bounds);
    let filling = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        held.store(130, Ordering::SeqCst);
    };
    let began = Instant::now();
    let (ran, ()) = tokio::join!(rig.scheduler.run_now(Subsystem::Storage), filling);
    let why = "stopped, because the agent holds 130 MiB of memory and may hold 100 MiB";
    assert_eq!(ran.unwrap_err().to_string(), why);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    // The server learns it as any other failure, and the next run is tried again.
    let told = rig.mailbox.take().await;
    assert_eq!(told[0].report.as_ref().unwrap_err(), why);
    held.store(20, Ordering::SeqCst);
    let run = tokio::time::timeout(MINUTE / 2, rig.scheduler.run_now(Subsystem::Storage)).await;
    assert!(run.is_err(), "within the limit nothing is stopped");
    assert_eq!(rig.runs(Subsystem::Storage), 2);
}
