//! A host of its own below a directory: a repository, packages that are installed, and a server's keys.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt as _, net::UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use argosy_agent::packages::{Answer, Request, SignedOrder};
use argosy_config::host::SystemClock;
use argosy_domain::{
    command::CommandSeq,
    digest::Sha256,
    time::{Clock as _, Timestamp},
};
use argosy_wire::{
    bytes::{Bytes32, Fixed},
    sign::{Signed, thumbprint},
    statement::{CommandStatement, KeyCertificate, digest},
};
use ed25519_dalek::SigningKey;

/// What the repository offers: name, version, architecture, what it depends on.
const OFFERED: [(&str, &str, &str, &str); 4] = [
    ("alpha", "1.1", "amd64", ""),
    ("beta", "2.0", "all", "alpha (>= 1.1)"),
    ("gamma", "2.0", "all", "delta"),
    ("delta", "1.0", "all", ""),
];
/// What is installed, in version 1.0.
const INSTALLED: [(&str, &str); 3] = [("alpha", "amd64"), ("beta", "all"), ("gamma", "all")];

/// The host.
pub(crate) struct Lab {
    directory: tempfile::TempDir,
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(key: &SigningKey) -> Bytes32 {
    Fixed(key.verifying_key().to_bytes())
}

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command says, before anybody bends it.
pub(crate) struct Draft {
    pub(crate) statement: CommandStatement,
    pub(crate) certificate: KeyCertificate,
    pub(crate) params: String,
}

impl Draft {
    /// A good command.
    pub(crate) fn new(id: &str, dry_run: bool, packages: &[(&str, &str, &str)]) -> Self {
        let packages: Vec<_> = packages
            .iter()
            .map(|(name, architecture, version)| {
                serde_json::json!({ "architecture": architecture, "name": name, "version": version })
            })
            .collect();
        let params = serde_json::json!({ "dry_run": dry_run, "packages": packages }).to_string();
        let server = thumbprint(&public(&key(1)));
        Self {
            statement: CommandStatement {
                server,
                org: "default".parse().unwrap(),
                agent: "agent-1".parse().unwrap(),
                command_id: id.parse().unwrap(),
                kind: "updates.install".to_owned(),
                params_sha256: digest(Sha256::of(params.as_bytes())),
                sequence: CommandSeq(1),
                not_before: now(),
                expires_at: now().plus(Duration::from_secs(3600)),
                server_time: now(),
            },
            certificate: KeyCertificate {
                server,
                usage: "command".to_owned(),
                public_key: public(&key(2)),
                serial: 5,
                not_before: now().minus(Duration::from_secs(60)),
                not_after: now().plus(Duration::from_secs(7200)),
            },
            params,
        }
    }

    /// Signed as the server signs.
    pub(crate) fn signed(self) -> Request {
        self.signed_by(&key(1), &key(2))
    }

