//! What the agent asks its host about itself.
//!
//! *Invariant:* the host's own machine id never leaves this process; only its salted digest does
//! (PROTOCOL §4.7).

use std::{
    env,
    path::{Path, PathBuf},
};

use argosy_domain::{
    limits::NAME_CHARS_MAX,
    text::{self, clip},
};
use argosy_wire::{bytes::Bytes32, machine::salted_machine_id};

/// State of an agent that runs as root.
const STATE_DIR_OF_ROOT: &str = "/var/lib/argosy-agent";
/// A host that has no name that could be used.
const NAMELESS: &str = "unnamed-host";

/// Of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The host's name for itself, short and plain.
pub fn name() -> String {
    let uname = rustix::system::uname();
    let name = clip(&uname.nodename().to_string_lossy(), NAME_CHARS_MAX);
    text::name(&name).unwrap_or_else(|_| NAMELESS.to_owned())
}

/// Operating system and architecture as releases name them, such as `linux-amd64`.
pub fn platform() -> String {
    let arch = match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}-{arch}", env::consts::OS)
}

/// The salted machine id for one server, where the host has a machine id.
pub fn machine_id(server_thumbprint: &Bytes32) -> Option<Bytes32> {
    let id = machine_uid::get().ok()?;
    let id = id.trim();
    let blank =
        id.is_empty() || id.chars().all(|c| matches!(c, '0' | '-')) || id == "uninitialized";
    (!blank).then(|| salted_machine_id(server_thumbprint, id))
}

/// Where state is kept unless a setting says otherwise.
pub fn state_dir() -> Option<PathBuf> {
    let root = rustix::process::geteuid().is_root();
    state_dir_for(root, env::var_os("XDG_STATE_HOME").as_deref(), env::var_os("HOME").as_deref())
}

fn state_dir_for(
    root: bool,
    xdg: Option<&std::ffi::OsStr>,
    home: Option<&std::ffi::OsStr>,
) -> Option<PathBuf> {
    if root {
        return Some(STATE_DIR_OF_ROOT.into());
    }
    // XDG Base Directory Specification 0.8: relative paths are to be ignored.
    let xdg = xdg.map(Path::new).filter(|path| path.is_absolute()).map(Path::to_owned);
    let home = home.map(Path::new).filter(|path| path.is_absolute());
    xdg.or_else(|| home.map(|home| home.join(".local/state"))).map(|base| base.join("argosy-agent"))
}

/// Sockets of container engines, as their own programs look for them.
pub fn container_sockets() -> Vec<PathBuf> {
    let (docker, runtime) = (env::var("DOCKER_HOST").ok(), env::var_os("XDG_RUNTIME_DIR"));
    container_sockets_for(docker.as_deref(), runtime.as_deref())
}

fn container_sockets_for(
    docker_host: Option<&str>,
    runtime: Option<&std::ffi::OsStr>,
) -> Vec<PathBuf> {
    // One that was named is the only one. Those of other hosts are not this host's.
    if let Some(path) = docker_host.and_then(|host| host.strip_prefix("unix://")) {
        return vec![path.into()];
    }
    let usual = ["/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock"];
    let own = runtime.map(Path::new).filter(|path| path.is_absolute());
    let own = own
        .into_iter()
        .flat_map(|path| ["docker.sock", "podman/podman.sock"].map(|s| path.join(s)));
    usual.map(PathBuf::from).into_iter().chain(own).collect()
}

/// How `argosy-agent` is called for this state directory.
pub fn invocation(state: &Path, command: &str) -> String {
    if state_dir().as_deref() == Some(state) {
        format!("argosy-agent {command}")
    } else {
        format!("argosy-agent {command} --state-dir {}", state.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn state_lives_where_the_host_expects_it() {
        let (xdg, home) = (Some(OsStr::new("/s")), Some(OsStr::new("/home/a")));
        let found =
            |root, xdg, home| state_dir_for(root, xdg, home).map(|path| path.display().to_string());
        assert_eq!(found(true, xdg, home).as_deref(), Some("/var/lib/argosy-agent"));
        assert_eq!(found(false, xdg, home).as_deref(), Some("/s/argosy-agent"));
        let in_home = "/home/a/.local/state/argosy-agent";
        assert_eq!(found(false, None, home).as_deref(), Some(in_home));
        assert_eq!(found(false, Some(OsStr::new("rel")), home).as_deref(), Some(in_home));
        assert_eq!(found(false, None, None), None);
    }

    #[test]
    fn engines_are_looked_for_where_their_own_programs_look() {
        let named = container_sockets_for(Some("unix:///x/docker.sock"), None);
        assert_eq!(named, [Path::new("/x/docker.sock")]);
        let own = container_sockets_for(None, Some(OsStr::new("/run/user/7")));
        assert_eq!(own[0], Path::new("/run/docker.sock"));
        assert_eq!(own[2], Path::new("/run/podman/podman.sock"));
        assert_eq!(own[4], Path::new("/run/user/7/podman/podman.sock"));
        // Another host's engine says nothing about this one.
        let elsewhere = container_sockets_for(Some("tcp://10.0.0.1:2375"), Some(OsStr::new("rel")));
        assert_eq!(elsewhere.len(), 3);
    }

    #[test]
    fn two_servers_see_two_machine_ids() {
        let (one, two) =
            (Bytes32::from_slice(&[1; 32]).unwrap(), Bytes32::from_slice(&[2; 32]).unwrap());
        if let Some(first) = machine_id(&one) {
            assert_ne!(Some(first), machine_id(&two));
            assert_eq!(Some(first), machine_id(&one));
        }
    }
}
