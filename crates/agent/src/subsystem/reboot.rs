//! Whether something on the host asks for a reboot.
//!
//! Debian and its kin leave a flag file; hosts with dnf have `needs-restarting -r` where its
//! package is installed. A host with neither has no way to tell, and that is what is said.

use std::path::{Path, PathBuf};

use argosy_wire::report::REBOOT_PACKAGES_MAX;

use super::{CollectError, reported, tool::Tool};

/// What `needs-restarting -r` says, besides its status, where a reboot is due; a status alone
/// could as well be a failure.
const REBOOT_IS_DUE: &str = "Reboot is required";

/// Where a host shows that it wants a reboot.
#[derive(Debug, Clone)]
pub struct RebootSigns {
    /// A file that exists while a reboot is asked for.
    pub flag: PathBuf,
    /// The packages that asked, one a line.
    pub flag_packages: PathBuf,
    /// A file that exists where packages would set the flag.
    pub flag_is_used: PathBuf,
    /// The program that tells on hosts with dnf.
    pub needs_restarting: PathBuf,
}

impl Default for RebootSigns {
    fn default() -> Self {
        Self {
            flag: "/var/run/reboot-required".into(),
            flag_packages: "/var/run/reboot-required.pkgs".into(),
            flag_is_used: "/var/lib/dpkg/status".into(),
            needs_restarting: "/usr/bin/needs-restarting".into(),
        }
    }
}

/// What the signs say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reboot {
    /// `None`: the host cannot tell.
    pub(super) required: Option<bool>,
    pub(super) packages: Vec<String>,
}

impl RebootSigns {
    /// Reads the signs. A sign that cannot be read is worth a warning, never the whole report.
    pub(super) async fn read(&self) -> Reboot {
        if exists(&self.flag).await {
            let packages = tokio::fs::read_to_string(&self.flag_packages).await.unwrap_or_default();
            return Reboot { required: Some(true), packages: names(packages.lines()) };
        }
        if exists(&self.needs_restarting).await {
            match self.ask().await {
                Ok(reboot) => return reboot,
                Err(error) => tracing::warn!(%error, "whether a reboot is due is not known"),
            }
        }
        let required = exists(&self.flag_is_used).await.then_some(false);
        Reboot { required, packages: Vec::new() }
    }

    async fn ask(&self) -> Result<Reboot, CollectError> {
        let output = Tool::new(&self.needs_restarting).args(["-r"]).run().await?;
        match output.status.code() {
            Some(0) => Ok(Reboot { required: Some(false), packages: Vec::new() }),
            Some(1) if output.stdout.contains(REBOOT_IS_DUE) => {
                let listed =
                    output.stdout.lines().filter_map(|line| line.trim().strip_prefix("* "));
                Ok(Reboot { required: Some(true), packages: names(listed) })
            }
            Some(_) | None => Err(output.failed()),
        }
    }
}

async fn exists(path: &Path) -> bool {
    tokio::fs::try_exists(path).await.unwrap_or(false)
}

fn names<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> =
        lines.map(str::trim).filter(|line| !line.is_empty()).map(reported).collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(REBOOT_PACKAGES_MAX);
    names
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A host without any sign.
    fn bare() -> (tempfile::TempDir, RebootSigns) {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let signs = RebootSigns {
            flag: at("reboot-required"),
            flag_packages: at("reboot-required.pkgs"),
            flag_is_used: at("status"),
            needs_restarting: at("needs-restarting"),
        };
        (directory, signs)
    }

    fn install(signs: &RebootSigns, script: &str) {
        let source = signs.needs_restarting.with_extension("sh");
        fs::write(&source, format!("#!/bin/sh\n{script}\n")).unwrap();
        // Copied by another process: a file that this one has open for writing may not be run.
        let mut install = std::process::Command::new("install");
        let status = install.args(["-m", "755"]).arg(source).arg(&signs.needs_restarting).status();
        assert!(status.unwrap().success());
    }

    #[tokio::test]
    async fn a_host_without_signs_cannot_tell() {
        let (_directory, signs) = bare();
        assert_eq!(signs.read().await, Reboot::default());
    }

    #[tokio::test]
    async fn the_flag_file_names_each_package_once() {
        let (_directory, signs) = bare();
        fs::write(&signs.flag_is_used, "").unwrap();
        assert_eq!(signs.read().await.required, Some(false));
        fs::write(&signs.flag, "*** System restart required ***\n").unwrap();
        assert_eq!(signs.read().await, Reboot { required: Some(true), packages: Vec::new() });
        fs::write(&signs.flag_packages, "linux-image-6.1\ndbus\nlinux-image-6.1\n").unwrap();
        let packages = vec!["dbus".to_owned(), "linux-image-6.1".to_owned()];
        assert_eq!(signs.read().await, Reboot { required: Some(true), packages });
    }

    #[tokio::test]
    async fn needs_restarting_tells_where_there_is_no_flag() {
        let (_directory, signs) = bare();
        install(&signs, "echo 'No core libraries or services have been updated since boot-up.'");
        assert_eq!(signs.read().await.required, Some(false));
        install(
            &signs,
            "cat <<END\n\
             Core libraries or services have been updated since boot-up:\n  \
             * kernel\n  * systemd\n\n\
             Reboot is required to fully utilize these updates.\nEND\nexit 1",
        );
        let packages = vec!["kernel".to_owned(), "systemd".to_owned()];
        assert_eq!(signs.read().await, Reboot { required: Some(true), packages });
    }

    #[tokio::test]
    async fn a_failure_of_needs_restarting_is_not_taken_for_an_answer() {
        let (_directory, signs) = bare();
        install(&signs, "echo 'Error: rpmdb open failed' >&2; exit 1");
        assert_eq!(signs.read().await, Reboot::default());
    }
}
