//! Configuration: file, then environment `ARGOSY_*`, then flags; later ones win.
//!
//! Unknown keys in a file are errors, because a setting that is misspelt must not silently do
//! nothing. Unknown `ARGOSY_*` variables are reported to the caller, because an environment is
//! shared with programs of other versions.

use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat};
use serde::de::DeserializeOwned;

/// Prefix of every environment variable.
const PREFIX: &str = "ARGOSY";

/// Variables that the command lines read by themselves: where the file is, and `argosy`'s own.
const OF_COMMAND_LINES: &[&str] = &["config", "server", "key", "profile"];

/// A group of settings that can be loaded. Deserialisation must deny unknown fields.
pub trait Settings: DeserializeOwned {
    /// Every key, as it stands in a file; the variable is `ARGOSY_` and the key in upper case.
    const KEYS: &'static [&'static str];
    /// Keys whose variable is a list, separated by commas.
    const LISTS: &'static [&'static str];
}

/// Settings that could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file's name ends in something else.
    #[error("{0}: a configuration file ends in .toml, .yaml or .yml")]
    Format(PathBuf),
    /// A value, a key or the syntax is wrong; the text says which and where.
    #[error("{0}")]
    Invalid(String),
}

/// Settings, and what was noticed while they were read.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The settings.
    pub settings: T,
    /// `ARGOSY_*` variables that no program of this version reads.
    pub unknown_variables: Vec<String>,
}

/// Loads settings from `file`, then from `environment`, then from `flags` (key, value).
/// `elsewhere` are keys of the other programs: their variables are neither used nor unknown.
pub fn load<T: Settings>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[(&str, String)],
    elsewhere: &[&str],
) -> Result<Loaded<T>, LoadError> {
    let mut unknown_variables = Vec::new();
    let mut known = config::Map::new();
    for (name, value) in environment {
        let Some(key) = name.strip_prefix("ARGOSY_").map(str::to_ascii_lowercase) else {
            continue;
        };
        let top = key.split("__").next().unwrap_or_default();
        if T::KEYS.contains(&top) {
            known.insert(name, value);
        } else {
            let known_elsewhere = elsewhere.contains(&top) || OF_COMMAND_LINES.contains(&top);
            if !known_elsewhere && !name.starts_with("ARGOSY_TEST_") {
                unknown_variables.push(name);
            }
        }
    }
    let mut builder = Config::builder();
    if let Some(path) = file {
        builder = builder.add_source(File::from(path).format(format_of(path)?).required(true));
    }
    let mut variables = Environment::with_prefix(PREFIX)
        .prefix_separator("_")
        .separator("__")
        .try_parsing(true)
        .source(Some(known));
    // Without a key that is a list, a separator would make a list of every value.
    if !T::LISTS.is_empty() {
        variables = variables.list_separator(",");
    }
    for list in T::LISTS {
        variables = variables.with_list_parse_key(list);
    }
    builder = builder.add_source(variables);
    let invalid = |error: config::ConfigError| LoadError::Invalid(error.to_string());
    for (key, value) in flags {
        builder = if T::LISTS.contains(key) {
            let items: Vec<&str> = value.split(',').collect();
            builder.set_override(*key, items)
        } else {
            builder.set_override(*key, value.as_str())
        }
        .map_err(invalid)?;
    }
    let settings = builder.build().and_then(Config::try_deserialize).map_err(invalid)?;
    Ok(Loaded { settings, unknown_variables })
}

fn format_of(path: &Path) -> Result<FileFormat, LoadError> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Ok(FileFormat::Toml),
        Some("yaml" | "yml") => Ok(FileFormat::Yaml),
        Some(_) | None => Err(LoadError::Format(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::fs;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        listen: String,
        urls: Vec<String>,
        minutes: u32,
    }

    impl Default for Sample {
        fn default() -> Self {
            Self { listen: "a:1".into(), urls: Vec::new(), minutes: 5 }
        }
    }

    impl Settings for Sample {
        const KEYS: &'static [&'static str] = &["listen", "urls", "minutes"];
        const LISTS: &'static [&'static str] = &["urls"];
    }

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn flags_win_over_environment_and_environment_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        fs::write(&file, "listen = \"file:1\"\nminutes = 7\nurls = [\"x\"]").unwrap();
        let environment = variables(&[
            ("ARGOSY_LISTEN", "env:1"),
            ("ARGOSY_URLS", "http://a,http://b"),
            ("ARGOSY_TYPO", "1"),
            ("ARGOSY_OTHER", "1"),
            ("PATH", "/bin"),
        ]);
        let flags = [("listen", "flag:1".to_owned())];
        let loaded = load::<Sample>(Some(&file), environment, &flags, &["other"]).unwrap();
        assert_eq!(loaded.unknown_variables, ["ARGOSY_TYPO"]);
        assert_eq!(
            loaded.settings,
            Sample {
                listen: "flag:1".into(),
                urls: vec!["http://a".into(), "http://b".into()],
                minutes: 7
            }
        );
    }

    #[test]
    fn yaml_reads_like_toml_and_unknown_keys_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "minutes: 9\n").unwrap();
        let loaded = load::<Sample>(Some(&file), [], &[], &[]).unwrap();
        assert_eq!(loaded.settings.minutes, 9);
        fs::write(&file, "minuets: 9\n").unwrap();
        let error = load::<Sample>(Some(&file), [], &[], &[]).unwrap_err();
        assert!(error.to_string().contains("minuets"), "{error}");
    }
}
