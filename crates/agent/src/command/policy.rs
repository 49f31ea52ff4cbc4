//! `argosy-agent policy check`: whether a policy is good, and what it allows.

use std::{path::Path, process::ExitCode};

use argosy_domain::{
    command::CommandKind,
    policy::{Policy, Updates},
};

use super::say;
use crate::{
    error::AgentError,
    policy_file::{LoadedPolicy, PolicyFile, Rules},
};

/// Checks `file`, or the policy in force.
pub(super) fn check(file: Option<&Path>, in_force: &Path) -> Result<ExitCode, AgentError> {
    let path = file.unwrap_or(in_force);
    if file.is_some() && !path.exists() {
        return Err(AgentError::Policy(format!("there is no file {}", path.display())));
    }
    say(&describe(path, &PolicyFile::at(path).load())?);
    Ok(ExitCode::SUCCESS)
}

fn describe(path: &Path, loaded: &LoadedPolicy) -> Result<String, AgentError> {
    let path = path.display();
    let (policy, origin) = match &loaded.rules {
        Rules::File(policy) => (policy, format!("{path} is good.")),
        Rules::Defaults(policy) => (policy, format!("There is no {path}: the defaults hold.")),
        Rules::Unusable(why) => {
            return Err(AgentError::Policy(format!("{path} cannot be used: {why}")));
        }
    };
    let mut text = format!("{origin}\n\n{}", allowed(policy));
    if matches!(loaded.rules, Rules::File(_)) {
        text = format!("{text}\nsha256      {}", loaded.sha256.hex());
    }
    if loaded.self_owned {
        text = format!(
            "{text}\n\nNote: this user can change the file itself. For a policy that binds the \
             agent too, let root own it and run the agent as another user."
        );
    }
    Ok(text)
}

fn allowed(policy: &Policy) -> String {
    let list = |names: &[String]| {
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let mut text = format!(
        "commands    {}\nsubsystems  {}",
        list(&policy.commands.allow),
        list(&policy.subsystems.allow)
    );
    let install = CommandKind::UpdatesInstall.as_str();
    if policy.commands.allow.iter().any(|kind| kind == install) {
        let Updates { allow, deny, security_only, new_packages, in_process } = &policy.updates;
        text.push_str(&format!("\npackages    {}, but {}", list(allow), list(deny)));
        let rules = [
            (*security_only, "only what closes a security hole"),
            (*new_packages, "with new packages that upgrades depend on"),
            (*in_process, "by the agent itself where it is root"),
        ];
        for (_, rule) in rules.into_iter().filter(|(holds, _)| *holds) {
            text.push_str(&format!("\n            {rule}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(text: &str) -> Result<String, String> {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("policy.toml");
        std::fs::write(&path, text).unwrap();
        describe(&path, &PolicyFile::at(&path).load()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_good_policy_says_what_it_allows() {
        let text = described("[commands]\nallow = []\n").unwrap();
        assert!(text.contains("commands    none"), "{text}");
        assert!(text.contains("subsystems  system, storage, updates, containers"), "{text}");
    }

    #[test]
    fn packages_are_told_of_where_they_may_be_installed() {
        assert!(!described("").unwrap().contains("packages"));
        let policy = "[commands]\nallow = [\"updates.install\"]\n[updates]\ndeny = [\"linux-*\"]\n\
                      security_only = true\n";
        let text = described(policy).unwrap();
        assert!(
            text.contains("packages    *, but linux-*\n            only what closes"),
            "{text}"
        );
    }

    #[test]
    fn a_bad_policy_says_where_it_is_bad() {
        let error = described("[comands]\n").unwrap_err();
        assert!(error.contains("comands"), "{error}");
    }

    #[test]
    fn a_missing_file_is_an_error_only_where_it_was_named() {
        let missing = Path::new("/nonexistent/policy.toml");
        assert!(check(Some(missing), missing).is_err());
        assert!(check(None, missing).is_ok());
    }
}
