//! `argosy login`, `argosy logout`, `argosy user passwd`.
//!
//! *Invariant:* a password is asked for or read from standard input, sent once, and kept nowhere.
//! What is kept of a login with one is its session, which ends by itself.

use std::path::Path;

use argosy_wire::rest::{
    keys::Me,
    users::{ChangePassword, LoggedIn, Login as Body},
};
use reqwest::Method;

use super::Context;
use crate::{
    args::{Global, Login, Passwd},
    client::{Client, is_plain},
    error::CliError,
    key::{Credential, Key, Session},
    output::{Printer, clean},
    profile::{Profile, Profiles},
    target::{
        DEFAULT_SERVER, Environment, Target, environment_key, environment_pin, flag_key,
        parse_server, profile_name, show_server,
    },
    terminal::{Ask, whole_line},
};

/// Where logins are kept, and what says which one is meant.
#[derive(Debug, Clone, Copy)]
pub struct Desk<'a> {
    /// Flags.
    pub global: &'a Global,
    /// Variables.
    pub environment: &'a Environment,
    /// The file of profiles.
    pub file: &'a Path,
}

impl Desk<'_> {
    /// The profile that is meant.
    fn name(&self) -> &str {
        profile_name(self.global, self.environment)
    }

    fn keep(&self, target: Target) -> Result<(), CliError> {
        let mut profiles = Profiles::load(self.file)?;
        let Target { server, credential, ca_file, pin } = target;
        let profile = Profile { server: show_server(&server), credential, ca_file, pin };
        profiles.profiles.insert(self.name().to_owned(), profile);
        profiles.save(self.file)
    }
}

/// What somebody logs in with.
enum Way {
    Key(Key),
    Password { user: String, password: String },
}

/// Logs in with a key or a password, and keeps the key or the session.
pub async fn login(
    desk: &Desk<'_>,
    printer: &Printer,
    ask: &dyn Ask,
    how: &Login,
) -> Result<(), CliError> {
    let profiles = Profiles::load(desk.file)?;
    let known = profiles.profiles.get(desk.name()).map(|profile| profile.server.as_str());
    let server = desk.global.server.as_deref().or(desk.environment.server.as_deref()).or(known);
    let server = parse_server(server.unwrap_or(DEFAULT_SERVER))?;
    if is_plain(&server) {
        printer.note("warning: what you log in with travels unencrypted to this server");
    }
    let ca_file = match &desk.global.ca_file {
        // Later commands run elsewhere.
        Some(path) => Some(path.canonicalize().map_err(|error| CliError::file(path, error))?),
        None => None,
    };
    let way = find_way(desk, ask, how, &show_server(&server))?;
    let pin = environment_pin(desk.environment)?;
    let mut target = Target { server, credential: Credential::Nothing, ca_file, pin };
    let (me, ends) = match way {
        Way::Key(key) => {
            target.credential = Credential::Key(key);
            (Client::new(&target)?.get::<Me>("/api/v1/auth/me", &[]).await?, String::new())
        }
        Way::Password { user, password } => {
            target.credential = before(&profiles, desk.name(), &target);
            let organisation = how.organisation.clone();
            let body = Body { name: user, password: password.clone(), organisation };
            let (begun, session) = Client::new(&target)?.begin("/api/v1/auth/login", &body).await?;
            target.credential = Credential::Session(session);
            let begun = settle(&mut target, begun, printer, ask, (how, &password)).await?;
            let ends = format!(
                "\nThe login ends at {}, earlier when it is not used, or with `argosy logout`.",
                clean(&begun.expires_at)
            );
            (begun.me, ends)
        }
    };
    let server = show_server(&target.server);
    desk.keep(target)?;
    let me = shown(me);
    printer.show(&me, |_| {
        format!(
            "Logged in to {server} as {} of organisation {}.\nKept as profile {:?} in {}.{ends}",
            clean(&me.actor),
            clean(&me.organisation),
            desk.name(),
            desk.file.display()
        )
    })
}

/// The session that a login takes the place of, if this server has one: showing it ends it.
fn before(profiles: &Profiles, name: &str, target: &Target) -> Credential {
    match profiles.profiles.get(name) {
        Some(Profile { server, credential: Credential::Session(session), .. })
            if *server == show_server(&target.server) =>
        {
            Credential::Session(session.clone())
        }
        Some(_) | None => Credential::Nothing,
    }
}

/// Who has logged in, without the secret that goes with it.
fn shown(mut me: Me) -> Me {
    if let Some(user) = &mut me.user {
        user.csrf_token.clear();
    }
    me
}

/// Has whoever owes a new password choose one, where there is somebody to ask.
async fn settle(
    target: &mut Target,
    begun: LoggedIn,
    printer: &Printer,
    ask: &dyn Ask,
    (how, password): (&Login, &str),
) -> Result<LoggedIn, CliError> {
    if !begun.me.user.as_ref().is_some_and(|user| user.must_change_password) {
        return Ok(begun);
    }
    if how.password_stdin {
        printer.note(
            "note: a new password is due, and nothing else is possible until then: `argosy user \
             passwd`",
        );
        return Ok(begun);
    }
    printer.note("Somebody else knows this password; choose another one.");
    let new = choose(ask)?;
    change(target, password.to_owned(), new).await
}

