//! Asks apt which packages have a newer version.
//!
//! `apt list --upgradable` names them, packages on hold included: what is held back is still not
//! closed. `apt-cache policy` then tells, for each, every version above the installed one with its
//! origin: a package counts as security when any step of the way comes from a security archive,
//! also where a later ordinary version has overtaken that one.

use std::{collections::HashMap, path::PathBuf};

use argosy_domain::time::Timestamp;
use argosy_wire::report::{PackageManager, PendingPackage, UpdatesReport};

use super::{entries, latest, report};
use crate::subsystem::{CollectError, tool::Tool};

/// Names in one call of `apt-cache`, far from the kernel's limit on arguments.
const NAMES_PER_CALL_MAX: usize = 500;

/// How to ask apt.
#[derive(Debug, Clone)]
pub struct Apt {
    /// The `apt` program.
    pub apt: PathBuf,
    /// The `apt-cache` program.
    pub apt_cache: PathBuf,
    /// Arguments before all others, such as `-o Dir=/elsewhere`.
    pub extra_args: Vec<String>,
    /// The directory of package lists. It changes when a list arrives that is newer; a refresh
    /// that failed changes only `partial` in it.
    pub lists: PathBuf,
    /// Files that the host touches after a refresh that succeeded, where it has such.
    pub stamps: Vec<PathBuf>,
}

impl Default for Apt {
    fn default() -> Self {
        Self {
            apt: "/usr/bin/apt".into(),
            apt_cache: "/usr/bin/apt-cache".into(),
            extra_args: Vec::new(),
            lists: "/var/lib/apt/lists".into(),
            stamps: vec![
                "/var/lib/apt/periodic/update-stamp".into(),
                "/var/lib/apt/periodic/update-success-stamp".into(),
            ],
        }
    }
}

impl Apt {
    pub(crate) async fn collect(&self) -> Result<UpdatesReport, CollectError> {
        let args = self.extra_args.iter().map(String::as_str);
        let tool = Tool::new(&self.apt).args(args).args(["list", "-qq", "--upgradable"]);
        let upgradable = parse_upgradable(&tool.run().await?.succeeded()?)?;
        let names: Vec<String> =
            upgradable.iter().map(|p| format!("{}:{}", p.name, p.architecture)).collect();
        let policies = parse_policy(&self.policy(&names).await?);
        let pending = upgradable.into_iter().map(|package| package.judged(&policies)).collect();
        Ok(report(PackageManager::Apt, pending, self.refreshed_at()?))
    }

    /// A fresh image has the directory, and may have stamps, but no list in it.
    fn refreshed_at(&self) -> Result<Option<Timestamp>, CollectError> {
        let is_list = |path: &PathBuf| path.to_string_lossy().contains("_Packages");
        if !entries(&self.lists)?.iter().any(is_list) {
            return Ok(None);
        }
        latest(std::iter::once(self.lists.clone()).chain(self.stamps.iter().cloned()))
    }

    /// What `apt-cache policy` says of packages.
    pub(crate) async fn policy(&self, names: &[String]) -> Result<String, CollectError> {
        let mut said = String::new();
        for names in names.chunks(NAMES_PER_CALL_MAX) {
            let tool = Tool::new(&self.apt_cache)
                .args(self.extra_args.iter().map(String::as_str))
                .args(["policy", "--"])
                .args(names.iter().map(String::as_str));
            said.push_str(&tool.run().await?.succeeded()?);
        }
        Ok(said)
    }
}

/// A line of `apt list --upgradable`.
#[derive(Debug, PartialEq, Eq)]
struct Upgradable {
    name: String,
    /// The archives that offer the new version, separated by commas.
    suites: String,
    available: String,
    architecture: String,
    current: String,
}

/// `bash/oldstable,oldstable-security 5.2-2 amd64 [upgradable from: 5.2-1]`
fn parse_upgradable(output: &str) -> Result<Vec<Upgradable>, CollectError> {
    output
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && *line != "Listing...")
        .map(|line| {
            parse_upgradable_line(line).ok_or_else(|| CollectError::unparsable("apt list", line))
        })
        .collect()
}

