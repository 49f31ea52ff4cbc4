//! Asks dnf which packages have a newer version.
//!
//! `repoquery` answers in a form that is asked for; `check-update` would answer in columns that it
//! wraps. Advisories come from `updateinfo`. All of it with `--cacheonly`, which also makes an
//! ordinary user read the lists that the host keeps. Works with dnf 4 and 5.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use argosy_wire::report::{PackageManager, PendingPackage, UpdatesReport};

use super::{entries, latest, report};
use crate::subsystem::{
    CollectError,
    tool::{Tool, ToolOutput},
};

/// The form that is asked for: dnf 4 ends the line by itself, dnf 5 does not.
const FORM: &str = "%{name}|%{arch}|%{evr}|%{repoid}\\n";
/// What dnf says when the host has never taken package lists.
const NO_LISTS: &str = "Cache-only enabled but no cache";

/// How to ask dnf.
#[derive(Debug, Clone)]
pub struct Dnf {
    /// The program.
    pub program: PathBuf,
    /// Arguments before all others, such as `--installroot=/elsewhere`.
    pub extra_args: Vec<String>,
    /// `HOME` of the program, where it needs one to find the database of packages.
    pub home: Option<PathBuf>,
    /// Where the host keeps package lists: one directory for each repository, with `repodata`.
    pub caches: Vec<PathBuf>,
}

impl Default for Dnf {
    fn default() -> Self {
        Self {
            program: "/usr/bin/dnf".into(),
            extra_args: Vec::new(),
            home: None,
            caches: vec!["/var/cache/dnf".into(), "/var/cache/libdnf5".into()],
        }
    }
}

impl Dnf {
    pub(super) async fn collect(&self) -> Result<UpdatesReport, CollectError> {
        let upgrades = self.run(&["repoquery", "--upgrades", "--latest-limit=1", "--qf", FORM]);
        let upgrades = upgrades.await?;
        if !upgrades.status.success() && upgrades.stderr.contains(NO_LISTS) {
            return Ok(report(PackageManager::Dnf, Vec::new(), None));
        }
        let upgrades = parse_packages(&upgrades.succeeded()?)?;
        let refreshed_at = latest(self.lists()?)?;
        if upgrades.is_empty() {
            return Ok(report(PackageManager::Dnf, Vec::new(), refreshed_at));
        }
        let installed = self.run(&["repoquery", "--installed", "--latest-limit=1", "--qf", FORM]);
        let installed = parse_packages(&installed.await?.succeeded()?)?;
        let advisories = self.run(&["updateinfo", "list", "--security"]).await?.succeeded()?;
        let pending = judged(upgrades, installed, &parse_advisories(&advisories));
        Ok(report(PackageManager::Dnf, pending, refreshed_at))
    }

    async fn run(&self, args: &[&str]) -> Result<ToolOutput, CollectError> {
        Tool::new(&self.program)
            .args(self.extra_args.iter().map(String::as_str))
            // Plugins may open connections, even for a question to the cache.
            .args(["--quiet", "--cacheonly", "--setopt=plugins=0"])
            .args(args.iter().copied())
            .home(self.home.as_deref())
            .run()
            .await
    }

    /// Every file of the package lists. dnf touches one of them when it has looked for newer ones.
    fn lists(&self) -> Result<Vec<PathBuf>, CollectError> {
        let mut files = Vec::new();
        for cache in &self.caches {
            for repository in entries(cache)? {
                files.extend(entries(&repository.join("repodata"))?);
            }
        }
        Ok(files)
    }
}

/// A line in our [`FORM`].
#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    architecture: String,
    version: String,
    repository: String,
}

fn parse_packages(output: &str) -> Result<Vec<Package>, CollectError> {
    output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            parse_package(line).ok_or_else(|| CollectError::unparsable("dnf repoquery", line))
        })
        .collect()
}

fn parse_package(line: &str) -> Option<Package> {
    let mut fields = line.split('|').map(str::to_owned);
    let package = Package {
        name: fields.next()?,
        architecture: fields.next()?,
        version: fields.next()?,
        repository: fields.next()?,
    };
    let complete = fields.next().is_none()
        && [&package.name, &package.architecture, &package.version]
            .into_iter()
            .all(|field| !field.is_empty() && !field.contains(' '));
    complete.then_some(package)
}

/// Name and architecture of every package that a line of `updateinfo list` names, wherever in the
/// line: dnf 4 and 5 differ in their columns.
///
/// `FEDORA-2026-1 Important/Sec. bash-5.2-2.x86_64`
fn parse_advisories(output: &str) -> HashSet<(&str, &str)> {
    output.split_whitespace().filter_map(name_and_architecture).collect()
}

/// Of `name-[epoch:]version-release.architecture`.
fn name_and_architecture(word: &str) -> Option<(&str, &str)> {
    let (rest, architecture) = word.rsplit_once('.')?;
    let (rest, _release) = rest.rsplit_once('-')?;
    let (name, _version) = rest.rsplit_once('-')?;
    Some((name, architecture))
}

fn judged(
    upgrades: Vec<Package>,
    installed: Vec<Package>,
    advisories: &HashSet<(&str, &str)>,
) -> Vec<PendingPackage> {
    let mut versions: HashMap<(&str, &str), &str> = HashMap::new();
    let mut versions_by_name: HashMap<&str, &str> = HashMap::new();
    for package in &installed {
        versions.insert((&package.name, &package.architecture), &package.version);
        versions_by_name.insert(&package.name, &package.version);
    }
    let pending = upgrades.into_iter().filter_map(|package| {
        let key = (package.name.as_str(), package.architecture.as_str());
        // A package may change its architecture (noarch); one that was removed between the two
        // questions is no longer pending.
        let current = versions.get(&key).or_else(|| versions_by_name.get(key.0))?;
        Some(PendingPackage {
            current: (*current).to_owned(),
            security: advisories.contains(&key),
            name: package.name,
            architecture: package.architecture,
            available: package.version,
            repository: package.repository,
        })
    });
    pending.collect()
}

#[cfg(test)]
mod tests;