/// Replaces the password, and takes the session that begins with it.
async fn change(
    target: &mut Target,
    current_password: String,
    new_password: String,
) -> Result<LoggedIn, CliError> {
    let body = ChangePassword { current_password, new_password };
    let (begun, session) = Client::new(target)?.begin("/api/v1/auth/password", &body).await?;
    target.credential = Credential::Session(session);
    Ok(begun)
}

/// Asks for a new password, twice.
fn choose(ask: &dyn Ask) -> Result<String, CliError> {
    let new = ask.secret("New password").map_err(CliError::Output)?;
    let again = ask.secret("Once more").map_err(CliError::Output)?;
    if new == again { Ok(new) } else { Err(CliError::usage("they differ", "try again")) }
}

/// A line of standard input that has something in it.
fn piped() -> Result<String, CliError> {
    let line = whole_line().map_err(CliError::Output)?;
    if line.is_empty() {
        let hint = "write each password on a line of its own";
        return Err(CliError::usage("standard input holds no password", hint));
    }
    Ok(line)
}

fn must_answer(ask: &dyn Ask) -> Result<(), CliError> {
    if ask.present() {
        return Ok(());
    }
    let hint = "give it on standard input, with --password-stdin";
    Err(CliError::usage("there is nobody to ask for a password", hint))
}

fn find_way(desk: &Desk<'_>, ask: &dyn Ask, how: &Login, server: &str) -> Result<Way, CliError> {
    if let Some(user) = &how.user {
        if desk.global.key.is_some() || desk.global.key_file.is_some() {
            let hint = "log in with one or the other";
            return Err(CliError::usage("--user and a key contradict each other", hint));
        }
        return with_password(ask, user.clone(), how.password_stdin, server);
    }
    if let Some(key) = flag_key(desk.global)? {
        return Ok(Way::Key(key));
    }
    if let Some(key) = environment_key(desk.environment)? {
        return Ok(Way::Key(key));
    }
    if !ask.present() {
        return Err(CliError::usage(
            "there is nothing to log in with, and nobody to ask",
            "give --key-file PATH, ARGOSY_KEY, or --user NAME with --password-stdin; a fresh server \
             keeps its first key in admin.key of its data directory (argosy-data)",
        ));
    }
    let question = format!("User name at {server}, or nothing for an API key");
    let user = ask.line(&question).map_err(CliError::Output)?;
    if !user.is_empty() {
        return with_password(ask, user, false, server);
    }
    let answer = ask.secret(&format!("API key for {server}")).map_err(CliError::Output)?;
    let key = Key::parse(&answer);
    key.map(Way::Key).map_err(|error| CliError::usage(error.to_string(), "try again"))
}

fn with_password(
    ask: &dyn Ask,
    user: String,
    from_stdin: bool,
    server: &str,
) -> Result<Way, CliError> {
    let password = if from_stdin {
        piped()?
    } else {
        must_answer(ask)?;
        ask.secret(&format!("Password of {user} at {server}")).map_err(CliError::Output)?
    };
    Ok(Way::Password { user, password })
}

/// Ends a stored session, or forgets a stored key. A key itself stays good: `argosy key revoke`
/// ends it.
pub async fn logout(desk: &Desk<'_>, printer: &Printer) -> Result<(), CliError> {
    let name = desk.name();
    let mut profiles = Profiles::load(desk.file)?;
    let Some(profile) = profiles.profiles.remove(name) else {
        let message = format!("there is no profile {name:?}");
        let hint = format!("they are kept in {}", desk.file.display());
        return Err(CliError::usage(message, hint));
    };
    let server = profile.server.clone();
    let after = match &profile.credential {
        Credential::Session(session) => end(&profile, session).await,
        Credential::Key(_) | Credential::Nothing => {
            "Its key is still good on the server.".to_owned()
        }
    };
    profiles.save(desk.file)?;
    printer.show(&serde_json::json!({"profile": name, "server": server}), |_| {
        format!("Forgot profile {name:?} ({}). {after}", clean(&server))
    })
}

/// Ends a session at its server, and says what became of it. One that is over already is over.
async fn end(profile: &Profile, session: &Session) -> String {
    let ended = async {
        let server = parse_server(&profile.server)?;
        let Profile { credential, ca_file, pin, .. } = profile.clone();
        let client = Client::new(&Target { server, credential, ca_file, pin })?;
        client.tell::<()>(Method::POST, "/api/v1/auth/logout", None).await
    };
    match ended.await {
        Ok(()) => "You are logged out.".to_owned(),
        Err(error) if error.is_unauthenticated() => "The login was over already.".to_owned(),
        Err(error) => format!(
            "The server was not told ({}): the login ends by itself at {}.",
            clean(&error.to_string()),
            clean(&session.expires_at)
        ),
    }
}

/// `argosy user passwd`
pub async fn passwd(context: &Context<'_>, how: Passwd) -> Result<(), CliError> {
    if !matches!(context.target.credential, Credential::Session(_)) {
        let hint = "log in with `argosy login --user NAME` first; for others there is `argosy user \
                    reset-password`";
        return Err(CliError::usage("a key has no password", hint));
    }
    let (current, new) = if how.password_stdin {
        (piped()?, piped()?)
    } else {
        must_answer(context.ask)?;
        let current = context.ask.secret("Present password").map_err(CliError::Output)?;
        (current, choose(context.ask)?)
    };
    let mut target = context.target.clone();
    let begun = change(&mut target, current, new).await?;
    context.desk.keep(target)?;
    context.printer.show(&shown(begun.me), |_| {
        "Your password is changed, and every other login of yours has ended.".to_owned()
    })
}
