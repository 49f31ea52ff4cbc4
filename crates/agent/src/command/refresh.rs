//! `argosy-agent refresh`: brings the API key that an operator was shown at approval.
//!
//! *Invariant:* the key is never an argument, and is kept only after a handshake has proved it.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _},
    process::ExitCode,
};

use argosy_wire::token::{ApiKeyOf, ApiKeyString};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::say;
use crate::{
    cli::RefreshArgs,
    config::{AgentConfig, AgentSettings, InvalidSetting},
    credentials::{Credentials, Registered, SecretText},
    deps::Deps,
    enrol::EnrolError,
    error::AgentError,
    hand_over::{failure, prove},
    host,
    run::Home,
};

/// Bytes of a key file at most.
const KEY_BYTES_MAX: u64 = 4_096;

/// Tries the key, and keeps it once the server has taken it.
pub(super) async fn refresh(
    settings: AgentSettings,
    deps: Deps,
    arguments: &RefreshArgs,
) -> Result<ExitCode, AgentError> {
    let config = settings.check()?;
    let home = Home::open(&config, &deps)?;
    let state = Credentials::load(&home.dir)?;
    if matches!(state, Credentials::NotEnrolled | Credentials::Enrolling(_)) {
        return Err(EnrolError::NotRegistered.into());
    }
    let key = checked(&key(arguments, &config)?)?;
    let proved = prove(&config, &home, &deps, state, key).await?;
    let Registered { name, agent_id, .. } = proved.map_err(failure)?;
    let run = host::invocation(&config.state_dir, "run");
    say(&format!(
        "The server took the key: {name} ({agent_id}) is enrolled. Start the agent: {run}"
    ));
    Ok(ExitCode::SUCCESS)
}

/// Where the key is: in a file, in the settings, at the terminal, or on standard input.
fn key(arguments: &RefreshArgs, config: &AgentConfig) -> Result<Zeroizing<String>, AgentError> {
    let unreadable = |source| AgentError::Host { action: "the key could not be read", source };
    if let Some(path) = &arguments.key_file {
        let mut text = Zeroizing::new(String::new());
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(KEY_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
        return Ok(text);
    }
    if let Some(key) = &config.api_key {
        return Ok(Zeroizing::new(key.expose().to_owned()));
    }
    if io::stdin().is_terminal() { asked() } else { line() }.map_err(unreadable)
}

/// Asks the person at the terminal, without echo.
fn asked() -> io::Result<Zeroizing<String>> {
    write!(io::stderr(), "API key of this machine, as the approval showed it: ")?;
    let before = tcgetattr(io::stdin())?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
    let answer = line();
    tcsetattr(io::stdin(), OptionalActions::Flush, &before)?;
    answer
}

fn line() -> io::Result<Zeroizing<String>> {
    let mut answer = Zeroizing::new(String::new());
    io::stdin().lock().take(KEY_BYTES_MAX).read_line(&mut answer)?;
    Ok(answer)
}

fn checked(text: &str) -> Result<SecretText, AgentError> {
    let text = text.trim();
    match ApiKeyString::parse(text) {
        Ok(key) if key.of == ApiKeyOf::Agent => Ok(SecretText::new(text.to_owned())),
        Ok(_) | Err(_) => Err(InvalidSetting::ApiKey.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_of_an_agent_is_named_before_anybody_is_asked() {
        for text in ["", "boot_x", "argosy_a_b", "agent_half"] {
            let error = checked(text).unwrap_err();
            assert!(matches!(error, AgentError::Setting(InvalidSetting::ApiKey)), "{text}");
        }
    }
}
