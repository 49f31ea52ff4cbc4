//! Enrolment tokens: mint, list, revoke.

use std::time::Duration;

use argosy_domain::{
    access::{Caller, Permission},
    agent::AgentStatus,
    audit::AuditAction,
    entropy::random_bytes,
    id::{AccountId, OrgId, TokenId},
    labels::Labels,
    limits::{TOKEN_LIFE_DEFAULT, TOKEN_LIFE_MAX, TOKEN_SEATS_MAX},
    text,
    time::{Timestamp, parse_span},
    token::{EnrolmentToken, Seats},
};
use argosy_store::Page;
use argosy_wire::{
    rest::tokens::CreateToken,
    token::{Secret32, TokenString, proof_key},
};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    paging::PageQuery,
};

/// A token at the only moment at which it can be shown.
#[derive(Debug, Clone)]
pub struct MintedToken {
    /// What was made.
    pub token: EnrolmentToken,
    /// The string to hand over.
    pub secret: TokenString,
}

/// Life of the token that the local agent of combined mode enrols with.
const LOCAL_TOKEN_LIFE: Duration = Duration::from_secs(600);

fn life(expires_in: Option<&str>) -> AppResult<Duration> {
    let Some(text) = expires_in else { return Ok(TOKEN_LIFE_DEFAULT) };
    let life = parse_span(text).map_err(|error| AppError::field("expires_in", error))?;
    if life.is_zero() || life > TOKEN_LIFE_MAX {
        return Err(AppError::field("expires_in", "must be between 1s and 90d"));
    }
    Ok(life)
}

impl App {
    /// Mints a token in the caller's organisation.
    pub async fn create_token(
        &self,
        caller: &Caller,
        origin: &Origin,
        request: CreateToken,
    ) -> AppResult<MintedToken> {
        let org = Self::own_org(caller, Permission::TokensCreate)?.clone();
        if request.auto_approve == Some(true) {
            // Such a token approves: whoever mints it must be allowed to.
            Self::own_org(caller, Permission::AgentsApprove)?;
        }
        let now = self.now();
        let token = EnrolmentToken {
            id: self.ids().fresh(),
            account: request.account_id.map(AccountId),
            name: text::name(&request.name).map_err(|error| AppError::field("name", error))?,
            created_by: caller.actor(),
            created_at: now,
            expires_at: now.plus(life(request.expires_in.as_deref())?),
            seats: Seats { used: 0, max: request.max_uses.unwrap_or(1) },
            auto_approve: request.auto_approve.unwrap_or(false),
            require_proof: request.require_proof.unwrap_or(false),
            labels: Labels::try_from(request.labels)
                .map_err(|error| AppError::field("labels", error))?,
            revoked_at: None,
            org,
        };
        if !(1..=TOKEN_SEATS_MAX).contains(&token.seats.max) {
            let limit = format!("must be 1 to {TOKEN_SEATS_MAX}");
            return Err(AppError::field("max_uses", limit));
        }
        self.mint(&caller.actor(), origin, token).await
    }

    /// A token for the agent of this very host: one seat, approved at once, ten minutes. Its text
    /// is never written anywhere.
    pub async fn mint_local_token(&self) -> AppResult<String> {
        let now = self.now();
        let token = EnrolmentToken {
            id: self.ids().fresh(),
            org: OrgId::default_org(),
            account: Some(AccountId::DEFAULT),
            name: "local agent".to_owned(),
            created_by: "server".to_owned(),
            created_at: now,
            expires_at: now.plus(LOCAL_TOKEN_LIFE),
            seats: Seats { used: 0, max: 1 },
            auto_approve: true,
            require_proof: true,
            labels: Labels::default(),
            revoked_at: None,
        };
        Ok(self.mint("server", &Origin::default(), token).await?.secret.reveal())
    }

    /// Makes the secret of a token and stores both.
    pub(crate) async fn mint(
        &self,
        actor: &str,
        origin: &Origin,
        token: EnrolmentToken,
    ) -> AppResult<MintedToken> {
        let secret = Secret32::new(random_bytes(self.entropy()));
        let hash = self.hasher().hash(&secret, self.entropy()).await?;
        let sealed = self
            .sealer()
            .seal(self.entropy(), "enrolment", token.id.as_str(), proof_key(&secret).expose())
            .map_err(AppError::internal)?;
        let mut tx = self.store().write("tokens.create").await?;
        if let Some(account) = token.account
            && tx.accounts().get(&token.org, account).await?.is_none()
        {
            return Err(AppError::field("account_id", "is no account of this organisation"));
        }
        tx.tokens().insert(&token, &hash, &sealed).await?;
        let event = Event {
            action: AuditAction::TokenCreated,
            org: &token.org,
            target: Some(format!("token:{}", token.id)),
            detail: json!({
                "name": token.name, "max_uses": token.seats.max,
                "auto_approve": token.auto_approve, "require_proof": token.require_proof,
                "account_id": token.account, "expires_at": token.expires_at,
            }),
        };
        self.record(&mut tx, actor, origin, event).await?;
        tx.commit().await?;
        let pin = Some(self.keyring().thumbprint());
        let secret = TokenString { id: token.id.clone(), secret, pin };
        Ok(MintedToken { token, secret })
    }

    /// The tokens of the caller's organisation, newest first.
    pub async fn list_tokens(
        &self,
        caller: &Caller,
        page: &PageQuery,
    ) -> AppResult<Page<EnrolmentToken>> {
        let org = Self::own_org(caller, Permission::TokensRead)?;
        let mut reader = self.store().read("tokens.list").await?;
        Ok(reader.tokens().list(org, &page.request()?).await?)
    }

    /// One token, without its secret.
    pub async fn show_token(&self, caller: &Caller, id: &TokenId) -> AppResult<EnrolmentToken> {
        let org = Self::own_org(caller, Permission::TokensRead)?;
        let token = self.store().read("tokens.show").await?.tokens().get(org, id).await?;
        token.ok_or_else(|| AppError::not_found("enrolment token"))
    }

    /// Revokes a token; registrations that still wait for approval under it are cancelled.
    pub async fn revoke_token(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &TokenId,
    ) -> AppResult<EnrolmentToken> {
        let org = Self::own_org(caller, Permission::TokensRevoke)?;
        let now = self.now();
        let mut tx = self.store().write("tokens.revoke").await?;
        let token = tx.tokens().revoke(org, id, now).await?;
        let token = token.ok_or_else(|| AppError::not_found("enrolment token"))?;
        let cancelled = self.cancel_pending(&mut tx, org, id, now).await?;
        let event = Event {
            action: AuditAction::TokenRevoked,
            org,
            target: Some(format!("token:{id}")),
            detail: json!({ "name": token.name, "cancelled_agents": cancelled }),
        };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        tx.commit().await?;
        Ok(token)
    }

    async fn cancel_pending(
        &self,
        tx: &mut argosy_store::Tx,
        org: &OrgId,
        token: &TokenId,
        now: Timestamp,
    ) -> AppResult<usize> {
        let pending = tx.agents().pending_of_token(org, token).await?;
        let mut count = 0;
        for mut agent in pending {
            agent.state = agent.state.cancel(now).map_err(AppError::wrong_state)?;
            // Somebody may have approved it a moment ago; then it stays.
            if tx.agents().save_state(&agent, AgentStatus::Pending).await? {
                tx.api_keys().void_of_agent(&agent.id, now).await?;
                count += 1;
            }
        }
        Ok(count)
    }
}
