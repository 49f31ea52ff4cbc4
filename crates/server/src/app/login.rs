//! Logging in with a name and a password, choosing a password, and the first administrator.
//!
//! *Invariant:* an unknown name, a wrong password and a user who is shut out get one answer after
//! the same work: one hash, one statement that looks, one entry that tells.

use std::time::Duration;

use argosy_domain::{
    access::{Caller, Role},
    audit::AuditAction,
    digest::Sha256,
    entropy::random_bytes,
    id::OrgId,
    security::SecurityKind,
    time::Timestamp,
    user::{User, UserName, WeakPassword, check_password},
};
use argosy_store::NewUser;
use argosy_wire::{
    bytes,
    problem::Code,
    rest::users::{ChangePassword, Login, Setup},
};
use serde_json::json;
use subtle::ConstantTimeEq as _;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    security::Sighting,
    user_sessions::{OpenedSession, Site, own_user},
};

/// Where the code of the first administrator is kept, as `<digest> <end in microseconds>`.
const SETUP_CODE: &str = "setup_code";
/// Life of such a code.
pub const SETUP_CODE_LIFE: Duration = Duration::from_secs(3_600);

fn wrong() -> AppError {
    AppError::because(Code::Unauthenticated, "name or password is wrong")
}

fn wanted(login: &Login) -> Option<(OrgId, UserName)> {
    let org = match login.organisation.as_deref() {
        None | Some("") => OrgId::default_org(),
        Some(org) => org.parse().ok()?,
    };
    Some((org, login.name.parse().ok()?))
}

/// The name under which guesses are counted. What is no name is nobody's.
fn guessed(wanted: Option<&(OrgId, UserName)>) -> String {
    wanted.map(|(org, name)| format!("{org}/{name}")).unwrap_or_default()
}

impl App {
    /// Takes a place for a password to be tried; who has none left is noted.
    async fn may_guess(&self, origin: &Origin, name: &str, found: Option<&User>) -> AppResult<()> {
        self.admit_source(origin)?;
        let per_minute = self.settings().login_failures_per_minute.get();
        let Err(refused) = self.guesses().take(name, per_minute, self.now()) else { return Ok(()) };
        if self.blocked_names().is_news(&name.to_owned(), self.now()) {
            let detail = json!({ "what": "password" });
            self.sighted(Sighting::anonymous(SecurityKind::BruteForce, origin, detail));
            self.record_refused(AuditAction::LoginBlocked, origin, found).await?;
        }
        Err(refused)
    }

    /// Nothing of what was typed is recorded: people type passwords where names belong.
    async fn record_refused(
        &self,
        action: AuditAction,
        origin: &Origin,
        found: Option<&User>,
    ) -> AppResult<()> {
        let org = found.map_or_else(OrgId::default_org, |user| user.org.clone());
        let target = found.map(|user| format!("user:{}", user.id));
        let event = Event { action, org: &org, target, detail: json!({}) };
        self.record_alone("login.refused", "anonymous", origin, event).await
    }

    /// Checks name and password and begins a session with a new cookie. `shown` is the cookie that
    /// the call carries: its session ends.
    pub async fn login(
        &self,
        origin: &Origin,
        request: &Login,
        site: Site<'_>,
        shown: Option<&str>,
    ) -> AppResult<OpenedSession> {
        self.must_be_own_site(site)?;
        let wanted = wanted(request);
        let found = match &wanted {
            Some((org, name)) => {
                self.store().read("login").await?.users().by_name(org, name).await?
            }
            None => None,
        };
        let name = guessed(wanted.as_ref());
        self.may_guess(origin, &name, found.as_ref().map(|(user, _)| user)).await?;
        let hash = found.as_ref().map(|(_, hash)| hash.as_str());
        let good = self.hasher().verify_password(&request.password, hash).await?;
        let user = found.map(|(user, _)| user);
        let admitted = match &user {
            Some(user) => good && user.disabled_at.is_none() && self.lets_in(&user.org).await?,
            None => false,
        };
        let Some(user) = user.as_ref().filter(|_| admitted) else {
            self.record_refused(AuditAction::LoginRefused, origin, user.as_ref()).await?;
            return self.judged(origin, Err(wrong()), |code| code == Code::Unauthenticated);
        };
        self.guesses().give_back(&name);
        let mut tx = self.store().write("login").await?;
        self.end_shown_session(&mut tx, shown).await?;
        let opened = self.open_session(&mut tx, origin, user).await?;
        let event = Event {
            action: AuditAction::LoggedIn,
            org: &user.org,
            target: Some(format!("user:{}", user.id)),
            detail: json!({}),
        };
        self.record(&mut tx, &user.actor(), origin, event).await?;
        tx.commit().await?;
        Ok(opened)
    }

