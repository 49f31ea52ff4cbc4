//! The programs that are measured: started from the folder of this one, ended with it, and read as the
//! kernel counts them.

use std::{
    fs::OpenOptions,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{Outcome, host};

/// A program that runs; killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
}

impl Program {
    /// Starts a program that was built beside this one; its output goes to `log`.
    pub(crate) fn start(
        name: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
        log: &Path,
    ) -> Outcome<Self> {
        let path = std::env::current_exe()?.with_file_name(name);
        if !path.exists() {
            return Err(format!("{} is missing: build the whole workspace", path.display()).into());
        }
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = Command::new(path);
        command
            .args(arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(Self { child: host::on_server_core(|| command.spawn())?? })
    }

    fn read(&self, file: &str) -> Outcome<String> {
        Ok(std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?)
    }

    /// The time that all its threads have had of a core.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let stat = self.read("stat")?;
        // The name in parentheses may hold anything; what follows it are plain fields.
        let (_, fields) = stat.rsplit_once(')').ok_or("a line of /proc without a name")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks = ticks.collect::<Result<Vec<_>, _>>()?.iter().sum::<u64>();
        Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
    }

    /// Files that it has open.
    pub(crate) fn files(&self) -> Outcome<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// A number of its `status` in `/proc`: KiB, where it is memory.
    pub(crate) fn status(&self, line: &str) -> Outcome<u64> {
        let status = self.read("status")?;
        let found = status.lines().find_map(|text| text.strip_prefix(line));
        let found = found.ok_or_else(|| format!("no {line} in /proc"))?;
        Ok(found.trim().trim_end_matches(" kB").parse()?)
    }
}

/// What the kernel counts time in, for programs (`USER_HZ`); the same on all that Argosy runs on.
const TICKS_PER_SECOND: u64 = 100;

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
