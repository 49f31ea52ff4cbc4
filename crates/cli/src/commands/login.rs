//! `argosy login`, `argosy logout`.

use std::path::Path;

use argosy_wire::rest::keys::Me;

use crate::{
    args::Global,
    client::{Client, is_plain},
    error::CliError,
    key::Key,
    output::{Printer, clean},
    profile::{Profile, Profiles},
    target::{
        DEFAULT_SERVER, Environment, Target, environment_key, flag_key, parse_server, profile_name,
        show_server,
    },
    terminal::Ask,
};

/// Checks a key against its server and keeps both.
pub async fn login(
    global: &Global,
    environment: &Environment,
    file: &Path,
    printer: &Printer,
    ask: &dyn Ask,
) -> Result<(), CliError> {
    let name = profile_name(global, environment);
    let mut profiles = Profiles::load(file)?;
    let known = profiles.profiles.get(name).map(|profile| profile.server.as_str());
    let server = global.server.as_deref().or(environment.server.as_deref()).or(known);
    let server = parse_server(server.unwrap_or(DEFAULT_SERVER))?;
    if is_plain(&server) {
        printer.note("warning: the key travels unencrypted to this server; prefer https");
    }
    let key = find_key(global, environment, ask, &show_server(&server))?;
    let ca_file = match &global.ca_file {
        // Later commands run elsewhere.
        Some(path) => Some(path.canonicalize().map_err(|error| CliError::file(path, error))?),
        None => None,
    };
    let target = Target { server, key, ca_file };
    let me: Me = Client::new(&target)?.get("/api/v1/auth/me", &[]).await?;
    let Target { server, key, ca_file } = target;
    let server = show_server(&server);
    let profile = Profile { server: server.clone(), key, ca_file };
    profiles.profiles.insert(name.to_owned(), profile);
    profiles.save(file)?;
    printer.show(&me, |_| {
        format!(
            "Logged in to {server} as {} of organisation {}.\nKept as profile {name:?} in {}.",
            clean(&me.actor),
            clean(&me.organisation),
            file.display()
        )
    })
}

fn find_key(
    global: &Global,
    environment: &Environment,
    ask: &dyn Ask,
    server: &str,
) -> Result<Key, CliError> {
    if let Some(key) = flag_key(global)? {
        return Ok(key);
    }
    if let Some(key) = environment_key(environment)? {
        return Ok(key);
    }
    if !ask.present() {
        return Err(CliError::usage(
            "there is no key, and nobody to ask for one",
            "give --key-file PATH or ARGOSY_KEY; a fresh server keeps its first key in \
             admin.key of its data directory (argosy-data)",
        ));
    }
    let answer = ask.secret(&format!("API key for {server}")).map_err(CliError::Output)?;
    Key::parse(&answer).map_err(|error| CliError::usage(error.to_string(), "try again"))
}

/// Forgets a stored key. The key itself stays good: `argosy key revoke` ends it.
pub fn logout(
    global: &Global,
    environment: &Environment,
    file: &Path,
    printer: &Printer,
) -> Result<(), CliError> {
    let name = profile_name(global, environment);
    let mut profiles = Profiles::load(file)?;
    let Some(profile) = profiles.profiles.remove(name) else {
        let message = format!("there is no profile {name:?}");
        return Err(CliError::usage(message, format!("they are kept in {}", file.display())));
    };
    profiles.save(file)?;
    let server = profile.server;
    printer.show(&serde_json::json!({"profile": name, "server": server}), |_| {
        format!(
            "Forgot profile {name:?} ({}). Its key is still good on the server.",
            clean(&server)
        )
    })
}
