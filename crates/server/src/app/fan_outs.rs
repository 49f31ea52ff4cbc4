//! Fan-outs: given, followed and withdrawn.

mod steps;

use std::collections::BTreeMap;

use argosy_domain::{
    access::{Caller, Permission},
    agent::{AgentStatus, Health},
    audit::AuditAction,
    command::{Command, Withdrawal},
    fan_out::{FanOut, FanOutEnd, FanOutState, Tally},
    id::{AccountId, AgentId, FanOutId, OrgId},
    limits::{
        FAN_OUT_AGENTS_NAMED_MAX, FAN_OUT_CONCURRENCY_DEFAULT, FAN_OUT_CONCURRENCY_MAX, LABELS_MAX,
    },
};
use argosy_store::{AgentFilter, CommandFilter, Page, PageRequest, StoreError, Tx};
use argosy_wire::{
    problem::Code,
    rest::fan_outs::{CreateFanOut, Selector},
};
use serde_json::json;

use super::{
    App, Origin,
    agents::AgentSnapshot,
    audit::Event,
    commands::{Order, check_given_kind, key_in_use},
    error::{AppError, AppResult},
    paging::PageQuery,
};

/// Agents that a preview names.
const PREVIEWED_MAX: u32 = 20;

pub use argosy_store::{FanOutPlace, FanOutPlaces};

/// A fan-out and how far it is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The fan-out.
    pub fan_out: FanOut,
    /// How its agents stand.
    pub tally: Tally,
}

/// Whom an order would reach.
#[derive(Debug, Clone)]
pub struct Preview {
    /// How many agents.
    pub agents: u64,
    /// The newest of them.
    pub first: Vec<AgentSnapshot>,
}

impl App {
    /// Gives an order to every approved agent that the selector names.
    pub async fn create_fan_out(
        &self,
        caller: &Caller,
        origin: &Origin,
        request: &CreateFanOut,
    ) -> AppResult<Progress> {
        let org = Self::own_org(caller, Permission::CommandsCreate)?;
        check_given_kind(&request.kind)?;
        let fan_out = self.planned_fan_out(caller, org, request)?;
        let filter = self.selected(&request.selector)?;
        let mut tx = self.store().write("fan_outs.create").await?;
        if let Some(earlier) = Self::earlier_fan_out(&mut tx, &fan_out).await? {
            tx.commit().await?;
            return Ok(earlier);
        }
        self.give_fan_out(tx, (caller, origin), fan_out, &filter).await
    }

    /// What is asked for, checked.
    pub(super) fn planned_fan_out(
        &self,
        caller: &Caller,
        org: &OrgId,
        request: &CreateFanOut,
    ) -> AppResult<FanOut> {
        let order = self.order(
            (&request.kind, &request.params),
            request.expires_in.as_deref(),
            request.idempotency_key.clone(),
        )?;
        self.fan_out(caller, org, order, request)
    }

    /// The fan-out that was asked for with the same key before.
    pub(super) async fn earlier_fan_out(
        tx: &mut Tx,
        fan_out: &FanOut,
    ) -> AppResult<Option<Progress>> {
        let Some(key) = &fan_out.idempotency_key else { return Ok(None) };
        let earlier = tx.fan_outs().find_by_idempotency_key(&fan_out.org, key).await?;
        let Some(earlier) = earlier else { return Ok(None) };
        if !same_order(&earlier, fan_out) {
            return Err(AppError::new(Code::IdempotencyConflict));
        }
        let tally = tx.fan_outs().tally(&earlier.id).await?;
        Ok(Some(Progress { fan_out: earlier, tally }))
    }

