//! Networks of a test's own, out of Linux network namespaces: the test and its servers on the mainland, an
//! agent on an island, a router between them that can be made to lose what passes.
//!
//! Nothing of it is seen from elsewhere, and it is gone with the processes that live there. Making one
//! needs the rights of root (`CAP_SYS_ADMIN`, `CAP_NET_ADMIN`).

use std::{
    fs::File,
    os::fd::AsFd as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where the mainland is for the island.
pub const MAINLAND: &str = "10.99.0.1";

/// Which way is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// What comes to the island.
    ToIsland,
    /// What comes from there.
    FromIsland,
    /// Both.
    Both,
}

/// An island, its router and the way there.
pub struct Island {
    mainland: Namespace,
    router: Namespace,
    island: Namespace,
    /// The last part of its address; it may move.
    host: u8,
}

/// A network namespace, for as long as the process that holds it lives: it waits for the end of its input.
struct Namespace {
    holder: Child,
}

impl Island {
    /// Makes one. Answers why not where this process may not.
    pub fn make() -> Result<Self, String> {
        let (mainland, router, island) =
            (Namespace::make()?, Namespace::make()?, Namespace::make()?);
        let made = Self { mainland, router, island, host: 2 };
        let to_router = format!("link add m type veth peer name r0 netns {}", made.router.id());
        let to_island = format!("link add r1 type veth peer name i netns {}", made.island.id());
        made.mainland.all(&[
            "link set lo up",
            &to_router,
            &format!("addr add {MAINLAND}/24 dev m"),
            "link set m up",
            "route add 10.99.1.0/24 via 10.99.0.2",
        ])?;
        made.router.all(&[
            &to_island,
            "addr add 10.99.0.2/24 dev r0",
            "addr add 10.99.1.1/24 dev r1",
            "link set r0 up",
            "link set r1 up",
        ])?;
        made.router.run("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
        made.island.all(&["link set lo up", "link set i up"])?;
        made.settle()?;
        Ok(made)
    }

    /// Moves this thread to the mainland, and what it starts from now on.
    pub fn land(&self) {
        let namespace = File::open(self.mainland.path()).unwrap();
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.as_fd(), network).unwrap();
    }

    /// What a program is started by to run on the island.
    pub fn prefix(&self) -> Vec<String> {
        self.island.entered().to_vec()
    }

    /// From now on the router loses what passes, without a word to anybody.
    pub fn lose(&self, lost: Lost) {
        let island = format!("route replace blackhole 10.99.1.{}", self.host);
        let mainland = format!("route replace blackhole {MAINLAND}");
        let routes: &[&str] = match lost {
            Lost::ToIsland => &[&island],
            Lost::FromIsland => &[&mainland],
            Lost::Both => &[&island, &mainland],
        };
        self.router.all(routes).unwrap();
    }

    /// The router passes everything on again.
    pub fn find(&self) {
        // What it did not lose is no route of its.
        let island = format!("route del blackhole 10.99.1.{}", self.host);
        for route in [island, format!("route del blackhole {MAINLAND}")] {
            let _none = self.router.all(&[&route]);
        }
    }

    /// The island gets another address; what had the old one is not told.
    pub fn move_away(&mut self) {
        self.island.all(&["addr flush dev i"]).unwrap();
        self.host += 1;
        self.settle().unwrap();
    }

    fn settle(&self) -> Result<(), String> {
        let address = format!("addr add 10.99.1.{}/24 dev i", self.host);
        self.island.all(&[&address, "route add default via 10.99.1.1"])
    }
}

impl Namespace {
    fn make() -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sh", "-c", "echo ready; exec cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut said = [0; 6];
        let output = holder.stdout.as_mut().unwrap();
        match std::io::Read::read_exact(output, &mut said) {
            Ok(()) => Ok(Self { holder }),
            Err(_) => {
                holder.wait().unwrap();
                Err("network namespaces cannot be made here".to_owned())
            }
        }
    }

    fn id(&self) -> u32 {
        self.holder.id()
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.id()))
    }

    /// What a program is started by to run in it.
    fn entered(&self) -> [String; 3] {
        ["nsenter".to_owned(), format!("--net={}", self.path().display()), "--".to_owned()]
    }

    /// Runs `ip` with each line.
    fn all(&self, lines: &[&str]) -> Result<(), String> {
        lines.iter().try_for_each(|line| self.run("ip", &line.split(' ').collect::<Vec<_>>()))
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        let [enter, words @ ..] = self.entered();
        let output = Command::new(enter).args(words).arg(program).args(arguments).output();
        let output = output.map_err(|error| format!("nsenter: {error}"))?;
        let told = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("{program} {arguments:?}: {told}"))
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It ends with its input, and is gone then.
        drop(self.holder.stdin.take());
        let _gone = self.holder.wait();
    }
}
