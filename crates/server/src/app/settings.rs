//! The installation's settings: changed over the API, in force at once here and within
//! [`REREAD_EVERY`] on every other replica.
//!
//! *Invariant:* the snapshot holds what is committed, and a value that this version cannot read
//! leaves the one before it in force.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use argosy_domain::{
    access::{Caller, Permission, Target},
    audit::AuditAction,
    id::OrgId,
    settings::{Setting, Settings},
};
use argosy_store::Store;
use argosy_wire::{
    problem::{Code, FieldProblem},
    rest::settings::UpdateSettings,
};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
};

/// How soon a change that was made elsewhere is in force.
pub const REREAD_EVERY: Duration = Duration::from_millis(500);
/// What the names of settings begin with where they are stored: the table also holds what the
/// server itself remembers.
const STORED_PREFIX: &str = "setting.";

/// The settings in force, replaced whole.
#[derive(Default)]
pub struct SharedSettings {
    current: RwLock<Arc<Settings>>,
}

impl SharedSettings {
    fn get(&self) -> Arc<Settings> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// True where something changed.
    fn set(&self, settings: Settings) -> bool {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let changed = **current != settings;
        if changed {
            *current = Arc::new(settings);
        }
        changed
    }
}

/// The settings that the store holds, over `before` where one cannot be read.
async fn stored(store: &Store, before: &Settings) -> AppResult<Settings> {
    let rows = store.read("settings.read").await?.settings().all().await?;
    let mut settings = Settings::default();
    for (name, text) in rows {
        let Some(setting) = name.strip_prefix(STORED_PREFIX).and_then(Setting::parse) else {
            continue;
        };
        if let Err(error) = settings.set(setting, &text) {
            tracing::error!(%name, %error, "a stored setting cannot be read");
            settings.set(setting, &before.text(setting)).map_err(AppError::internal)?;
        }
    }
    Ok(settings)
}

/// What a request asks to change, as texts.
fn wanted(request: UpdateSettings) -> Vec<(Setting, String)> {
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    [
        (Setting::MinimumAgentVersion, request.minimum_agent_version),
        (Setting::AllowApiKeyAgents, request.allow_api_key_agents.map(|value| value.to_string())),
        (Setting::UserSessionIdleS, number(request.user_session_idle_s)),
        (Setting::UserSessionMaxS, number(request.user_session_max_s)),
        (Setting::LoginFailuresPerMinute, number(request.login_failures_per_minute)),
        (Setting::RequestsPerMinute, number(request.requests_per_minute)),
    ]
    .into_iter()
    .filter_map(|(setting, value)| Some((setting, value?)))
    .collect()
}

/// `before` with what is wanted, or every field that is not acceptable.
fn changed(before: &Settings, wanted: &[(Setting, String)]) -> AppResult<Settings> {
    let mut settings = before.clone();
    let mut fields = Vec::new();
    for (setting, text) in wanted {
        if let Err(error) = settings.set(*setting, text) {
            fields
                .push(FieldProblem { field: setting.as_str().into(), message: error.to_string() });
        }
    }
    let Some(first) = fields.first() else { return Ok(settings) };
    let detail = format!("{} {}", first.field, first.message);
    Err(AppError { fields, ..AppError::because(Code::Invalid, detail) })
}

impl App {
    /// The settings in force now.
    pub fn settings(&self) -> Arc<Settings> {
        self.shared_settings().get()
    }

    /// Only callers of organisation `default` see and change what belongs to the installation.
    pub(crate) fn of_installation(caller: &Caller, permission: Permission) -> AppResult<()> {
        let org = OrgId::default_org();
        Self::authorize(caller, permission, Target { org: &org, agent: None }, "route")
    }

    /// Takes up what was changed, here or elsewhere; 1 where something was.
    pub async fn refresh_settings(&self) -> AppResult<u64> {
        let settings = stored(self.store(), &self.settings()).await?;
        Ok(u64::from(self.shared_settings().set(settings)))
    }

    /// The settings, for those who may see them.
    pub async fn show_settings(&self, caller: &Caller) -> AppResult<Arc<Settings>> {
        Self::of_installation(caller, Permission::SettingsRead)?;
        self.refresh_settings().await?;
        Ok(self.settings())
    }

    /// Changes settings: all that are named, or none.
    pub async fn update_settings(
        &self,
        caller: &Caller,
        origin: &Origin,
        request: UpdateSettings,
    ) -> AppResult<Arc<Settings>> {
        Self::of_installation(caller, Permission::SettingsUpdate)?;
        self.refresh_settings().await?;
        let before = self.settings();
        let wanted = wanted(request);
        let after = changed(&before, &wanted)?;
        let differs = |setting: &Setting| before.text(*setting) != after.text(*setting);
        let different: Vec<Setting> =
            wanted.iter().map(|(setting, _)| *setting).filter(differs).collect();
        if different.is_empty() {
            return Ok(before);
        }
        let mut tx = self.store().write("settings.update").await?;
        let mut told = BTreeMap::new();
        for setting in different {
            let (name, text) = (setting.as_str(), after.text(setting));
            tx.settings().put(None, &format!("{STORED_PREFIX}{name}"), &text).await?;
            told.insert(name, json!({ "from": before.text(setting), "to": text }));
        }
        let event = Event {
            action: AuditAction::SettingsUpdated,
            org: &OrgId::default_org(),
            target: None,
            detail: json!({ "changed": told }),
        };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        tx.commit().await?;
        self.refresh_settings().await?;
        Ok(self.settings())
    }
}
