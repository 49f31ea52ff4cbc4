//! Which server to talk to, and as whom.
//!
//! *Invariant:* a stored key or login goes to the server that it was stored for and to no other,
//! whatever `--server` or `ARGOSY_SERVER` say.

use std::{fs, path::PathBuf};

use argosy_wire::bytes::Bytes32;
use reqwest::Url;

use crate::{
    args::Global,
    error::CliError,
    key::{Credential, Key, Typed},
    profile::{DEFAULT_PROFILE, Profile, Profiles},
};

/// The server of a machine that runs Argosy for itself.
pub const DEFAULT_SERVER: &str = "http://localhost:8080";

/// What the environment says.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `ARGOSY_SERVER`
    pub server: Option<String>,
    /// `ARGOSY_KEY`
    pub key: Option<String>,
    /// `ARGOSY_PROFILE`
    pub profile: Option<String>,
    /// `ARGOSY_PIN`
    pub pin: Option<String>,
}

/// A server and what it is shown.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its URL.
    pub server: Url,
    /// Who asks.
    pub credential: Credential,
    /// Extra certificate authority.
    pub ca_file: Option<PathBuf>,
    /// Thumbprint of the identity key that alone may vouch for the certificate.
    pub pin: Option<Bytes32>,
}

/// Reads a server's URL as people write it: without a scheme, this machine is reached by http and
/// every other by https.
pub fn parse_server(text: &str) -> Result<Url, CliError> {
    let bad = |message: &str| CliError::usage(message, format!("such as {DEFAULT_SERVER}"));
    let text = text.trim();
    let url = if text.contains("://") {
        text.to_owned()
    } else if text.starts_with("localhost") || text.starts_with("127.") || text.starts_with("[::1]")
    {
        format!("http://{text}")
    } else {
        format!("https://{text}")
    };
    let mut url = Url::parse(&url).map_err(|_| bad("the server's URL cannot be read"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("the server's URL must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("the server's URL must hold no user name and no password"));
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// A URL as people read it, without the last slash.
pub fn show_server(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// The name of the profile in use.
pub fn profile_name<'a>(global: &'a Global, environment: &'a Environment) -> &'a str {
    let named = global.profile.as_deref().or(environment.profile.as_deref());
    named.unwrap_or(DEFAULT_PROFILE)
}

/// The key that flags name, if they name one.
pub fn flag_key(global: &Global) -> Result<Option<Key>, CliError> {
    let Some(path) = &global.key_file else {
        let typed = global.key.as_ref().map(Typed::parse).transpose();
        let hint = "an operator's key begins with argosy_";
        return typed.map_err(|error| CliError::usage(format!("--key: {error}"), hint));
    };
    let text = fs::read_to_string(path).map_err(|error| CliError::file(path, error))?;
    Key::parse(&text).map(Some).map_err(|error| CliError::file(path, error))
}

/// The key that the environment names, if it names one.
pub fn environment_key(environment: &Environment) -> Result<Option<Key>, CliError> {
    environment
        .key
        .as_deref()
        .map(Key::parse)
        .transpose()
        .map_err(|error| CliError::usage(format!("ARGOSY_KEY: {error}"), "unset or correct it"))
}

/// Flags win over a profile that is named by a flag, that over the environment, and that over the
/// profile that is used anyway.
pub fn resolve(
    global: &Global,
    environment: &Environment,
    profiles: &Profiles,
) -> Result<Target, CliError> {
    let name = profile_name(global, environment);
    let profile = profiles.profiles.get(name);
    if profile.is_none() && name != DEFAULT_PROFILE {
        let hint = format!("make it with `argosy login --profile {name} --server URL`");
        return Err(CliError::usage(format!("there is no profile {name:?}"), hint));
    }
    let asked = profile.filter(|_| global.profile.is_some());
    let server = global
        .server
        .as_deref()
        .or(asked.map(|profile| profile.server.as_str()))
        .or(environment.server.as_deref())
        .or(profile.map(|profile| profile.server.as_str()));
    let url = parse_server(server.unwrap_or(DEFAULT_SERVER))?;
    let stored = |profile: &Profile| {
        let same = parse_server(&profile.server).is_ok_and(|stored| stored == url);
        same.then(|| profile.credential.clone())
    };
    let flag = flag_key(global)?.map(Credential::Key);
    let credential = match flag.or_else(|| asked.and_then(stored)) {
        Some(credential) => Some(credential),
        None => {
            let key = environment_key(environment)?.map(Credential::Key);
            key.or_else(|| profile.and_then(stored))
        }
    };
    let Some(credential) = credential else {
        return Err(CliError::NotLoggedIn { server: server.map(|_| show_server(&url)) });
    };
    let ca_file = global.ca_file.clone().or_else(|| profile.and_then(|p| p.ca_file.clone()));
    // A stored pin is the stored server's.
    let of_this_server =
        |profile: &&Profile| parse_server(&profile.server).is_ok_and(|stored| stored == url);
    let pin = match environment_pin(environment)? {
        Some(pin) => Some(pin),
        None => profile.filter(of_this_server).and_then(|profile| profile.pin),
    };
    Ok(Target { server: url, credential, ca_file, pin })
}

/// The pin that flag or environment name, if they name one.
pub fn environment_pin(environment: &Environment) -> Result<Option<Bytes32>, CliError> {
    let pin = environment.pin.as_deref().map(str::parse).transpose();
    pin.map_err(|_| CliError::usage("the pin is none", "`argosyd keys show` prints it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles() -> Profiles {
        let profile = |server: &str, key: &str| Profile {
            server: server.into(),
            credential: Credential::Key(Key::parse(key).unwrap()),
            ca_file: None,
            pin: None,
        };
        Profiles {
            profiles: [
                ("default".to_owned(), profile("http://localhost:8080", "argosy_home")),
                ("prod".to_owned(), profile("https://prod.example", "argosy_prod")),
            ]
            .into(),
        }
    }

    fn env(server: Option<&str>, key: Option<&str>) -> Environment {
        Environment {
            server: server.map(Into::into),
            key: key.map(Into::into),
            ..Environment::default()
        }
    }

    fn found(global: &Global, environment: &Environment) -> (String, String) {
        let target = resolve(global, environment, &profiles()).unwrap();
        let Credential::Key(key) = &target.credential else { panic!("{target:?}") };
        (show_server(&target.server), key.expose().to_owned())
    }

    fn pair(server: &str, key: &str) -> (String, String) {
        (server.to_owned(), key.to_owned())
    }

    #[test]
    fn the_default_profile_is_used_when_nothing_is_said() {
        let got = found(&Global::default(), &Environment::default());
        assert_eq!(got, pair("http://localhost:8080", "argosy_home"));
    }

    #[test]
    fn a_profile_named_on_the_command_line_wins_over_the_environment() {
        let global = Global { profile: Some("prod".into()), ..Global::default() };
        let got = found(&global, &env(Some("http://other:1"), Some("argosy_env")));
        assert_eq!(got, pair("https://prod.example", "argosy_prod"));
        let got = found(&Global::default(), &env(Some("http://other:1"), Some("argosy_env")));
        assert_eq!(got, pair("http://other:1", "argosy_env"));
    }

    #[test]
    fn a_stored_key_is_never_sent_to_another_server() {
        let global = Global { server: Some("http://evil.example".into()), ..Global::default() };
        let error = resolve(&global, &Environment::default(), &profiles()).unwrap_err();
        assert_eq!(error.to_string(), "not logged in to http://evil.example");
        assert!(
            resolve(&Global::default(), &env(Some("evil.example"), None), &profiles()).is_err()
        );
        let same = Global { server: Some("localhost:8080/".into()), ..Global::default() };
        assert_eq!(found(&same, &Environment::default()).1, "argosy_home");
    }

    #[test]
    fn a_stored_pin_is_for_its_server_and_a_given_one_wins() {
        let (stored, given) = (Bytes32::from_slice(&[1; 32]), Bytes32::from_slice(&[2; 32]));
        let mut profiles = profiles();
        for profile in profiles.profiles.values_mut() {
            profile.pin = stored.clone().ok();
        }
        let pin = |server: Option<&str>, pin: Option<String>| {
            let global = Global { server: server.map(Into::into), ..Global::default() };
            let environment = Environment { pin, ..env(None, Some("argosy_env")) };
            resolve(&global, &environment, &profiles).map(|target| target.pin)
        };
        assert_eq!(pin(None, None).unwrap(), stored.clone().ok());
        assert_eq!(pin(Some("http://other:1"), None).unwrap(), None);
        let text = given.clone().unwrap().to_string();
        assert_eq!(pin(None, Some(text)).unwrap(), given.ok());
        assert!(pin(None, Some("x".into())).is_err());
    }

    #[test]
    fn an_unknown_profile_says_how_to_make_it() {
        let global = Global { profile: Some("lab".into()), ..Global::default() };
        let error = resolve(&global, &Environment::default(), &profiles()).unwrap_err();
        assert!(error.hints()[0].contains("argosy login --profile lab"));
    }

    #[test]
    fn urls_are_read_as_people_write_them() {
        let read = |text: &str| parse_server(text).map(|url| show_server(&url)).ok();
        assert_eq!(read("localhost:8080/").as_deref(), Some("http://localhost:8080"));
        assert_eq!(read("argosy.example").as_deref(), Some("https://argosy.example"));
        assert_eq!(read("https://a.example/argosy/").as_deref(), Some("https://a.example/argosy"));
        for bad in ["ftp://a", "https://user:pw@a.example", "", "https://"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
