//! What an administrator of the installation can change while it runs.
//!
//! Each setting has a name, a default and bounds, and a text form in which it is stored, so that a
//! version of the program that does not know a setting leaves it alone. *Invariant:* a value that
//! is out of bounds is never in force.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use crate::version::Version;

/// One setting by name. A new one begins here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Setting {
    /// The oldest version of agents that is admitted.
    MinimumAgentVersion,
    /// Whether agents without keys are admitted.
    AllowApiKeyAgents,
    /// Seconds without a call after which a user's session ends.
    UserSessionIdleS,
    /// Seconds after login at which a user's session ends.
    UserSessionMaxS,
    /// Failed logins of one user name in a minute.
    LoginFailuresPerMinute,
    /// Calls of one principal in a minute.
    RequestsPerMinute,
}

impl Setting {
    /// Every setting.
    pub const ALL: [Self; 6] = [
        Self::MinimumAgentVersion,
        Self::AllowApiKeyAgents,
        Self::UserSessionIdleS,
        Self::UserSessionMaxS,
        Self::LoginFailuresPerMinute,
        Self::RequestsPerMinute,
    ];

    /// The public and stored name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MinimumAgentVersion => "minimum_agent_version",
            Self::AllowApiKeyAgents => "allow_api_key_agents",
            Self::UserSessionIdleS => "user_session_idle_s",
            Self::UserSessionMaxS => "user_session_max_s",
            Self::LoginFailuresPerMinute => "login_failures_per_minute",
            Self::RequestsPerMinute => "requests_per_minute",
        }
    }

    /// The setting of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.as_str() == name)
    }
}

/// Why a value was not accepted. Displays as a sentence that can follow the setting's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    /// Neither true nor false.
    #[error("must be true or false")]
    NotBool,
    /// No number, or one out of bounds.
    #[error("must be {min} to {max}")]
    OutOfBounds {
        /// The least value.
        min: u32,
        /// The greatest value.
        max: u32,
    },
    /// No version.
    #[error("must be a semantic version such as 1.4.0, or empty for none")]
    NotVersion,
}

/// A whole number between two others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounded<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Bounded<MIN, MAX> {
    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// The number as a count; bounds begin at one.
    pub fn count(self) -> NonZeroU32 {
        NonZeroU32::new(self.0).unwrap_or(NonZeroU32::MIN)
    }

    /// The number as a span of seconds.
    pub fn seconds(self) -> Duration {
        Duration::from_secs(self.0.into())
    }
}

impl<const MIN: u32, const MAX: u32> FromStr for Bounded<MIN, MAX> {
    type Err = InvalidSetting;
    fn from_str(text: &str) -> Result<Self, InvalidSetting> {
        let number = text.parse().ok().filter(|number| (MIN..=MAX).contains(number));
        number.map(Self).ok_or(InvalidSetting::OutOfBounds { min: MIN, max: MAX })
    }
}

impl<const MIN: u32, const MAX: u32> fmt::Display for Bounded<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The settings in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The oldest version of agents that is admitted; none admits every version.
    pub minimum_agent_version: Option<Version>,
    /// Whether agents without keys are admitted.
    pub allow_api_key_agents: bool,
    /// Seconds without a call after which a user's session ends: a minute to a week.
    pub user_session_idle_s: Bounded<60, 604_800>,
    /// Seconds after login at which a user's session ends: a minute to thirty days.
    pub user_session_max_s: Bounded<60, 2_592_000>,
    /// Failed logins of one user name in a minute before 429.
    pub login_failures_per_minute: Bounded<1, 100_000>,
    /// Calls of one user, key or agent in a minute before 429.
    pub requests_per_minute: Bounded<60, 10_000_000>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            minimum_agent_version: None,
            allow_api_key_agents: true,
            user_session_idle_s: Bounded(3_600),
            user_session_max_s: Bounded(43_200),
            login_failures_per_minute: Bounded(10),
            requests_per_minute: Bounded(12_000),
        }
    }
}

impl Settings {
    /// The value of a setting in its text form.
    pub fn text(&self, setting: Setting) -> String {
        match setting {
            Setting::MinimumAgentVersion => {
                self.minimum_agent_version.as_ref().map(ToString::to_string).unwrap_or_default()
            }
            Setting::AllowApiKeyAgents => self.allow_api_key_agents.to_string(),
            Setting::UserSessionIdleS => self.user_session_idle_s.to_string(),
            Setting::UserSessionMaxS => self.user_session_max_s.to_string(),
            Setting::LoginFailuresPerMinute => self.login_failures_per_minute.to_string(),
            Setting::RequestsPerMinute => self.requests_per_minute.to_string(),
        }
    }

    /// Changes a setting to what a text says.
    pub fn set(&mut self, setting: Setting, text: &str) -> Result<(), InvalidSetting> {
        match setting {
            Setting::MinimumAgentVersion => {
                self.minimum_agent_version = match text {
                    "" => None,
                    text => Some(text.parse().map_err(|_| InvalidSetting::NotVersion)?),
                };
            }
            Setting::AllowApiKeyAgents => {
                self.allow_api_key_agents = text.parse().map_err(|_| InvalidSetting::NotBool)?;
            }
            Setting::UserSessionIdleS => self.user_session_idle_s = text.parse()?,
            Setting::UserSessionMaxS => self.user_session_max_s = text.parse()?,
            Setting::LoginFailuresPerMinute => self.login_failures_per_minute = text.parse()?,
            Setting::RequestsPerMinute => self.requests_per_minute = text.parse()?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_read_back_from_its_text() {
        let defaults = Settings::default();
        for setting in Setting::ALL {
            assert_eq!(Setting::parse(setting.as_str()), Some(setting));
            let mut again = Settings::default();
            again.set(setting, &defaults.text(setting)).unwrap();
            assert_eq!(again, defaults, "{setting:?}");
        }
        assert_eq!(Setting::parse("no_such"), None);
    }

    #[test]
    fn what_is_out_of_bounds_changes_nothing() {
        let mut settings = Settings::default();
        for (setting, bad) in [
            (Setting::MinimumAgentVersion, "1.2"),
            (Setting::AllowApiKeyAgents, "yes"),
            (Setting::UserSessionIdleS, "59"),
            (Setting::UserSessionMaxS, "2592001"),
            (Setting::LoginFailuresPerMinute, "0"),
            (Setting::RequestsPerMinute, "-1"),
        ] {
            assert!(settings.set(setting, bad).is_err(), "{setting:?}");
        }
        assert_eq!(settings, Settings::default());
        settings.set(Setting::MinimumAgentVersion, "v1.4.0").unwrap();
        assert_eq!(settings.text(Setting::MinimumAgentVersion), "1.4.0");
        settings.set(Setting::MinimumAgentVersion, "").unwrap();
        assert_eq!(settings.minimum_agent_version, None);
    }
}
