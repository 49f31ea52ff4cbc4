//! One request from its arrival to its answer.
//!
//! ```text
//! hold the ledger → verify → begun before? → policy → time → remember → plan → install → look → answer
//! ```
//! *Invariant:* nothing is installed before the command is remembered as begun; a command that is
//! remembered is never begun again.

use std::path::Path;

use argosy_config::failpoint::failpoint;
use argosy_domain::{
    limits::ERROR_TEXT_CHARS_MAX, package::PackageStep, policy::Updates, text::clip,
    time::Timestamp,
};
use argosy_wire::{
    report::PackageManager,
    rest::updates::{InstallReport, InstalledPackage},
};

use super::{
    Answer, Fault, Refusal, Request,
    apt::{self, AptGet, Change, Versions},
    ledger::{Entry, Ledger},
    order::{self, Order},
    settings::{HelperSettings, is_own},
};
use crate::{policy_file::PolicyFile, subsystem::updates::detect};

/// Carries out a request, or answers what came of it before. `now` is the host's time.
pub async fn carry_out(settings: &HelperSettings, request: &Request, now: Timestamp) -> Answer {
    match decide(settings, request, now).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn decide(
    settings: &HelperSettings,
    request: &Request,
    now: Timestamp,
) -> Result<Answer, Answer> {
    let ledger = Ledger::open(&settings.state_dir)?;
    let order = order::verify(settings, request, ledger.seen()?)?;
    let seen = ledger.show(order.shown)?;
    // A host's clock that is late does not bring back what is over.
    let now = now.max(seen.server_time);
    let entry = ledger.entry(&order.id)?;
    match entry {
        Some(Entry { answer: Some(answer), .. }) => return Ok(answer),
        Some(Entry { at, answer: None }) => {
            let answer = look_after_a_crash(settings, &order).await?;
            ledger.put(&order.id, &Entry { at, answer: Some(answer.clone()) })?;
            return Ok(answer);
        }
        None => {}
    }
    ledger.purge(now)?;
    let (rules, apt) = match admit(settings, &order, now).await {
        Ok(admitted) => admitted,
        Err(answer) => {
            // A command has one end: what is refused stays refused, whatever the policy says later.
            let answer = clipped(answer);
            ledger.put(&order.id, &Entry { at: now, answer: Some(answer.clone()) })?;
            return Err(answer);
        }
    };
    ledger.put(&order.id, &Entry { at: now, answer: None })?;
    failpoint("packages", "begun");
    let work = tokio::time::timeout(settings.timeout, install(&apt, &order, &rules));
    let answer = match work.await {
        Ok(Ok(answer) | Err(answer)) => answer,
        Err(_elapsed) => {
            let why = "the package manager did not end in time and was stopped";
            Answer::Failed(Fault::TimedOut, why.to_owned())
        }
    };
    let answer = clipped(answer);
    ledger.put(&order.id, &Entry { at: now, answer: Some(answer.clone()) })?;
    failpoint("packages", "ended");
    Ok(answer)
}

/// What the policy says and who installs, where the order may be begun now.
async fn admit(
    settings: &HelperSettings,
    order: &Order,
    now: Timestamp,
) -> Result<(Updates, AptGet), Answer> {
    let rules = rules(settings, order)?;
    if now >= order.expires_at {
        return Err(Answer::Refused(Refusal::Expired, "its time was over".to_owned()));
    }
    let apt = manager(settings)?;
    if rules.security_only {
        only_security(&apt, &order.steps).await?;
    }
    Ok((rules, apt))
}

fn clipped(answer: Answer) -> Answer {
    match answer {
        Answer::Done(report) => Answer::Done(report),
        Answer::Failed(fault, why) => Answer::Failed(fault, clip(&why, ERROR_TEXT_CHARS_MAX)),
        Answer::Refused(refusal, why) => Answer::Refused(refusal, clip(&why, ERROR_TEXT_CHARS_MAX)),
    }
}

/// What root's own policy says, where it allows the order.
fn rules(settings: &HelperSettings, order: &Order) -> Result<Updates, Answer> {
    let refused = |why: String| Answer::Refused(Refusal::RefusedByPolicy, why);
    let path = &settings.policy_file;
    if path.exists() && !is_own(path) {
        let path = path.display();
        let why =
            format!("{path} must belong to the user of the helper and be writable by nobody else");
        return Err(refused(why));
    }
    let policy = PolicyFile::at(path).load();
    policy.allows(&order.params()).map_err(|why| refused(why.to_string()))?;
    policy.updates().cloned().map_err(|why| refused(why.to_string()))
}

fn manager(settings: &HelperSettings) -> Result<AptGet, Answer> {
    if let Some(apt) = &settings.apt {
        return Ok(apt.clone());
    }
    match detect(Path::new("/")) {
        PackageManager::Apt => Ok(AptGet::default()),
        PackageManager::Dnf | PackageManager::None => {
            let why = "packages are installed with apt only, and this host has none";
            Err(Answer::Failed(Fault::NoPackageManager, why.to_owned()))
        }
    }
}

/// Refuses what closes no security hole, by the host's own lists.
async fn only_security(apt: &AptGet, steps: &[PackageStep]) -> Result<(), Answer> {
    let closing = apt.security().await?;
    let closes = |step: &&PackageStep| {
        closing.iter().any(|(name, version)| {
            (name.as_str(), version.as_str()) == (step.name.as_str(), step.version.as_str())
        })
    };
    match steps.iter().find(|step| !closes(step)) {
        None => Ok(()),
        Some(step) => {
            let why = format!(
                "refused by the host's policy: updates.security_only, and {step} closes no security hole"
            );
            Err(Answer::Refused(Refusal::RefusedByPolicy, why))
        }
    }
}

async fn install(apt: &AptGet, order: &Order, rules: &Updates) -> Result<Answer, Answer> {
    let before = apt.installed(&order.steps).await?;
    let plan = apt.plan(&order.steps).await?;
    apt::judge(&plan, &order.steps, rules.new_packages)?;
    if order.dry_run {
        return Ok(Answer::Done(report(order, &plan, &before, "would_install")));
    }
    apt.apply(&order.steps).await?;
    failpoint("packages", "installed");
    let after = apt.installed(&order.steps).await?;
    match missing(&order.steps, &after) {
        None => Ok(Answer::Done(report(order, &plan, &before, "installed"))),
        Some(why) => Err(Answer::Failed(Fault::NotInstalled, why)),
    }
}

/// Which packages are not in the version that was asked for, in words.
fn missing(steps: &[PackageStep], installed: &Versions) -> Option<String> {
    let version = |step: &PackageStep| {
        installed.get(&(step.name.to_string(), step.architecture.to_string())).cloned()
    };
    let missing = steps.iter().filter_map(|step| match version(step) {
        Some(version) if version == step.version.as_str() => None,
        Some(version) => Some(format!("{step} was asked for, {version} is installed")),
        None => Some(format!("{step} was asked for, and it is not installed")),
    });
    let missing: Vec<String> = missing.collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}

/// Each package that was asked for, then what came along.
fn report(order: &Order, plan: &[Change], before: &Versions, outcome: &str) -> InstallReport {
    let mut packages: Vec<InstalledPackage> = Vec::new();
    for step in &order.steps {
        let from = before.get(&(step.name.to_string(), step.architecture.to_string()));
        let same = from.is_some_and(|from| from == step.version.as_str());
        packages.push(InstalledPackage {
            name: step.name.to_string(),
            architecture: step.architecture.to_string(),
            from: from.cloned(),
            to: step.version.to_string(),
            outcome: if same { "unchanged" } else { outcome }.to_owned(),
        });
    }
    for change in plan {
        if let Change::Install { name, architecture, from: None, to } = change {
            packages.push(InstalledPackage {
                name: name.clone(),
                architecture: architecture.clone(),
                from: None,
                to: to.clone(),
                outcome: outcome.to_owned(),
            });
        }
    }
    InstallReport { dry_run: order.dry_run, packages }
}

/// A helper before this one ended while the command was under way: what the host has now says whether
/// the effect is there. Nothing is done.
async fn look_after_a_crash(settings: &HelperSettings, order: &Order) -> Result<Answer, Answer> {
    let interrupted =
        |why: String| Answer::Failed(Fault::Interrupted, clip(&why, ERROR_TEXT_CHARS_MAX));
    if order.dry_run {
        return Ok(interrupted("the dry run was cut short; nothing was changed".to_owned()));
    }
    let installed = manager(settings)?.installed(&order.steps).await?;
    Ok(match missing(&order.steps, &installed) {
        None => Answer::Done(report(order, &[], &Versions::new(), "installed")),
        Some(why) => interrupted(format!("the installation was cut short: {why}")),
    })
}