fn parse_upgradable_line(line: &str) -> Option<Upgradable> {
    let (package, rest) = line.split_once('/')?;
    let (fields, current) = rest.strip_suffix(']')?.split_once(" [upgradable from: ")?;
    let mut fields = fields.split(' ');
    let (suites, available, architecture) = (fields.next()?, fields.next()?, fields.next()?);
    let words = [package, available, architecture, current];
    // What becomes an argument or is shown to people looks like a name or a version and no more.
    let plain = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphanumeric())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "+-._~:".contains(c))
    };
    if fields.next().is_some() || !words.into_iter().all(plain) {
        return None;
    }
    Some(Upgradable {
        name: package.to_owned(),
        suites: suites.to_owned(),
        available: available.to_owned(),
        architecture: architecture.to_owned(),
        current: current.to_owned(),
    })
}

impl Upgradable {
    fn judged(self, policies: &HashMap<String, Vec<Version>>) -> PendingPackage {
        // Only packages of a foreign architecture carry it in their heading.
        let versions = policies
            .get(&format!("{}:{}", self.name, self.architecture))
            .or_else(|| policies.get(&self.name))
            .map_or(&[][..], Vec::as_slice);
        // Newest first. What is above the candidate would not be installed.
        let mut step = versions
            .iter()
            .skip_while(|version| version.version != self.available)
            .take_while(|version| version.version != self.current)
            .peekable();
        let repository = step.peek().and_then(|version| version.sources.first());
        let repository = repository.map_or_else(|| self.suites.clone(), Source::shown);
        let security = self.suites.split(',').any(is_security_suite)
            || step.any(|version| version.sources.iter().any(Source::is_security));
        PendingPackage {
            name: self.name,
            architecture: self.architecture,
            current: self.current,
            available: self.available,
            security,
            repository,
        }
    }
}

/// A version in the table of `apt-cache policy`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Version {
    version: String,
    sources: Vec<Source>,
}

/// Where a version comes from: an archive and a suite with its component.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suite: String,
}

impl Source {
    fn is_security(&self) -> bool {
        // `bookworm-security/main`; before Debian 11 `buster/updates/main` below debian-security.
        let suite = self.suite.rsplit_once('/').map_or(self.suite.as_str(), |(suite, _)| suite);
        is_security_suite(suite) || self.uri.trim_end_matches('/').ends_with("/debian-security")
    }

    /// Archive and suite, without the credentials that a private archive's address may hold.
    fn shown(&self) -> String {
        let uri = match self.uri.split_once("://") {
            Some((scheme, rest)) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                format!("{scheme}://{host}{path}")
            }
            None => self.uri.clone(),
        };
        format!("{uri} {}", self.suite)
    }
}

fn is_security_suite(suite: &str) -> bool {
    suite.ends_with("-security")
}

/// The version tables of `apt-cache policy NAME…`, by heading, newest version first. What is not
/// part of a table is passed over.
fn parse_policy(output: &str) -> HashMap<String, Vec<Version>> {
    let mut tables: HashMap<String, Vec<Version>> = HashMap::new();
    let mut table: Option<&mut Vec<Version>> = None;
    for line in output.lines() {
        if !line.starts_with(' ') {
            let heading = line.strip_suffix(':').map(str::to_owned);
            table = heading.map(|heading| tables.entry(heading).or_default());
            continue;
        }
        let Some(versions) = table.as_deref_mut() else { continue };
        let words: Vec<&str> = line.trim_start_matches([' ', '*']).split_whitespace().collect();
        match words[..] {
            // `500 http://mirror.example/debian bookworm/main amd64 Packages`
            [priority, uri, ref rest @ ..] if is_number(priority) && uri.contains('/') => {
                if let (Some(version), [suite, ..]) = (versions.last_mut(), rest) {
                    let (uri, suite) = (uri.to_owned(), (*suite).to_owned());
                    version.sources.push(Source { uri, suite });
                }
            }
            // `5.2-2 500`, and where updates are phased `5.2-2 500 (phased 10%)`
            [version, priority, ..] if is_number(priority) => {
                versions.push(Version { version: version.to_owned(), sources: Vec::new() });
            }
            _ => {}
        }
    }
    tables
}

fn is_number(word: &str) -> bool {
    word.parse::<i32>().is_ok()
}

#[cfg(test)]
mod tests;
