//! The process: reads its surroundings, runs one command, explains what went wrong.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use argosy_config::host::SystemClock;
use clap::{CommandFactory as _, Parser as _};

use crate::{
    args::{Args, Audit, Command, Online, Verify},
    client::Client,
    commands::{
        self, Context, audit,
        login::{self, Desk},
    },
    error::CliError,
    output::{Printer, clean},
    profile::{self, Profiles},
    target::{Environment, resolve},
    terminal::Terminal,
};

/// Runs the process. Exit codes: 0 done, 1 failed, 2 not possible as written, 3 a command that was
/// waited for did not succeed.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // `--help` and `--version` come this way too, to standard output and with code 0.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // Fails only if a provider is installed already, and then that one serves.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => Err(CliError::Local(format!("cannot start: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            explain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// The environment of the process, as far as it matters here.
fn environment() -> Environment {
    let text = |name| env::var(name).ok().filter(|value| !value.is_empty());
    Environment {
        server: text("ARGOSY_SERVER"),
        key: text("ARGOSY_KEY"),
        profile: text("ARGOSY_PROFILE"),
        pin: text("ARGOSY_PIN"),
    }
}

fn profile_file() -> Result<PathBuf, CliError> {
    let folder = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    profile::path(folder("XDG_CONFIG_HOME"), folder("HOME"))
}

/// Colour on a terminal, unless NO_COLOR (no-color.org) or a dumb terminal speaks against it.
fn wants_colour() -> bool {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

async fn run(args: Args) -> Result<(), CliError> {
    let Args { global, command } = args;
    let printer = Printer { format: global.output, colour: wants_colour(), clock: &SystemClock };
    let environment = environment();
    match command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "argosy", &mut script);
            io::stdout().write_all(&script).map_err(CliError::Output)
        }
        Command::Login(how) => {
            let file = profile_file()?;
            let pin = how.pin.clone().or(environment.pin);
            let environment = Environment { pin, ..environment };
            let desk = Desk { global: &global, environment: &environment, file: &file };
            login::login(&desk, &printer, &Terminal, &how).await
        }
        Command::Logout => {
            let file = profile_file()?;
            let desk = Desk { global: &global, environment: &environment, file: &file };
            login::logout(&desk, &printer).await
        }
        // A file is checked without any server, so without a login.
        Command::Online(Online::Audit(Audit::Verify(Verify {
            file: Some(file),
            pin,
            against,
        }))) => audit::verify_file(&printer, &file, &Verify { file: None, pin, against }),
        Command::Online(command) => {
            let file = profile_file()?;
            if profile::is_exposed(&file) {
                let file = file.display();
                printer.note(&format!(
                    "warning: others can read your keys: `chmod 600 {file}`, then replace them"
                ));
            }
            let target = resolve(&global, &environment, &Profiles::load(&file)?)?;
            let desk = Desk { global: &global, environment: &environment, file: &file };
            let client = Client::new(&target)?;
            let context = Context { client, target: &target, desk, printer, ask: &Terminal };
            commands::run(&context, command).await
        }
    }
}

fn explain(error: &CliError) {
    if error.exit_code() == 0 {
        return;
    }
    let mut text = format!("error: {}\n", clean(&error.to_string()));
    for hint in error.hints() {
        text.push_str(&format!("  {}\n", clean(&hint)));
    }
    // Nobody can be told if this fails.
    drop(io::stderr().write_all(text.as_bytes()));
}
