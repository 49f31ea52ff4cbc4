//! Runs the host's own programs for a collector, or for the package helper.
//!
//! *Invariant:* no shell, no inherited environment, no input, nothing read beyond a named limit; a
//! program has less claim to the processor than anything else on the host, a limit of memory, and does
//! not outlive the run that started it.

use std::{
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Resource, Rlimit, prlimit, setpriority_process};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
};

use super::CollectError;

/// What a program may write to its standard output. A hundred thousand packages fit.
pub(crate) const STDOUT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What is kept of a program's complaints.
const STDERR_BYTES_MAX: usize = 2 * 1024;
/// Memory that a program may ask for. Package managers of large hosts need a third of it.
const MEMORY_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How far a program stands back for others, as nice(1) has it.
const NICENESS: i32 = 5;
/// Where the host's own programs find each other.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A program and its arguments.
#[derive(Debug)]
pub(crate) struct Tool<'a> {
    program: &'a Path,
    args: Vec<&'a str>,
    home: Option<&'a Path>,
    variable: Option<(&'a str, &'a str)>,
    stdout_bytes_max: usize,
}

/// How a program ended and what it wrote.
#[derive(Debug)]
pub(crate) struct ToolOutput {
    tool: PathBuf,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl<'a> Tool<'a> {
    pub(crate) fn new(program: &'a Path) -> Self {
        Self {
            program,
            args: Vec::new(),
            home: None,
            variable: None,
            stdout_bytes_max: STDOUT_BYTES_MAX,
        }
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args);
        self
    }

    pub(crate) fn home(mut self, home: Option<&'a Path>) -> Self {
        self.home = home;
        self
    }

    /// One variable of the environment.
    pub(crate) fn env(mut self, name: &'a str, value: &'a str) -> Self {
        self.variable = Some((name, value));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command
            .args(&self.args)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(home) = self.home {
            command.env("HOME", home);
        }
        if let Some((name, value)) = self.variable {
            command.env(name, value);
        }
        command
    }

    /// Runs the program to its end. Any exit status is an answer here.
    pub(crate) async fn run(self) -> Result<ToolOutput, CollectError> {
        let tool = self.program.to_owned();
        let not_run = |source: io::Error| match source.kind() == io::ErrorKind::NotFound {
            true => CollectError::ToolNotFound { tool: self.program.to_owned() },
            false => CollectError::ToolNotRun { tool: self.program.to_owned(), source },
        };
        let mut child = self.command().spawn().map_err(not_run)?;
        bound(child.id());
        let stdout = child.stdout.take().ok_or(CollectError::Stopped)?;
        let stderr = child.stderr.take().ok_or(CollectError::Stopped)?;
        let bytes_max = self.stdout_bytes_max;
        let (stdout, stderr) = tokio::try_join!(
            async {
                match read_whole(stdout, bytes_max).await {
                    Ok(Some(bytes)) => Ok(bytes),
                    Ok(None) => Err(CollectError::OutputTooLarge { tool: tool.clone(), bytes_max }),
                    Err(source) => Err(not_run(source)),
                }
            },
            async { read_beginning(stderr, STDERR_BYTES_MAX).await.map_err(not_run) },
        )?;
        let status = child.wait().await.map_err(not_run)?;
        Ok(ToolOutput { tool, status, stdout: text(&stdout), stderr: text(&stderr) })
    }
}

/// Bounds a program that has just begun. One that has ended already needs none.
fn bound(id: Option<u32>) {
    let id = id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let Some(id) = id else { return };
    let memory = Rlimit { current: Some(MEMORY_BYTES_MAX), maximum: Some(MEMORY_BYTES_MAX) };
    let bounded = prlimit(Some(id), Resource::Data, memory).map(drop);
    if let Err(error) = bounded.and_then(|()| setpriority_process(Some(id), NICENESS)) {
        tracing::debug!(%error, "a program could not be bounded");
    }
}

impl ToolOutput {
    /// The standard output of a program that succeeded.
    pub(crate) fn succeeded(self) -> Result<String, CollectError> {
        if self.status.success() { Ok(self.stdout) } else { Err(self.failed()) }
    }