    /// Keeps a fan-out for the approved agents that the filter lets through, and begins it.
    pub(super) async fn give_fan_out(
        &self,
        mut tx: Tx,
        (caller, origin): (&Caller, &Origin),
        fan_out: FanOut,
        filter: &AgentFilter,
    ) -> AppResult<Progress> {
        let agents = match tx.fan_outs().insert(&fan_out, filter).await {
            Ok(agents) => agents,
            Err(StoreError::Conflict { what: "fan_out_idempotency_key" }) => {
                return Err(key_in_use());
            }
            Err(error) => return Err(error.into()),
        };
        if agents == 0 {
            return Err(AppError::field("selector", "names no approved agent"));
        }
        let selector: serde_json::Value =
            serde_json::from_str(&fan_out.selector).unwrap_or_default();
        let event = Event {
            action: AuditAction::FanOutCreated,
            org: &fan_out.org,
            target: Some(format!("fan_out:{}", fan_out.id)),
            detail: json!({
                "agents": agents, "kind": fan_out.kind.as_str(), "selector": selector,
                "concurrency": fan_out.concurrency, "max_errors": fan_out.errors_max,
            }),
        };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        let tally = tx.fan_outs().tally(&fan_out.id).await?;
        tx.commit().await?;
        self.wake_fan_outs();
        Ok(Progress { fan_out, tally })
    }

    fn fan_out(
        &self,
        caller: &Caller,
        org: &OrgId,
        order: Order,
        request: &CreateFanOut,
    ) -> AppResult<FanOut> {
        let concurrency = request.concurrency.unwrap_or(FAN_OUT_CONCURRENCY_DEFAULT);
        if !(1..=FAN_OUT_CONCURRENCY_MAX).contains(&concurrency) {
            return Err(AppError::field("concurrency", "must be 1 to 50000"));
        }
        Ok(FanOut {
            id: self.ids().fresh(),
            org: org.clone(),
            kind: order.kind,
            params: order.params,
            selector: json!(request.selector).to_string(),
            concurrency,
            errors_max: request.max_errors,
            created_by: caller.actor(),
            created_at: self.now(),
            expires_at: order.expires_at,
            idempotency_key: order.idempotency_key,
            state: FanOutState::Running,
        })
    }

    pub(super) fn selected(&self, selector: &Selector) -> AppResult<AgentFilter> {
        let Selector { all, agents, account_id, labels, health, .. } = selector;
        let narrowed = Selector { all: false, ..selector.clone() } != Selector::default();
        if !all && !narrowed {
            return Err(AppError::field(
                "selector",
                "says nothing: all agents are {\"all\": true}",
            ));
        }
        if agents.len() > FAN_OUT_AGENTS_NAMED_MAX {
            return Err(AppError::field("selector.agents", "must be at most 10000"));
        }
        if labels.len() > LABELS_MAX {
            return Err(AppError::field("selector.labels", "must be at most 64"));
        }
        let ids = agents.iter().map(|id| id.parse::<AgentId>()).collect::<Result<Vec<_>, _>>();
        let ids = ids.map_err(|error| AppError::field("selector.agents", error))?;
        let health = health.as_deref().map(|text| {
            let health = Health::parse(text);
            health.ok_or_else(|| AppError::field("selector.health", "is unknown"))
        });
        Ok(AgentFilter {
            health: health.transpose()?.map(|health| (health, self.now())),
            account: account_id.map(AccountId),
            labels: labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            ids: (!ids.is_empty()).then_some(ids),
            q: selector.q.clone(),
            version: selector.version.clone(),
            connected: selector.connected,
            under_review: selector.under_review,
            ..AgentFilter::default()
        })
    }

    /// Whom an order to these agents would reach now. Nothing is changed.
    pub async fn preview_fan_out(
        &self,
        caller: &Caller,
        selector: &Selector,
    ) -> AppResult<Preview> {
        let org = Self::own_org(caller, Permission::CommandsCreate)?;
        let status = Some(AgentStatus::Approved);
        let filter = AgentFilter { status, ..self.selected(selector)? };
        let mut reader = self.store().read("fan_outs.preview").await?;
        let agents = reader.agents().count(org, &filter).await?;
        let page = PageRequest::first(PREVIEWED_MAX);
        let views = reader.agents().list(org, &filter, &page).await?.items;
        let first = views.into_iter().map(|view| self.snapshot(view, BTreeMap::new())).collect();
        Ok(Preview { agents, first })
    }

    /// One fan-out, and how far it is.
    pub async fn show_fan_out(&self, caller: &Caller, id: &FanOutId) -> AppResult<Progress> {
        self.progress_of(Self::own_org(caller, Permission::CommandsRead)?, id).await
    }