    /// Replaces the caller's own password. Every session ends, and a new one begins.
    pub async fn change_password(
        &self,
        caller: &Caller,
        origin: &Origin,
        request: &ChangePassword,
    ) -> AppResult<OpenedSession> {
        let (org, id, _) = own_user(caller)?;
        let mut reader = self.store().read("password.change").await?;
        let user = reader.users().get(org, id).await?.ok_or_else(wrong)?;
        let found = reader.users().by_name(org, &user.name).await?;
        drop(reader);
        let (user, hash) = found.ok_or_else(wrong)?;
        let name = format!("{org}/{}", user.name);
        self.may_guess(origin, &name, Some(&user)).await?;
        let current = &request.current_password;
        if !self.hasher().verify_password(current, Some(&hash)).await? {
            self.record_refused(AuditAction::LoginRefused, origin, Some(&user)).await?;
            return Err(AppError::field("current_password", "is not your password"));
        }
        self.guesses().give_back(&name);
        let field = |error: WeakPassword| AppError::field("new_password", error);
        check_password(&request.new_password, &user.name).map_err(field)?;
        if request.new_password == *current {
            return Err(field(WeakPassword::Unchanged));
        }
        let hash = self.hasher().hash_password(&request.new_password, self.entropy()).await?;
        let mut tx = self.store().write("password.change").await?;
        let held = tx.users().hold(org, id).await?;
        held.filter(|held| held.epoch == user.epoch).ok_or_else(wrong)?;
        let changed = tx.users().set_password(org, id, &hash, false).await?.ok_or_else(wrong)?;
        tx.user_sessions().end_of_user(org, id, self.now()).await?;
        let opened = self.open_session(&mut tx, origin, &changed).await?;
        let event = Event {
            action: AuditAction::PasswordChanged,
            org,
            target: Some(format!("user:{id}")),
            detail: json!({}),
        };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        tx.commit().await?;
        Ok(opened)
    }

    /// Makes the code with which somebody becomes an administrator: for whoever may read the
    /// server's own files. A code that was made before is void.
    pub async fn make_setup_code(&self) -> AppResult<String> {
        let secret: [u8; 32] = random_bytes(self.entropy());
        let code = bytes::encode(&secret);
        let until = self.now().plus(SETUP_CODE_LIFE).as_micros();
        let kept = format!("{} {until}", bytes::encode(&Sha256::of(code.as_bytes()).0));
        let mut tx = self.store().write("setup.code").await?;
        tx.settings().put(None, SETUP_CODE, &kept).await?;
        let event = Event {
            action: AuditAction::SetupCodeMade,
            org: &OrgId::default_org(),
            target: None,
            detail: json!({}),
        };
        self.record(&mut tx, "server", &Origin::default(), event).await?;
        tx.commit().await?;
        Ok(code)
    }

    /// What is kept of the code that was shown, if it is good.
    async fn good_code(&self, code: &str) -> AppResult<String> {
        let refused = || AppError::because(Code::Unauthenticated, "the code is not good");
        let kept = self.store().read("setup").await?.settings().get(None, SETUP_CODE).await?;
        let kept = kept.ok_or_else(refused)?;
        let (digest, until) = kept.split_once(' ').ok_or_else(refused)?;
        let shown = bytes::encode(&Sha256::of(code.as_bytes()).0);
        let same = bool::from(shown.as_bytes().ct_eq(digest.as_bytes()));
        let until = until.parse().map(Timestamp::from_micros).map_err(|_| refused())?;
        if same && self.now() < until { Ok(kept) } else { Err(refused()) }
    }

    /// Makes an administrator of organisation `default` with a code of [`Self::make_setup_code`],
    /// once, and begins a session.
    pub async fn set_up(
        &self,
        origin: &Origin,
        request: &Setup,
        site: Site<'_>,
    ) -> AppResult<OpenedSession> {
        self.must_be_own_site(site)?;
        let name: UserName =
            request.name.parse().map_err(|error| AppError::field("name", error))?;
        let field = |error: WeakPassword| AppError::field("password", error);
        check_password(&request.password, &name).map_err(field)?;
        let outcome = self.good_code(&request.code).await;
        let kept = self.judged(origin, outcome, |code| code == Code::Unauthenticated)?;
        let password_hash = self.hasher().hash_password(&request.password, self.entropy()).await?;
        let user = User {
            id: self.ids().fresh(),
            org: OrgId::default_org(),
            name,
            role: Role::Admin,
            must_change_password: false,
            epoch: 0,
            created_by: "server".to_owned(),
            created_at: self.now(),
            last_login_at: None,
            disabled_at: None,
        };
        let mut tx = self.store().write("setup").await?;
        if !tx.settings().remove_value(SETUP_CODE, &kept).await? {
            return Err(AppError::because(Code::Unauthenticated, "the code is not good"));
        }
        let new = NewUser { user, password_hash };
        self.store_user(&mut tx, "server", origin, &new).await?;
        let opened = self.open_session(&mut tx, origin, &new.user).await?;
        tx.commit().await?;
        Ok(opened)
    }
}
