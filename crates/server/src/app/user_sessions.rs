//! Sessions of users: from a cookie to a [`Caller`], and their ends.
//!
//! The cookie is `<id>.<secret>`; of the secret a digest is stored. *Invariant:* a cookie alone
//! changes nothing: calls that write also show the session's CSRF token, which pages of other
//! origins cannot read, and come from an origin of this server.

use argosy_domain::{
    access::Caller,
    audit::AuditAction,
    digest::Sha256,
    entropy::random_bytes,
    id::{OrgId, UserId, UserSessionId},
    time::Timestamp,
    user::User,
};
use argosy_store::{Tx, UserSession};
use argosy_wire::{bytes, problem::Code, token::Secret32};
use serde_json::json;
use subtle::ConstantTimeEq as _;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
};

/// What a call with a cookie shows.
#[derive(Debug, Clone, Copy)]
pub struct CookieCall<'a> {
    /// The value of the cookie.
    pub cookie: &'a str,
    /// The call changes something.
    pub writes: bool,
    /// `X-CSRF-Token`
    pub csrf: Option<&'a str>,
    /// Where a browser says that the call comes from.
    pub site: Site<'a>,
}

/// Where a browser says that a call comes from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Site<'a> {
    /// `Origin`
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site` (Fetch Metadata)
    pub fetch_site: Option<&'a str>,
}

/// A session that has just begun.
pub struct OpenedSession {
    /// The user, from now on.
    pub caller: Caller,
    /// The value of the cookie.
    pub cookie: String,
    /// When the session ends, used or not.
    pub expires_at: Timestamp,
}

/// A session of the caller.
#[derive(Debug, Clone)]
pub struct OwnSession {
    /// The session.
    pub session: UserSession,
    /// The latest use.
    pub seen_at: Timestamp,
    /// The one that asks.
    pub current: bool,
}

fn secret_of(cookie: &str) -> Option<(UserSessionId, Secret32)> {
    let (id, secret) = cookie.rsplit_once('.')?;
    let secret = bytes::decode(secret).ok()?.try_into().ok()?;
    Some((id.parse().ok()?, Secret32::new(secret)))
}

/// The token that calls show beside a cookie: a digest of the secret for this purpose, so that the
/// server keeps none and the cookie cannot be made of it.
pub fn csrf_token(cookie: &str) -> Option<String> {
    let (_, secret) = secret_of(cookie)?;
    let mut text = b"argosy csrf v1\0".to_vec();
    text.extend_from_slice(secret.expose());
    Some(bytes::encode(&Sha256::of(&text).0))
}

fn user_caller(user: User, session: UserSessionId) -> Caller {
    Caller::User {
        user: user.id,
        name: user.name,
        org: user.org,
        role: user.role,
        session,
        must_change_password: user.must_change_password,
    }
}

/// The user that a caller is.
pub(crate) fn own_user(caller: &Caller) -> AppResult<(&OrgId, &UserId, &UserSessionId)> {
    match caller {
        Caller::User { user, org, session, .. } => Ok((org, user, session)),
        Caller::Key { .. } | Caller::Agent { .. } | Caller::Server => {
            Err(AppError::because(Code::Forbidden, "only a user who has logged in may do this"))
        }
    }
}

impl App {
    /// The name of the cookie: bound to this host and to TLS where agents and people reach the
    /// server by https (RFC 6265bis, section 4.1.3.2).
    pub fn session_cookie(&self) -> &'static str {
        if self.cookies_are_secure() { "__Host-argosy_session" } else { "argosy_session" }
    }

    /// Whether the first public URL is https.
    pub fn cookies_are_secure(&self) -> bool {
        self.rules().public_urls.first().is_some_and(|url| url.starts_with("https://"))
    }

    /// The text that gives a browser the cookie: for this host alone, out of reach of scripts, never
    /// sent along by other sites. An empty value takes it away. The server decides when the session
    /// ends; a browser that closes forgets it anyway.
    pub fn session_cookie_text(&self, value: &str) -> String {
        let name = self.session_cookie();
        let secure = if self.cookies_are_secure() { "; Secure" } else { "" };
        let forgotten = if value.is_empty() { "; Max-Age=0" } else { "" };
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{forgotten}")
    }

    /// Begins a session for a user as loaded; refused when the user has changed since.
    pub(crate) async fn open_session(
        &self,
        tx: &mut Tx,
        origin: &Origin,
        user: &User,
    ) -> AppResult<OpenedSession> {
        let refused = || AppError::because(Code::Unauthenticated, "name or password is wrong");
        let held = tx.users().hold(&user.org, &user.id).await?;
        let user = held
            .filter(|held| held.epoch == user.epoch && held.disabled_at.is_none())
            .ok_or_else(refused)?;
        let (now, secret) = (self.now(), random_bytes::<32>(self.entropy()));
        let session = UserSession {
            id: self.ids().fresh(),
            org: user.org.clone(),
            user: user.id.clone(),
            secret_sha256: Sha256::of(&secret),
            epoch: user.epoch,
            created_at: now,
            seen_at: now,
            expires_at: now.plus(self.settings().user_session_max_s.seconds()),
            ended_at: None,
            source: origin.source.map(|source| source.to_string()),
        };
        tx.user_sessions().insert(&session).await?;
        tx.users().logged_in(&user.org, &user.id, now).await?;
        let cookie = format!("{}.{}", session.id, bytes::encode(&secret));
        let expires_at = session.expires_at;
        Ok(OpenedSession { caller: user_caller(user, session.id), cookie, expires_at })
    }

    /// The session behind a cookie, whether or not it still stands. Every refusal is the same.
    async fn genuine_session(&self, cookie: &str) -> AppResult<UserSession> {
        let refused = || AppError::new(Code::Unauthenticated);
        let (id, secret) = secret_of(cookie).ok_or_else(refused)?;
        let found = self.store().read("authn.user").await?.user_sessions().find(&id).await?;
        let session = found.ok_or_else(refused)?;
        let digest = Sha256::of(secret.expose());
        let same = bool::from(digest.0.ct_eq(&session.secret_sha256.0));
        if same { Ok(session) } else { Err(refused()) }
    }

    /// The latest use of a session, if it is open.
    fn open_until_now(&self, session: &UserSession) -> Option<Timestamp> {
        let (now, settings) = (self.now(), self.settings());
        let seen_at = self.uses().latest_of_session(&session.id).unwrap_or(session.seen_at);
        let seen_at = seen_at.max(session.seen_at);
        // A shorter life that was set since holds for sessions that are open already.
        let ends_at = session.created_at.plus(settings.user_session_max_s.seconds());
        let open = session.ended_at.is_none()
            && now < session.expires_at.min(ends_at)
            && now < seen_at.plus(settings.user_session_idle_s.seconds());
        open.then_some(seen_at)
    }

    /// Authenticates a cookie.
    pub async fn authenticate_cookie(
        &self,
        origin: &Origin,
        call: CookieCall<'_>,
    ) -> AppResult<Caller> {
        self.sight().clear().await?;
        // A session that is over is no guess: whoever comes back to an old window has it.
        let outcome = self.genuine_session(call.cookie).await;
        let session = self.judged(origin, outcome, |code| code == Code::Unauthenticated)?;
        let over = || AppError::because(Code::Unauthenticated, "the session is over: log in again");
        let seen_at = self.open_until_now(&session).ok_or_else(over)?;
        let mut reader = self.store().read("authn.user").await?;
        let user = reader.users().get(&session.org, &session.user).await?;
        drop(reader);
        let standing = |user: &User| user.disabled_at.is_none() && user.epoch == session.epoch;
        let user = user.filter(standing).ok_or_else(over)?;
        if !self.lets_in(&user.org).await? {
            return Err(over());
        }
        if call.writes
            && let Err(refused) = self.must_be_sent_by_user(&call)
        {
            self.note_foreign_call(origin, &user, &session, &refused).await?;
            return Err(refused);
        }
        self.uses().of_session(&session.id, seen_at, self.now());
        self.counted(user_caller(user, session.id))
    }

    /// Whether a session still stands. Whatever a user loses ends the sessions, so nothing else is asked.
    pub(crate) async fn session_stands(&self, id: &UserSessionId) -> AppResult<bool> {
        let found = self.store().read("authn.again").await?.user_sessions().find(id).await?;
        Ok(found.is_some_and(|session| self.open_until_now(&session).is_some()))
    }

    fn must_be_sent_by_user(&self, call: &CookieCall<'_>) -> AppResult<()> {
        let refused = |why| Err(AppError::because(Code::CsrfRefused, why));
        let expected = csrf_token(call.cookie).unwrap_or_default();
        let shown = call.csrf.unwrap_or_default();
        if !bool::from(shown.as_bytes().ct_eq(expected.as_bytes())) {
            return refused("X-CSRF-Token is missing or not this session's");
        }
        self.must_be_own_site(call.site)?;
        if call.site.origin.is_none() && call.site.fetch_site.is_none() {
            return refused("neither Origin nor Sec-Fetch-Site says where the call comes from");
        }
        Ok(())
    }

    /// Refuses a call that a browser makes on behalf of a page of somebody else.
    pub(crate) fn must_be_own_site(&self, site: Site<'_>) -> AppResult<()> {
        let refused = |why| Err(AppError::because(Code::CsrfRefused, why));
        if site.origin.is_some_and(|origin| !self.rules().public_urls.iter().any(|u| u == origin)) {
            return refused("Origin is none of this server's public URLs; set public_url");
        }
        if site.fetch_site.is_some_and(|site| site != "same-origin") {
            return refused("Sec-Fetch-Site says that another site sent it");
        }
        Ok(())
    }

    async fn note_foreign_call(
        &self,
        origin: &Origin,
        user: &User,
        session: &UserSession,
        refused: &AppError,
    ) -> AppResult<()> {
        if !self.foreign_calls().is_news(&session.id, self.now()) {
            return Ok(());
        }
        let event = Event {
            action: AuditAction::UserSessionRefused,
            org: &user.org,
            target: Some(format!("user:{}", user.id)),
            detail: json!({ "reason": refused.detail }),
        };
        self.record_alone("authn.csrf", "anonymous", origin, event).await
    }

    /// The caller's own open sessions, newest first.
    pub async fn own_sessions(&self, caller: &Caller) -> AppResult<Vec<OwnSession>> {
        let (org, user, current) = own_user(caller)?;
        let mut reader = self.store().read("user_sessions.list").await?;
        let open = reader.user_sessions().open_of_user(org, user, self.now()).await?;
        let own = |session: UserSession| {
            let seen_at = self.open_until_now(&session)?;
            Some(OwnSession { current: session.id == *current, seen_at, session })
        };
        Ok(open.into_iter().filter_map(own).collect())
    }

    /// Ends one of the caller's own sessions; without an id, the one that asks.
    pub async fn end_own_session(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: Option<&UserSessionId>,
    ) -> AppResult<()> {
        let (org, user, current) = own_user(caller)?;
        let id = id.unwrap_or(current);
        let mut tx = self.store().write("user_sessions.end").await?;
        if !tx.user_sessions().end(org, user, id, self.now()).await? {
            return Err(AppError::not_found("session"));
        }
        let event = Event {
            action: AuditAction::LoggedOut,
            org,
            target: Some(format!("user:{user}")),
            detail: json!({ "session": id }),
        };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        Ok(tx.commit().await?)
    }

    /// Ends the session that a login replaces, if the cookie shows one.
    pub(crate) async fn end_shown_session(
        &self,
        tx: &mut Tx,
        shown: Option<&str>,
    ) -> AppResult<()> {
        let Some(cookie) = shown else { return Ok(()) };
        if let Ok(old) = self.genuine_session(cookie).await {
            tx.user_sessions().end(&old.org, &old.user, &old.id, self.now()).await?;
        }
        Ok(())
    }
}