    /// The error that says how the program failed.
    pub(crate) fn failed(self) -> CollectError {
        let stderr = self.stderr.trim().to_owned();
        CollectError::ToolFailed { tool: self.tool, status: self.status, stderr }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Everything, or `None` when it is more than `bytes_max`.
async fn read_whole(
    stream: impl AsyncRead + Unpin,
    bytes_max: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    stream.take(bytes_max as u64 + 1).read_to_end(&mut bytes).await?;
    Ok((bytes.len() <= bytes_max).then_some(bytes))
}

/// The first `bytes_max` bytes; the rest is read and dropped, so that the writer does not stall.
async fn read_beginning(
    mut stream: impl AsyncRead + Unpin,
    bytes_max: usize,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&mut stream).take(bytes_max as u64).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh<'a>(script: &'a str) -> Tool<'a> {
        Tool::new(Path::new("/bin/sh")).args(["-c", script])
    }

    #[tokio::test]
    async fn a_program_stands_back_and_cannot_take_all_memory() {
        // Bounded a moment after its start: it waits for that.
        let bounded = "until [ \"$(nice)\" -ge 5 ]; do :; done; ";
        let limit = format!("{bounded} ulimit -d");
        let shown = sh(&limit).run().await.unwrap().succeeded().unwrap();
        assert_eq!(shown.trim(), "1048576");
        let greedy = format!("{bounded} exec dd if=/dev/zero of=/dev/null bs=2G count=1");
        let error = sh(&greedy).run().await.unwrap().succeeded().unwrap_err().to_string();
        assert!(error.contains("memory exhausted"), "{error}");
    }

    #[tokio::test]
    async fn a_program_gets_a_bare_environment_and_no_input() {
        let env = Tool::new(Path::new("/usr/bin/env")).run().await.unwrap().succeeded().unwrap();
        let mut lines: Vec<_> = env.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        let output = sh("cat; echo $HOME").home(Some(Path::new("/h"))).run().await.unwrap();
        assert_eq!(output.stdout, "/h\n");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = Tool::new(Path::new("/no/such/tool")).run().await.unwrap_err();
        assert_eq!(error.to_string(), "/no/such/tool is not on this host");
    }

    #[tokio::test]
    async fn a_failure_carries_status_and_the_beginning_of_the_complaint() {
        let script = "echo broken >&2; head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 7";
        let CollectError::ToolFailed { status, stderr, .. } =
            sh(script).run().await.unwrap().succeeded().unwrap_err()
        else {
            panic!("another error")
        };
        assert_eq!(status.code(), Some(7));
        assert!(stderr.starts_with("broken\nxxx"), "{stderr}");
        assert_eq!(stderr.len(), STDERR_BYTES_MAX);
    }

    #[tokio::test]
    async fn output_without_end_is_cut_off() {
        let mut tool = sh("while :; do echo more; done");
        tool.stdout_bytes_max = 10_000;
        let error = tool.run().await.unwrap_err();
        assert!(
            matches!(error, CollectError::OutputTooLarge { bytes_max: 10_000, .. }),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_program_ends_with_the_run_that_started_it() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("alive");
        let status = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(status.success());
        let script = format!("exec >{}; echo up; exec sleep 600", fifo.display());
        let mut run = Box::pin(sh(&script).run());
        let mut up = [0; 3];
        let mut pipe = tokio::select! {
            ended = &mut run => panic!("the program ended by itself: {ended:?}"),
            pipe = async {
                let mut pipe = tokio::fs::File::open(&fifo).await.unwrap();
                pipe.read_exact(&mut up).await.unwrap();
                pipe
            } => pipe,
        };
        assert_eq!(&up, b"up\n");
        drop(run);
        let wide = std::time::Duration::from_secs(60);
        let rest = tokio::time::timeout(wide, pipe.read_to_end(&mut Vec::new())).await;
        assert_eq!(rest.expect("the program is still there").unwrap(), 0);
    }
}
