//! Installs packages with apt-get.
//!
//! The same simulation says what would happen in a dry run and is judged before anything is done.
//!
//! *Invariant:* what is done is what was asked for: exact versions, no downgrade, nothing removed, no
//! other package upgraded.

use std::{collections::BTreeMap, path::PathBuf};

use argosy_domain::package::PackageStep;
use serde::Deserialize;

use super::{Answer, Fault};
use crate::subsystem::{
    CollectError,
    tool::{Tool, ToolOutput},
    updates::Apt,
};

/// Other packages that an answer names.
const OTHERS_SHOWN: usize = 20;

/// How apt is called.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AptGet {
    /// The `apt-get` program.
    pub apt_get: PathBuf,
    /// The `apt` program.
    pub apt: PathBuf,
    /// The `apt-cache` program.
    pub apt_cache: PathBuf,
    /// Arguments before all others, such as `-o`, `Dir=/elsewhere`.
    pub options: Vec<String>,
}

impl Default for AptGet {
    fn default() -> Self {
        Self {
            apt_get: "/usr/bin/apt-get".into(),
            apt: "/usr/bin/apt".into(),
            apt_cache: "/usr/bin/apt-cache".into(),
            options: Vec::new(),
        }
    }
}

/// What apt-get would do with one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Install this version, in place of another one where there is one.
    Install {
        /// Its name.
        name: String,
        /// What it is built for.
        architecture: String,
        /// The version that it has.
        from: Option<String>,
        /// The version that it would have.
        to: String,
    },
    /// Take it away.
    Remove(String),
}

/// Versions by name and architecture.
pub(super) type Versions = BTreeMap<(String, String), String>;

fn failed(error: &CollectError) -> Answer {
    Answer::Failed(Fault::PackageManager, error.to_string())
}

fn key(step: &PackageStep) -> (String, String) {
    (step.name.to_string(), step.architecture.to_string())
}

impl AptGet {
    /// How apt is asked, here and for the list of what is pending.
    fn reader(&self) -> Apt {
        Apt {
            apt: self.apt.clone(),
            apt_cache: self.apt_cache.clone(),
            extra_args: self.options.clone(),
            ..Apt::default()
        }
    }

    fn install<'a>(&'a self, mode: &'a [&'a str], specs: &'a [String]) -> Tool<'a> {
        Tool::new(&self.apt_get)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(self.options.iter().map(String::as_str))
            .args(["-q", "-y"])
            .args(mode.iter().copied())
            .args(["-o", "Dpkg::Options::=--force-confdef"])
            .args(["-o", "Dpkg::Options::=--force-confold"])
            .args(["-o", "DPkg::Lock::Timeout=60"])
            .args(["--no-remove", "--only-upgrade", "install", "--"])
            .args(specs.iter().map(String::as_str))
    }

    fn specs(steps: &[PackageStep]) -> Vec<String> {
        let spec =
            |step: &PackageStep| format!("{}:{}={}", step.name, step.architecture, step.version);
        steps.iter().map(spec).collect()
    }

    /// What would happen, if exactly this were to be installed.
    pub(super) async fn plan(&self, steps: &[PackageStep]) -> Result<Vec<Change>, Answer> {
        let specs = Self::specs(steps);
        let output = self.install(&["-s"], &specs).run().await;
        let output = output.and_then(ToolOutput::succeeded).map_err(|error| failed(&error))?;
        parse_plan(&output).ok_or_else(|| {
            Answer::Failed(Fault::PackageManager, "apt-get -s answers in an unknown form".into())
        })
    }

    /// Installs exactly this.
    pub(super) async fn apply(&self, steps: &[PackageStep]) -> Result<(), Answer> {
        let specs = Self::specs(steps);
        let output = self.install(&[], &specs).run().await;
        output.and_then(ToolOutput::succeeded).map(drop).map_err(|error| failed(&error))
    }

    /// The versions that are installed of these packages.
    pub(super) async fn installed(&self, steps: &[PackageStep]) -> Result<Versions, Answer> {
        let names: Vec<String> =
            steps.iter().map(|step| format!("{}:{}", step.name, step.architecture)).collect();
        let output = self.reader().policy(&names).await.map_err(|error| failed(&error))?;
        let found = parse_installed(&output);
        let version = |(step, name): (&PackageStep, &String)| {
            // Only packages of a foreign architecture carry it in their heading.
            let version = found.get(name.as_str()).or_else(|| found.get(step.name.as_str()))?;
            Some((key(step), version.clone()))
        };
        Ok(steps.iter().zip(&names).filter_map(version).collect())
    }

    /// The packages that close a security hole, as the host's own lists have it.
    pub(super) async fn security(&self) -> Result<Vec<(String, String)>, Answer> {
        let report = self.reader().collect().await.map_err(|error| failed(&error))?;
        let closing = report.packages.into_iter().filter(|package| package.security);
        Ok(closing.map(|package| (package.name, package.available)).collect())
    }
}

/// Lines such as `Inst bash [5.1] (5.2 Debian:12/stable [amd64])`, `Inst new (1 x [all])`, `Remv old
/// [1]`; what else is said is for people.
fn parse_plan(output: &str) -> Option<Vec<Change>> {
    let mut plan = Vec::new();
    for line in output.lines() {
        if let Some(rest) = line.strip_prefix("Remv ") {
            plan.push(Change::Remove(rest.split(' ').next()?.to_owned()));
        } else if let Some(rest) = line.strip_prefix("Inst ") {
            plan.push(parse_inst(rest)?);
        }
    }
    Some(plan)
}

