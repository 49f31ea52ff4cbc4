//! What surrounds every page: title, navigation, who is signed in, light or dark, what was done.

use argosy_domain::{
    access::{Caller, Permission, Role},
    id::OrgId,
};
use axum::http::HeaderMap;

use super::{
    assets, notice,
    visit::{Visit, cookie},
};

/// The cookie that keeps the choice between light and dark.
pub(super) const THEME_COOKIE: &str = "argosy_theme";

/// Light or dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    /// As the system has it.
    Auto,
    /// Always light.
    Light,
    /// Always dark.
    Dark,
}

impl Theme {
    /// The choice of that name; the system's for any other.
    pub(super) fn parse(name: &str) -> Self {
        match name {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::Auto,
        }
    }

    /// What the browser remembers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self::parse(cookie(headers, THEME_COOKIE).unwrap_or_default())
    }

    /// The name of the choice.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// A link of the navigation.
#[derive(Debug, Clone)]
pub(super) struct NavLink {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    pub(super) current: bool,
    /// What waits there; not shown when it is nothing.
    pub(super) count: u64,
}

/// Links under one heading.
#[derive(Debug, Clone)]
pub(super) struct NavGroup {
    pub(super) title: &'static str,
    pub(super) links: Vec<NavLink>,
}

/// Who is signed in.
#[derive(Debug, Clone)]
pub(super) struct Who {
    pub(super) name: String,
    pub(super) role: &'static str,
}

/// What surrounds a page.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) title: String,
    pub(super) theme: &'static str,
    pub(super) style: String,
    pub(super) script: String,
    pub(super) icon: String,
    pub(super) user: Option<Who>,
    pub(super) csrf: String,
    /// The server's time.
    pub(super) now: String,
    pub(super) path: String,
    pub(super) nav: Vec<NavGroup>,
    pub(super) notice: Option<&'static str>,
    pub(super) version: &'static str,
}

/// Key of a page → its group, its name, its path, and what it takes to see it.
type NavEntry = (&'static str, &'static str, &'static str, Option<Permission>);

const NAV: [(&str, &[NavEntry]); 4] = [
    (
        "Fleet",
        &[
            ("overview", "Overview", "/console", Some(Permission::AgentsRead)),
            ("agents", "Agents", "/console/agents", Some(Permission::AgentsRead)),
            ("approvals", "Approvals", "/console/approvals", Some(Permission::AgentsRead)),
            ("commands", "Commands", "/console/commands", Some(Permission::CommandsRead)),
            ("packages", "Packages", "/console/packages", Some(Permission::UpdatesRead)),
            ("discovery", "Discovery", "/console/discovery", Some(Permission::DiscoveryRead)),
        ],
    ),
    (
        "Joining",
        &[
            ("enrol", "Enrol an agent", "/console/enrol", Some(Permission::TokensCreate)),
            ("tokens", "Tokens", "/console/tokens", Some(Permission::TokensRead)),
            ("accounts", "Accounts", "/console/accounts", Some(Permission::AccountsRead)),
        ],
    ),
    (
        "Records",
        &[
            ("audit", "Audit log", "/console/audit", Some(Permission::AuditRead)),
            ("security", "Security events", "/console/security", Some(Permission::SecurityRead)),
        ],
    ),
    (
        "Access",
        &[
            ("users", "Users", "/console/users", Some(Permission::UsersRead)),
            (
                "organisations",
                "Organisations",
                "/console/organisations",
                Some(Permission::OrganisationsRead),
            ),
            ("keys", "API keys", "/console/keys", Some(Permission::KeysRead)),
            ("sessions", "Your sessions", "/console/sessions", None),
            ("settings", "Settings", "/console/settings", Some(Permission::SettingsRead)),
            ("docs", "Help", "/docs/", None),
        ],
    ),
];

impl Frame {
    /// Around a page that anybody sees.
    pub(super) fn outside(title: &str, theme: Theme) -> Self {
        Self {
            title: title.to_owned(),
            theme: theme.as_str(),
            style: assets::link("console.css"),
            script: assets::link("console.js"),
            icon: assets::link("mark.svg"),
            user: None,
            csrf: String::new(),
            now: String::new(),
            path: String::new(),
            nav: Vec::new(),
            notice: None,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl Visit {
    /// The visitor's role.
    pub(super) fn role(&self) -> Option<Role> {
        match &self.caller {
            Caller::User { role, .. } => Some(*role),
            Caller::Key { .. } | Caller::Agent { .. } | Caller::Server => None,
        }
    }

    fn nav(&self, here: &str, pending: u64) -> Vec<NavGroup> {
        let first = self.caller.org() == Some(&OrgId::default_org());
        let sees = |key: &str, needs: Option<Permission>| {
            // Settings and organisations are the installation's.
            (first || !["settings", "organisations"].contains(&key))
                && needs.is_none_or(|needs| self.may(needs))
        };
        let groups = NAV.iter().map(|(title, entries)| {
            let seen = entries.iter().filter(|(key, _, _, needs)| sees(key, *needs));
            let links = seen.map(|(key, name, path, _)| NavLink {
                name,
                path,
                current: *key == here,
                count: if *key == "approvals" { pending } else { 0 },
            });
            NavGroup { title, links: links.collect() }
        });
        groups.filter(|group| !group.links.is_empty()).collect()
    }

    /// Around a page for this visitor; `here` is the key of its place in the navigation.
    pub(super) async fn frame(&self, title: &str, here: &str) -> Frame {
        let pending = self.app.count_pending(&self.caller).await.unwrap_or_default();
        let user = match &self.caller {
            Caller::User { name, role, .. } => {
                Some(Who { name: name.as_str().to_owned(), role: role.as_str() })
            }
            Caller::Key { .. } | Caller::Agent { .. } | Caller::Server => None,
        };
        let nav = if self.caller.owes_password() { Vec::new() } else { self.nav(here, pending) };
        Frame {
            user,
            csrf: self.csrf.clone(),
            now: self.app.now().to_string(),
            path: self.path.clone(),
            nav,
            notice: self.query.given("done").and_then(notice::of),
            ..Frame::outside(title, self.theme)
        }
    }
}
