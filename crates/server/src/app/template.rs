//! A configuration for `argosy-agent`, filled in with what this server knows of itself.
//!
//! *Invariant:* it holds no secret: the token is a placeholder.

use argosy_domain::{
    access::{Caller, Permission},
    id::AccountId,
};

use super::{
    App,
    error::{AppError, AppResult},
};

/// Stands where the token belongs; the agent refuses it by name.
pub const TOKEN_PLACEHOLDER: &str = "boot_REPLACE_THIS_WITH_A_TOKEN";

/// The language of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML.
    Yaml,
    /// TOML.
    Toml,
}

impl Format {
    /// The format of that name; YAML where none is named.
    pub fn parse(text: Option<&str>) -> AppResult<Self> {
        match text {
            None | Some("yaml") => Ok(Self::Yaml),
            Some("toml") => Ok(Self::Toml),
            Some(_) => Err(AppError::field("format", "must be yaml or toml")),
        }
    }

    /// Where the agent looks for it, or is told to look.
    fn file(self) -> &'static str {
        match self {
            Self::Yaml => "/etc/argosy-agent/agent.yaml",
            Self::Toml => "/etc/argosy-agent/agent.toml (run the agent with --config)",
        }
    }

    /// One setting. A text in double quotes with JSON's escapes means the same in both languages.
    fn line(self, key: &str, value: &serde_json::Value) -> String {
        match self {
            Self::Yaml => format!("{key}: {value}"),
            Self::Toml => format!("{key} = {value}"),
        }
    }

    /// Small pairs of the host's owner, to be uncommented.
    fn labels(self) -> &'static str {
        match self {
            Self::Yaml => "# labels:\n#   site: lab\n",
            Self::Toml => "# [labels]\n# site = \"lab\"\n",
        }
    }
}

impl App {
    /// A commented configuration for agents of an account.
    pub async fn config_template(
        &self,
        caller: &Caller,
        account: Option<i64>,
        format: Format,
    ) -> AppResult<String> {
        let org = Self::own_org(caller, Permission::AgentsRead)?;
        let account = account.map_or(AccountId::DEFAULT, AccountId);
        let mut reader = self.store().read("agents.template").await?;
        let known = reader.accounts().get(org, account).await?;
        let known = known
            .ok_or_else(|| AppError::field("account_id", "is no account of this organisation"))?;
        drop(reader);
        let url = self.rules().public_urls.first().cloned().unwrap_or_default();
        let pin = self.keyring().thumbprint().to_string();
        let mut text = format!(
            "# Configuration of argosy-agent for account {account} ({name}).\n# Save it as {file},\n# \
             readable by the agent's user only: it holds a secret until the machine is enrolled.\n\n",
            account = known.id.0,
            name = known.name.replace(char::is_control, " "),
            file = format.file(),
        );
        let mut add = |comment: &str, active: bool, key: &str, value: serde_json::Value| {
            let mark = if active { "" } else { "# " };
            text.push_str(&format!("# {comment}\n{mark}{}\n\n", format.line(key, &value)));
        };
        add("Where the server is.", true, "server_url", url.into());
        add(
            "Thumbprint of the server's identity key: the agent believes no other.",
            true,
            "server_pin",
            pin.into(),
        );
        add(
            "An enrolment token: argosy token create NAME. Used once; remove it afterwards.",
            true,
            "bootstrap_token",
            TOKEN_PLACEHOLDER.into(),
        );
        add("The account to join.", true, "account_id", known.id.0.into());
        add(
            "The name to register under. Without it: the host's name.",
            false,
            "agent_name",
            "web-1".into(),
        );
        add(
            "operator: whoever approves is shown the key, and brings it to `argosy-agent refresh`.",
            false,
            "key_delivery",
            "operator".into(),
        );
        add("Time between heartbeats: 5s to 4m.", false, "heartbeat_interval", "1m".into());
        add(
            "What the fleet may do on this host; owned by root, not by the agent's user.",
            false,
            "policy_file",
            "/etc/argosy-agent/policy.toml".into(),
        );
        text.push_str("# Small key/value pairs of the host's owner.\n");
        text.push_str(format.labels());
        Ok(text)
    }
}
