//! The operators' service: the same use cases as REST, called with an API key.

use argosy_domain::{review as domain, time::Timestamp, token::EnrolmentToken};
use argosy_wire::{
    rest::tokens::CreateToken,
    rpc::admin::{
        Agent, AgentAdminService, ConfirmAgentRequest, ConfirmAgentResponse,
        CreateEnrollmentCodeRequest, CreateEnrollmentCodeResponse, EnrollmentCode,
        ListAgentsRequest, ListAgentsResponse, ListEnrollmentCodesRequest,
        ListEnrollmentCodesResponse, RejectAgentRequest, RejectAgentResponse, Review,
        RevokeAgentRequest, RevokeAgentResponse, RevokeEnrollmentCodeRequest,
        RevokeEnrollmentCodeResponse, Sighting,
    },
};
use connectrpc::{Encodable, RequestContext, Response, ServiceRequest, ServiceResult};

use super::{
    call, convert,
    status::{refuse, with_field_names},
};
use crate::app::{
    App,
    agents::{AgentQuery, AgentSnapshot, Ruling},
    error::AppResult,
    paging::{AppPage, PageQuery, cursor_text},
};

/// The operators' service.
pub(super) struct Admin(pub(super) App);

/// Fields that REST names otherwise.
const FIELDS: &[(&str, &str)] = &[("fingerprint", "identity_fingerprint")];

fn answer<T>(outcome: AppResult<T>) -> ServiceResult<T> {
    outcome.map(Response::new).map_err(|error| refuse(with_field_names(error, FIELDS)))
}

fn code(token: &EnrolmentToken, now: Timestamp) -> EnrollmentCode {
    EnrollmentCode {
        id: token.id.to_string(),
        name: token.name.clone(),
        state: token.status(now).as_str().to_owned(),
        account_id: token.account.map(|account| account.0),
        uses: token.seats.used,
        max_uses: token.seats.max,
        auto_approve: token.auto_approve,
        require_proof: token.require_proof,
        expires_at: token.expires_at.to_string(),
        created_by: token.created_by.clone(),
        ..Default::default()
    }
}

fn review(review: &domain::Review) -> Review {
    let sighting = |seen: &domain::Appearance| Sighting {
        source: seen.source.clone().unwrap_or_default(),
        machine: seen.machine_digest().unwrap_or_default(),
        version: seen.version.clone().unwrap_or_default(),
        at: seen.at.to_string(),
        ..Default::default()
    };
    Review {
        reason: review.reason.as_str().to_owned(),
        since: review.since.to_string(),
        origins: review.origins.iter().map(sighting).collect(),
        ..Default::default()
    }
}

fn agent(snapshot: AgentSnapshot) -> Agent {
    let AgentSnapshot { view, health, breakers: _, outdated } = snapshot;
    let agent = view.agent;
    let fingerprint = agent.identity.as_ref().map(|identity| identity.fingerprint.to_string());
    Agent {
        agent_id: agent.id.to_string(),
        account_id: agent.account.0,
        status: agent.state.status().as_str().to_owned(),
        health: health.as_str().to_owned(),
        connected: view.connected,
        assurance: agent.assurance().as_str().to_owned(),
        identity_fingerprint: fingerprint.unwrap_or_default(),
        last_seen_at: view.last_seen.map(|at| at.to_string()).unwrap_or_default(),
        registered_at: agent.registered_at.to_string(),
        name: agent.name,
        version: agent.version.unwrap_or_default(),
        platform: agent.platform.unwrap_or_default(),
        hostname: agent.hostname.unwrap_or_default(),
        review: agent.review.as_ref().map(review).into(),
        external_id: view.called.unwrap_or_default(),
        replaced_by: view.replaced_by.map(|id| id.to_string()).unwrap_or_default(),
        outdated,
        ..Default::default()
    }
}

/// Limit and cursor; zero and empty are what a message has for absent.
fn page(limit: u32, cursor: &str) -> PageQuery {
    PageQuery {
        limit: (limit != 0).then_some(limit),
        cursor: (!cursor.is_empty()).then(|| cursor.to_owned()),
    }
}

fn next_cursor<T>(page: &AppPage<T>) -> String {
    page.next.as_ref().map(cursor_text).unwrap_or_default()
}

impl Admin {
    async fn create(
        &self,
        ctx: &RequestContext,
        request: CreateEnrollmentCodeRequest,
    ) -> AppResult<CreateEnrollmentCodeResponse> {
        let caller = call::operator(&self.0, ctx).await?;
        let wanted = CreateToken {
            name: request.name,
            account_id: request.account_id,
            expires_in: request.expires_in,
            max_uses: request.max_uses,
            auto_approve: Some(request.auto_approve),
            require_proof: Some(request.require_proof),
            labels: request.labels.into_iter().collect(),
        };
        let minted = self.0.create_token(&caller, &call::origin(ctx), wanted).await?;
        Ok(CreateEnrollmentCodeResponse {
            enrollment_token: minted.secret.reveal(),
            code: Some(code(&minted.token, self.0.now())).into(),
            ..Default::default()
        })
    }