    pub(crate) fn signed_by(self, identity: &SigningKey, command: &SigningKey) -> Request {
        let order = SignedOrder {
            envelope: Signed::new(command, &self.statement),
            certificate: Signed::new(identity, &self.certificate),
            server_key: public(identity),
        };
        Request { order, params: self.params }
    }
}

impl Lab {
    /// A host whose policy allows everything about packages.
    pub(crate) fn new() -> Self {
        let lab = Self { directory: tempfile::tempdir().unwrap() };
        for folder in ["repo", "build", "root/var/log/apt", "root/etc/apt/sources.list.d"] {
            fs::create_dir_all(lab.path(folder)).unwrap();
        }
        for folder in ["dpkg/info", "dpkg/updates", "dpkg/triggers", "lib/apt/lists/partial"] {
            fs::create_dir_all(lab.path("root/var/lib").join(folder)).unwrap();
        }
        for folder in ["apt/lists/partial", "../cache/apt/archives/partial"] {
            fs::create_dir_all(lab.path("root/var/lib").join(folder)).unwrap();
        }
        fs::write(lab.path("root/var/lib/dpkg/status"), "").unwrap();
        let mut index = String::new();
        for (name, version, architecture, depends) in OFFERED {
            index.push_str(&lab.build(name, version, architecture, depends));
        }
        fs::write(lab.path("repo/Packages"), index).unwrap();
        let sources = format!("deb [trusted=yes] file:{} ./\n", lab.path("repo").display());
        fs::write(lab.path("root/etc/apt/sources.list"), sources).unwrap();
        let root = format!("--root={}", lab.path("root").display());
        for (name, architecture) in INSTALLED {
            lab.build(name, "1.0", architecture, "");
            let file = lab.path(&format!("repo/{name}_1.0.deb"));
            run("dpkg", &[&root, "--force-not-root", "--install", file.to_str().unwrap()]);
        }
        lab.apt("apt-get", &["update"]);
        lab.policy("");
        let options: Vec<String> = lab.options().iter().map(|o| format!("{o:?}")).collect();
        let settings = format!(
            "server_pin = \"{}\"\nagent_id = \"agent-1\"\nagent_user = \"root\"\npolicy_file = {:?}\n\
             state_dir = {:?}\n[apt]\noptions = [{}]\n",
            thumbprint(&public(&key(1))),
            lab.path("policy.toml"),
            lab.path("ledger"),
            options.join(", ")
        );
        fs::write(lab.settings(), settings).unwrap();
        lab
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// The helper's settings.
    pub(crate) fn settings(&self) -> PathBuf {
        self.path("package-helper.toml")
    }

    /// Replaces the section on packages in a policy that allows the kind.
    pub(crate) fn policy(&self, updates: &str) {
        let text = format!("[commands]\nallow = [\"updates.install\"]\n[updates]\n{updates}\n");
        fs::write(self.path("policy.toml"), text).unwrap();
        self.mode("policy.toml", 0o644);
    }

    pub(crate) fn mode(&self, below: &str, mode: u32) {
        fs::set_permissions(self.path(below), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Builds a package into the repository; answers its place in the index.
    fn build(&self, name: &str, version: &str, architecture: &str, depends: &str) -> String {
        let folder = self.path(&format!("build/{name}-{version}"));
        fs::create_dir_all(folder.join("DEBIAN")).unwrap();
        let mut control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n\
             Maintainer: a <a@example.org>\nDescription: a sample\n"
        );
        if !depends.is_empty() {
            control.push_str(&format!("Depends: {depends}\n"));
        }
        fs::write(folder.join("DEBIAN/control"), &control).unwrap();
        let file = self.path(&format!("repo/{name}_{version}.deb"));
        let (folder, target) = (folder.to_str().unwrap(), file.to_str().unwrap());
        run("dpkg-deb", &["--build", "--root-owner-group", "-Zgzip", folder, target]);
        let bytes = fs::read(&file).unwrap();
        let sha256: String =
            Sha256::of(&bytes).0.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "{control}Filename: ./{name}_{version}.deb\nSize: {}\nSHA256: {sha256}\n\n",
            bytes.len()
        )
    }

    fn options(&self) -> Vec<String> {
        let root = self.path("root").display().to_string();
        [
            format!("Dir={root}"),
            format!("Dir::State::status={root}/var/lib/dpkg/status"),
            format!("DPkg::Options::=--root={root}"),
            "DPkg::Options::=--force-not-root".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Dir::Bin::dpkg=/usr/bin/dpkg".to_owned(),
            "Dir::Bin::methods=/usr/lib/apt/methods".to_owned(),
        ]
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect()
    }

    fn apt(&self, program: &str, args: &[&str]) -> String {
        let options = self.options();
        let args: Vec<&str> =
            options.iter().map(String::as_str).chain(args.iter().copied()).collect();
        run(program, &args)
    }

    /// The installed version of a package.
    pub(crate) fn installed(&self, name: &str) -> Option<String> {
        let policy = self.apt("apt-cache", &["policy", name]);
        let line = policy.lines().find_map(|line| line.strip_prefix("  Installed: "))?;
        (line != "(none)").then(|| line.to_owned())
    }

    /// How often apt changed something.
    pub(crate) fn transactions(&self) -> usize {
        let log = fs::read_to_string(self.path("root/var/log/apt/history.log")).unwrap_or_default();
        log.matches("Start-Date").count()
    }

    /// The helper as systemd starts it, with a connection as its standard input; none where it ended
    /// without an answer.
    pub(crate) fn helper(&self, request: &[u8], failpoint: Option<&str>) -> Option<Answer> {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_argosy-agent"));
        command.args(["package-helper", "--settings"]).arg(self.settings());
        command.env_clear().envs(failpoint.map(|at| ("ARGOSY_FAILPOINT", at)));
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        drop(command);
        // A helper that dies, or has read enough, cuts the connection.
        let _ = ours.write_all(request).and_then(|()| ours.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        let _ = ours.read_to_end(&mut answer);
        child.wait().unwrap();
        (!answer.is_empty()).then(|| serde_json::from_slice(&answer).unwrap())
    }

    /// The same with a request that is well-formed, and an answer.
    pub(crate) fn ask(&self, request: &Request) -> Answer {
        self.helper(&serde_json::to_vec(request).unwrap(), None).expect("an answer")
    }

    /// Whether a directory is there.
    pub(crate) fn remembers(&self, id: &str) -> bool {
        Path::new(&self.path("ledger")).join(format!("command-{id}.json")).exists()
    }
}