fn parse_inst(line: &str) -> Option<Change> {
    let (name, rest) = line.split_once(' ')?;
    let (from, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (from, rest) = rest.split_once("] ")?;
            (Some(from.to_owned()), rest)
        }
        None => (None, rest),
    };
    let (inner, _) = rest.strip_prefix('(')?.split_once(')')?;
    let (to, origin) = inner.split_once(' ')?;
    let architecture = origin.strip_suffix(']')?.rsplit_once('[')?.1.to_owned();
    let name = name.split_once(':').map_or(name, |(name, _)| name).to_owned();
    Some(Change::Install { name, architecture, from, to: to.to_owned() })
}

/// The installed version under each heading of `apt-cache policy`.
fn parse_installed(output: &str) -> BTreeMap<&str, String> {
    let mut installed = BTreeMap::new();
    let mut heading = None;
    for line in output.lines() {
        if let Some(version) = line.strip_prefix("  Installed: ") {
            if let (Some(name), false) = (heading, version == "(none)") {
                installed.insert(name, version.to_owned());
            }
        } else if !line.starts_with(' ') {
            heading = line.strip_suffix(':');
        }
    }
    installed
}

/// Whether a plan does nothing but what was asked for.
pub(super) fn judge(
    plan: &[Change],
    steps: &[PackageStep],
    new_packages: bool,
) -> Result<(), Answer> {
    let asked: BTreeMap<_, _> =
        steps.iter().map(|step| (key(step), step.version.as_str())).collect();
    let (mut removed, mut others, mut new) = (Vec::new(), Vec::new(), Vec::new());
    for change in plan {
        match change {
            Change::Remove(name) => removed.push(name.clone()),
            Change::Install { name, architecture, from, to } => {
                let wanted = asked.get(&(name.clone(), architecture.clone()));
                let text = format!("{name}:{architecture} {to}");
                match (wanted, from) {
                    (Some(version), Some(_)) if version == to => {}
                    (_, Some(_)) => others.push(text),
                    (_, None) => new.push(text),
                }
            }
        }
    }
    let named = |names: &[String]| {
        let shown = names.iter().take(OTHERS_SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if names.len() > OTHERS_SHOWN { format!("{shown} and more") } else { shown }
    };
    if !removed.is_empty() {
        let why = format!("this would remove {}", named(&removed));
        return Err(Answer::Failed(Fault::WouldRemove, why));
    }
    if !others.is_empty() {
        let why = format!("this would also upgrade {}; approve that too", named(&others));
        return Err(Answer::Failed(Fault::NeedsOthers, why));
    }
    if !new.is_empty() && !new_packages {
        let why = format!(
            "this would also install {}; the host's policy says whether it may (updates.new_packages)",
            named(&new)
        );
        return Err(Answer::Failed(Fault::NeedsNew, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, architecture: &str, version: &str) -> PackageStep {
        PackageStep {
            name: name.parse().unwrap(),
            architecture: architecture.parse().unwrap(),
            version: version.parse().unwrap(),
        }
    }

    const PLAN: &str = "Reading package lists...\nThe following packages will be upgraded:\n  alpha\n\
        Inst alpha [1.0] (1.1 Debian:12.5/stable, Debian-Security:12 [amd64])\n\
        Inst libc6:i386 [1.0] (1.1 local [i386]) []\nConf alpha (1.1 local [amd64])\n";

    #[test]
    fn a_plan_is_read_as_apt_writes_it() {
        let plan = parse_plan(PLAN).unwrap();
        let change = |name: &str, architecture: &str| Change::Install {
            name: name.to_owned(),
            architecture: architecture.to_owned(),
            from: Some("1.0".to_owned()),
            to: "1.1".to_owned(),
        };
        assert_eq!(plan, [change("alpha", "amd64"), change("libc6", "i386")]);
        assert_eq!(parse_plan("Remv old [1]\n").unwrap(), [Change::Remove("old".to_owned())]);
        assert_eq!(parse_plan("Inst odd\n"), None);
    }

    #[test]
    fn a_plan_that_does_more_than_was_asked_for_is_refused_by_name() {
        let both = [step("alpha", "amd64", "1.1"), step("libc6", "i386", "1.1")];
        let plan = parse_plan(PLAN).unwrap();
        judge(&plan, &both, false).unwrap();
        let fault = |plan: &[Change], steps: &[PackageStep], new| match judge(plan, steps, new) {
            Err(Answer::Failed(fault, _)) => Some(fault),
            _ => None,
        };
        assert_eq!(fault(&plan, &both[..1], true), Some(Fault::NeedsOthers));
        let other = [step("alpha", "amd64", "1.2"), both[1].clone()];
        assert_eq!(fault(&plan, &other, true), Some(Fault::NeedsOthers), "another version");
        let new = parse_plan("Inst fresh (1 local [all])\n").unwrap();
        assert_eq!(fault(&new, &both, false), Some(Fault::NeedsNew));
        assert_eq!(fault(&new, &both, true), None);
        let removes = parse_plan("Remv alpha [1.0]\n").unwrap();
        assert_eq!(fault(&removes, &both, true), Some(Fault::WouldRemove));
    }

    #[test]
    fn installed_versions_are_read_from_the_policy() {
        let output = "alpha:\n  Installed: 1.0\n  Candidate: 1.1\n  Version table:\n     1.1 500\n\
                      libc6:i386:\n  Installed: 2\nnone:\n  Installed: (none)\n";
        let expected = [("alpha", "1.0".to_owned()), ("libc6:i386", "2".to_owned())];
        assert_eq!(parse_installed(output), BTreeMap::from(expected));
    }
}