    async fn list_codes(
        &self,
        ctx: &RequestContext,
        query: &PageQuery,
    ) -> AppResult<ListEnrollmentCodesResponse> {
        let caller = call::operator(&self.0, ctx).await?;
        let page = self.0.list_tokens(&caller, query).await?;
        let now = self.0.now();
        Ok(ListEnrollmentCodesResponse {
            next_cursor: next_cursor(&page),
            codes: page.items.iter().map(|token| code(token, now)).collect(),
            ..Default::default()
        })
    }

    async fn revoke_code(&self, ctx: &RequestContext, id: &str) -> AppResult<EnrollmentCode> {
        let caller = call::operator(&self.0, ctx).await?;
        let id = convert::id("id", id)?;
        let token = self.0.revoke_token(&caller, &call::origin(ctx), &id).await?;
        Ok(code(&token, self.0.now()))
    }

    async fn list(
        &self,
        ctx: &RequestContext,
        status: &str,
        query: &PageQuery,
    ) -> AppResult<ListAgentsResponse> {
        let caller = call::operator(&self.0, ctx).await?;
        let status = (!status.is_empty()).then(|| status.to_owned());
        let filter = AgentQuery { status, ..AgentQuery::default() };
        let page = self.0.list_agents(&caller, &filter, query).await?;
        Ok(ListAgentsResponse {
            next_cursor: next_cursor(&page),
            agents: page.items.into_iter().map(agent).collect(),
            ..Default::default()
        })
    }

    async fn confirm(
        &self,
        ctx: &RequestContext,
        agent_id: &str,
        fingerprint: &str,
    ) -> AppResult<ConfirmAgentResponse> {
        let caller = call::operator(&self.0, ctx).await?;
        let id = convert::id("agent_id", agent_id)?;
        let origin = call::origin(ctx);
        let fingerprint = (!fingerprint.is_empty()).then_some(fingerprint);
        let approved = self.0.approve_agent(&caller, &origin, &id, fingerprint).await?;
        Ok(ConfirmAgentResponse {
            agent: Some(agent(approved.snapshot)).into(),
            api_key: approved.api_key.map(|key| key.reveal()),
            ..Default::default()
        })
    }

    async fn rule(
        &self,
        ctx: &RequestContext,
        agent_id: &str,
        ruling: Ruling,
        reason: &str,
    ) -> AppResult<Agent> {
        let caller = call::operator(&self.0, ctx).await?;
        let id = convert::id("agent_id", agent_id)?;
        let origin = call::origin(ctx);
        self.0.rule_on_agent(&caller, &origin, &id, ruling, Some(reason)).await.map(agent)
    }
}

impl AgentAdminService for Admin {
    async fn create_enrollment_code<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, CreateEnrollmentCodeRequest>,
    ) -> ServiceResult<impl Encodable<CreateEnrollmentCodeResponse> + Send + use<'a>> {
        answer(self.create(&ctx, request.to_owned_message()).await)
    }

    async fn list_enrollment_codes<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, ListEnrollmentCodesRequest>,
    ) -> ServiceResult<impl Encodable<ListEnrollmentCodesResponse> + Send + use<'a>> {
        answer(self.list_codes(&ctx, &page(request.limit, request.cursor)).await)
    }

    async fn revoke_enrollment_code<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, RevokeEnrollmentCodeRequest>,
    ) -> ServiceResult<impl Encodable<RevokeEnrollmentCodeResponse> + Send + use<'a>> {
        let code = Some(answer(self.revoke_code(&ctx, request.id).await)?.body).into();
        Response::ok(RevokeEnrollmentCodeResponse { code, ..Default::default() })
    }

    async fn list_agents<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, ListAgentsRequest>,
    ) -> ServiceResult<impl Encodable<ListAgentsResponse> + Send + use<'a>> {
        let query = page(request.limit, request.cursor);
        answer(self.list(&ctx, request.status, &query).await)
    }

    async fn confirm_agent<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, ConfirmAgentRequest>,
    ) -> ServiceResult<impl Encodable<ConfirmAgentResponse> + Send + use<'a>> {
        answer(self.confirm(&ctx, request.agent_id, request.identity_fingerprint).await)
    }

    async fn reject_agent<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, RejectAgentRequest>,
    ) -> ServiceResult<impl Encodable<RejectAgentResponse> + Send + use<'a>> {
        let rejected = self.rule(&ctx, request.agent_id, Ruling::Reject, request.reason).await;
        let agent = Some(answer(rejected)?.body).into();
        Response::ok(RejectAgentResponse { agent, ..Default::default() })
    }

    async fn revoke_agent<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, RevokeAgentRequest>,
    ) -> ServiceResult<impl Encodable<RevokeAgentResponse> + Send + use<'a>> {
        let revoked = self.rule(&ctx, request.agent_id, Ruling::Revoke, request.reason).await;
        let agent = Some(answer(revoked)?.body).into();
        Response::ok(RevokeAgentResponse { agent, ..Default::default() })
    }
}
