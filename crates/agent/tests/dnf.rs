//! The `updates` subsystem against a real dnf: a repository is built here, older packages are
//! installed in a root of their own, and the collector is asked.
//!
//! Needs the programs of the Debian packages `dnf`, `createrepo-c` and `rpm`, and root (rpm
//! installs below another root). Where one is missing the test fails: it is never skipped.

#![expect(clippy::unwrap_used, reason = "a helper that cannot help fails the test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use argosy_agent::subsystem::{
    Collector,
    updates::{Dnf, UpdatesCollector},
};
use argosy_wire::report::{PackageManager, PendingPackage, SubsystemReport, UpdatesReport};

const NEEDED: &str = "this test needs: apt-get install dnf createrepo-c rpm";

const SPEC: &str = "\
Name: %{sample}
Version: %{sample_version}
Release: 1
Summary: A sample
License: Apache-2.0
BuildArch: noarch
%description
A sample.
%files
";

const ADVISORY: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<updates>
  <update from="security@example.org" status="stable" type="security" version="1">
    <id>SAMPLE-2026:0001</id>
    <title>sample-holed is closed</title>
    <issued date="2026-01-01 00:00:00"/>
    <severity>Important</severity>
    <description>A hole is closed.</description>
    <pkglist>
      <collection short="sample">
        <name>sample</name>
        <package name="sample-holed" version="2.0" release="1" epoch="0" arch="noarch">
          <filename>sample-holed-2.0-1.noarch.rpm</filename>
        </package>
      </collection>
    </pkglist>
  </update>
</updates>
"#;

/// A host with packages of its own, below a directory.
struct Host {
    directory: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { directory: tempfile::tempdir().unwrap() };
        for name in ["home", "root", "repository", "repos.d"] {
            fs::create_dir(host.at(name)).unwrap();
        }
        fs::write(host.at("dnf.conf"), "[main]\n").unwrap();
        fs::write(host.at("sample.spec"), SPEC).unwrap();
        host
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn shown(&self, path: &str) -> String {
        self.at(path).display().to_string()
    }

    /// Runs a program with the same home as the collector's: Debian's rpm keeps its database there.
    fn run(&self, program: &str, args: &[String]) {
        let output = Command::new(program)
            .args(args)
            .env("HOME", self.at("home"))
            .env("LC_ALL", "C")
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}; {NEEDED}"));
        assert!(output.status.success(), "{program} {args:?}: {output:#?}");
    }

    fn build(&self, name: &str, version: &str) -> PathBuf {
        let mut args = vec!["-bb".to_owned()];
        for define in [
            format!("_topdir {}", self.shown("build")),
            format!("sample {name}"),
            format!("sample_version {version}"),
        ] {
            args.extend(["--define".into(), define]);
        }
        args.push(self.shown("sample.spec"));
        self.run("rpmbuild", &args);
        self.at(&format!("build/RPMS/noarch/{name}-{version}-1.noarch.rpm"))
    }

    fn install(&self, package: &Path) {
        let mut args = vec!["--root".to_owned(), self.shown("root")];
        args.extend(["--nodeps", "--noscripts", "--install"].map(str::to_owned));
        args.push(package.display().to_string());
        self.run("rpm", &args);
    }

    /// Adds packages to the repository, and the advisory.
    fn publish(&self, packages: &[PathBuf]) {
        for package in packages {
            let name = package.file_name().unwrap();
            fs::copy(package, self.at("repository").join(name)).unwrap();
        }
        let repository = self.shown("repository");
        self.run("createrepo_c", &["--quiet".into(), repository.clone()]);
        fs::write(self.at("updateinfo.xml"), ADVISORY).unwrap();
        let repodata = self.shown("repository/repodata");
        self.run("modifyrepo_c", &[self.shown("updateinfo.xml"), repodata]);
        let repo =
            format!("[sample]\nname=sample\nbaseurl=file://{repository}\nenabled=1\ngpgcheck=0\n");
        fs::write(self.at("repos.d/sample.repo"), repo).unwrap();
    }

    fn arguments(&self) -> Vec<String> {
        vec![
            format!("--config={}", self.shown("dnf.conf")),
            format!("--installroot={}", self.shown("root")),
            format!("--setopt=reposdir={}", self.shown("repos.d")),
            "--releasever=1".into(),
        ]
    }

    /// What the host does by itself now and then.
    fn refresh(&self) {
        let mut args = self.arguments();
        args.extend(["--quiet", "--refresh", "makecache"].map(str::to_owned));
        self.run("dnf", &args);
    }

    async fn collect(&self) -> UpdatesReport {
        let collector = UpdatesCollector::Dnf(Dnf {
            extra_args: self.arguments(),
            home: Some(self.at("home")),
            caches: vec![self.at("root/var/cache/dnf")],
            ..Dnf::default()
        });
        let report = collector.collect().await;
        let report = report.unwrap_or_else(|error| panic!("{error}; {NEEDED}"));
        report.check().unwrap();
        let SubsystemReport::Updates(report) = report else { panic!("another report") };
        assert_eq!(report.manager, PackageManager::Dnf);
        report
    }
}

fn pending(name: &str, security: bool) -> PendingPackage {
    PendingPackage {
        name: name.into(),
        architecture: "noarch".into(),
        current: "1.0-1".into(),
        available: "2.0-1".into(),
        security,
        repository: "sample".into(),
    }
}

#[tokio::test]
async fn pending_packages_are_reported_and_lists_are_never_refreshed() {
    let host = Host::new();
    for name in ["sample-holed", "sample-plain", "sample-late"] {
        host.install(&host.build(name, "1.0"));
    }
    host.publish(&[host.build("sample-holed", "2.0"), host.build("sample-plain", "2.0")]);
    let before = host.collect().await;
    assert_eq!((before.pending, before.refreshed_at), (0, None), "nobody has taken lists yet");

    host.refresh();
    let report = host.collect().await;
    assert_eq!(report.packages, [pending("sample-holed", true), pending("sample-plain", false)]);
    assert_eq!((report.pending, report.security_pending, report.truncated), (2, 1, false));
    let refreshed_at = report.refreshed_at.expect("the lists are there");

    host.publish(&[host.build("sample-late", "2.0")]);
    assert_eq!(host.collect().await, report, "the collector took new lists by itself");

    host.refresh();
    let fresh = host.collect().await;
    assert_eq!(
        fresh.packages,
        [
            pending("sample-holed", true),
            pending("sample-late", false),
            pending("sample-plain", false)
        ]
    );
    assert!(fresh.refreshed_at.is_some_and(|at| at > refreshed_at), "{fresh:?}");
}

#[tokio::test]
async fn a_host_that_is_up_to_date_has_nothing_pending() {
    let host = Host::new();
    let latest = host.build("sample-plain", "2.0");
    host.install(&latest);
    host.publish(&[latest]);
    host.refresh();
    let report = host.collect().await;
    assert_eq!((report.pending, report.packages.len()), (0, 0));
    assert!(report.refreshed_at.is_some());
}

#[tokio::test]
async fn a_broken_configuration_is_told_in_dnf_s_own_words() {
    let collector = UpdatesCollector::Dnf(Dnf {
        extra_args: vec!["--config=/no/such/file".into()],
        ..Dnf::default()
    });
    let error = collector.collect().await.unwrap_err().to_string();
    assert!(error.contains("/usr/bin/dnf failed") && error.contains("/no/such/file"), "{error}");
}