    /// The agents of a fan-out one by one.
    pub async fn list_fan_out_agents(
        &self,
        caller: &Caller,
        id: &FanOutId,
        wanted: &FanOutPlaces,
    ) -> AppResult<Vec<FanOutPlace>> {
        let org = Self::own_org(caller, Permission::CommandsRead)?;
        let mut reader = self.store().read("fan_outs.agents").await?;
        Ok(reader.fan_outs().places(org, id, wanted).await?)
    }

    /// The fan-outs of the caller's organisation, newest first.
    pub async fn list_fan_outs(
        &self,
        caller: &Caller,
        page: &PageQuery,
    ) -> AppResult<Page<Progress>> {
        let org = Self::own_org(caller, Permission::CommandsRead)?;
        let mut reader = self.store().read("fan_outs.list").await?;
        let page = reader.fan_outs().list(org, &page.request()?).await?;
        let mut items = Vec::new();
        for fan_out in page.items {
            let tally = reader.fan_outs().tally(&fan_out.id).await?;
            items.push(Progress { fan_out, tally });
        }
        Ok(Page { items, next: page.next })
    }

    /// The commands that a fan-out gave, newest first.
    pub async fn list_fan_out_commands(
        &self,
        caller: &Caller,
        id: &FanOutId,
        page: &PageQuery,
    ) -> AppResult<Page<Command>> {
        let org = Self::own_org(caller, Permission::CommandsRead)?;
        let mut reader = self.store().read("fan_outs.commands").await?;
        if reader.fan_outs().get(org, id).await?.is_none() {
            return Err(AppError::not_found("fan-out"));
        }
        let filter = CommandFilter { fan_out: Some(id.clone()), ..CommandFilter::default() };
        Ok(reader.commands().list(org, &filter, &page.request()?).await?)
    }

    /// Withdraws a fan-out: nothing more is begun, and its commands that have not ended are
    /// withdrawn too.
    pub async fn cancel_fan_out(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &FanOutId,
    ) -> AppResult<Progress> {
        let org = Self::own_org(caller, Permission::CommandsCancel)?;
        let mut tx = self.store().write("fan_outs.cancel").await?;
        let fan_out = tx.fan_outs().get(org, id).await?;
        let fan_out = fan_out.ok_or_else(|| AppError::not_found("fan-out"))?;
        let tally = tx.fan_outs().tally(id).await?;
        let ended = !tx.fan_outs().end(id, FanOutEnd::Cancelled, self.now()).await?;
        if ended && tally.open() == 0 {
            let detail = format!("a fan-out that is {} has nothing left", fan_out.state.as_str());
            return Err(AppError::wrong_state(detail));
        }
        let withdrawal = Withdrawal { by: caller.actor(), at: self.now() };
        let told = tx.fan_outs().withdraw(id, &withdrawal).await?;
        let event = Event {
            action: AuditAction::FanOutCancelled,
            org,
            target: Some(format!("fan_out:{id}")),
            detail: json!({ "waiting": tally.waiting(), "open": tally.open() }),
        };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        tx.commit().await?;
        for agent in &told {
            self.wake_agent(agent);
        }
        self.progress_of(org, id).await
    }

    async fn progress_of(&self, org: &OrgId, id: &FanOutId) -> AppResult<Progress> {
        let mut reader = self.store().read("fan_outs.show").await?;
        let fan_out = reader.fan_outs().get(org, id).await?;
        let fan_out = fan_out.ok_or_else(|| AppError::not_found("fan-out"))?;
        let tally = reader.fan_outs().tally(id).await?;
        Ok(Progress { fan_out, tally })
    }

    /// Something may have ended that a fan-out waits for.
    pub(crate) fn wake_fan_outs(&self) {
        self.inner.fan_outs.notify_one();
    }

    /// Returns when something may have ended that a fan-out waits for.
    pub async fn fan_outs_called(&self) {
        self.inner.fan_outs.notified().await;
    }
}

fn same_order(earlier: &FanOut, wanted: &FanOut) -> bool {
    earlier.kind == wanted.kind
        && earlier.params == wanted.params
        && earlier.selector == wanted.selector
        && earlier.concurrency == wanted.concurrency
        && earlier.errors_max == wanted.errors_max
}
