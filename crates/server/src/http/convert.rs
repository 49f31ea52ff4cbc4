//! Domain values → wire shapes.

use std::{collections::BTreeMap, time::Duration};

use argosy_domain::{
    account::Account,
    agent::{AgentState, AgentStatus},
    command::Command,
    fan_out::FanOutState,
    id::AgentId,
    labels::Labels,
    review::{self as domain, Review},
    time::Timestamp,
    token::EnrolmentToken,
};
use argosy_wire::{
    bytes::encode,
    rest::{
        Page,
        accounts::Account as WireAccount,
        agents::{Agent, Review as WireReview, Sighting},
        commands::{Command as WireCommand, Receipt},
        enrolment::{ServerKeys, SignedJson},
        fan_outs::FanOut as WireFanOut,
        inventory::InventoryReport,
        keys::ApiKey,
        security::SecurityEvent,
        subsystems::{BreakerChange, Subsystem as WireSubsystem, Subsystems},
        system::AuditEntry,
        tokens::Token,
    },
    sign::Signed,
    succession::Cosigned,
};

use crate::app::{
    agents::AgentSnapshot,
    commands::{Receipted, end_of},
    enrolment::approval_status,
    fan_outs::Progress,
    keyring::Keyring,
    paging::{self, AppPage},
    records::{AgentEventRecord, AuditRecord, KeyRecord, ReportRecord, SecurityRecord},
    subsystems::AgentSubsystems,
};

pub(super) fn text(at: Timestamp) -> String {
    at.to_string()
}

fn map(labels: &Labels) -> BTreeMap<String, String> {
    labels.clone().into()
}

pub(super) fn page<T, W>(page: AppPage<T>, convert: impl Fn(T) -> W) -> Page<W> {
    Page {
        next_cursor: page.next.as_ref().map(paging::cursor_text),
        items: page.items.into_iter().map(convert).collect(),
    }
}

pub(super) fn token(token: &EnrolmentToken, now: Timestamp) -> Token {
    Token {
        id: token.id.to_string(),
        name: token.name.clone(),
        state: token.status(now).as_str().to_owned(),
        account_id: token.account.map(|account| account.0),
        uses: token.seats.used,
        max_uses: token.seats.max,
        auto_approve: token.auto_approve,
        require_proof: token.require_proof,
        labels: map(&token.labels),
        created_by: token.created_by.clone(),
        created_at: text(token.created_at),
        expires_at: text(token.expires_at),
    }
}

fn reason(state: &AgentState) -> Option<String> {
    match state {
        AgentState::Quarantined { closure, .. }
        | AgentState::Rejected(closure)
        | AgentState::Revoked(closure) => closure.reason.clone(),
        AgentState::Pending { .. }
        | AgentState::Approved(_)
        | AgentState::Expired { .. }
        | AgentState::Cancelled { .. } => None,
    }
}

fn review(review: &Review) -> WireReview {
    let sighting = |seen: &domain::Appearance| Sighting {
        source: seen.source.clone(),
        machine: seen.machine_digest(),
        version: seen.version.clone(),
        at: text(seen.at),
    };
    WireReview {
        reason: review.reason.as_str().to_owned(),
        since: text(review.since),
        origins: review.origins.iter().map(sighting).collect(),
    }
}

pub(super) fn agent(snapshot: AgentSnapshot) -> Agent {
    let AgentSnapshot { view, health, breakers, outdated } = snapshot;
    let agent = view.agent;
    let status: AgentStatus = agent.state.status();
    let approval = agent.state.approval();
    Agent {
        approval_status: approval_status(status).to_owned(),
        status: status.as_str().to_owned(),
        health: health.as_str().to_owned(),
        connected: view.connected,
        assurance: agent.assurance().as_str().to_owned(),
        fingerprint: agent.identity.as_ref().map(|identity| identity.fingerprint.to_string()),
        machine_bound: agent.identity.as_ref().is_some_and(|i| i.machine_id.is_some()),
        last_seen_at: view.last_seen.map(text),
        registered_at: text(agent.registered_at),
        registered_from: agent.source,
        approved_by: approval.map(|approval| approval.by.to_string()),
        approved_at: approval.map(|approval| text(approval.at)),
        breakers,
        review: agent.review.as_ref().map(review),
        external_id: view.called,
        replaced_by: view.replaced_by.map(|id| id.to_string()),
        outdated,
        reason: reason(&agent.state),
        agent_id: agent.id.to_string(),
        name: agent.name,
        account_id: agent.account.0,
        version: agent.version,
        platform: agent.platform,
        hostname: agent.hostname,
        labels: map(&agent.labels),
    }
}

pub(super) fn signed(signed: &Signed) -> SignedJson {
    SignedJson { payload: encode(&signed.payload), signature: signed.signature.to_string() }
}

/// The server's identity with the certificates that go with an answer.
pub(super) fn server_keys<'c>(
    keyring: &Keyring,
    certificates: impl IntoIterator<Item = &'c Signed>,
) -> ServerKeys {
    ServerKeys {
        identity_key: keyring.identity_public().to_string(),
        thumbprint: keyring.thumbprint().to_string(),
        certificates: certificates.into_iter().map(signed).collect(),
        successors: keyring.successors().iter().map(Cosigned::to_json).collect(),
    }
}

/// Stored JSON as a value; a document that is none shows as null.
fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

pub(super) fn command(command: &Command) -> WireCommand {
    let end = end_of(command);
    let result = command.result.as_ref();
    WireCommand {
        id: command.id.to_string(),
        agent_id: command.agent.to_string(),
        kind: command.kind.as_str().to_owned(),
        params: json(&command.params),
        state: command.state.as_str().to_owned(),
        sequence: command.sequence.0,
        created_by: command.created_by.clone(),
        created_at: text(command.created_at),
        expires_at: text(command.expires_at),
        withdrawn_at: command.withdrawn.as_ref().map(|withdrawn| text(withdrawn.at)),
        withdrawn_by: command.withdrawn.as_ref().map(|withdrawn| withdrawn.by.clone()),
        ended_at: end.map(|end| text(end.at)),
        detail: end.and_then(|end| end.detail.clone()),
        result: result.map(|result| json(&result.payload)),
        receipt_available: result.is_some_and(|result| result.receipt.is_some()),
        unsigned: result.is_some_and(|result| result.receipt.is_none()),
    }
}

pub(super) fn fan_out(progress: &Progress) -> WireFanOut {
    let Progress { fan_out, tally } = progress;
    let ended_at = match fan_out.state {
        FanOutState::Running => None,
        FanOutState::Ended { at, .. } => Some(text(at)),
    };
    WireFanOut {
        id: fan_out.id.to_string(),
        selector: serde_json::from_str(&fan_out.selector).unwrap_or_default(),
        kind: fan_out.kind.as_str().to_owned(),
        params: json(&fan_out.params),
        state: fan_out.state.as_str().to_owned(),
        total: tally.total(),
        agents: tally.0.clone(),
        errors: tally.errors(),
        concurrency: fan_out.concurrency,
        max_errors: fan_out.errors_max,
        created_by: fan_out.created_by.clone(),
        created_at: text(fan_out.created_at),
        expires_at: text(fan_out.expires_at),
        ended_at,
    }
}

pub(super) fn subsystems(agent: &AgentId, shown: &AgentSubsystems) -> Subsystems {
    let AgentSubsystems { configuration, subsystems, history } = shown;
    let change = |event: &AgentEventRecord| BreakerChange {
        at: text(event.at),
        change: event.kind.trim_start_matches("breaker.").to_owned(),
        message: event.message.clone(),
    };
    let of = |name: &str| {
        let about = format!("the breaker of {name} ");
        history.iter().filter(|event| event.message.starts_with(&about)).map(change).collect()
    };
    let items = subsystems.iter().map(|row| WireSubsystem {
        name: row.subsystem.as_str().to_owned(),
        enabled: row.schedule.enabled,
        auto_run: row.schedule.auto_run,
        interval_s: row.schedule.interval.as_secs(),
        timeout_s: row.schedule.timeout.as_secs(),
        breaker: row.breaker.clone(),
        history: of(row.subsystem.as_str()),
        last_run_at: row.last_run_at.map(text),
        last_error: row.last_error.clone(),
    });
    Subsystems {
        agent_id: agent.to_string(),
        generation: configuration.wanted.0,
        applied_generation: configuration.applied.0,
        applied_at: configuration.applied_at.map(text),
        refused: configuration.refused.clone(),
        items: items.collect(),
    }
}

pub(super) fn receipt(receipted: &Receipted) -> Receipt {
    let command = &receipted.command;
    let result = command.result.as_ref();
    let part = |part: Option<&Vec<u8>>| part.map(|bytes| encode(bytes)).unwrap_or_default();
    Receipt {
        command_id: command.id.to_string(),
        agent_id: command.agent.to_string(),
        identity_key: encode(&receipted.identity_key),
        receipt: SignedJson {
            payload: part(result.and_then(|result| result.receipt.as_ref())),
            signature: part(result.and_then(|result| result.receipt_signature.as_ref())),
        },
        result: part(result.map(|result| &result.payload)),
    }
}

pub(super) fn account(account: Account, last_sync: Option<Timestamp>) -> WireAccount {
    WireAccount {
        id: account.id.0,
        name: account.name,
        provider: account.provider,
        external_id: account.external_id,
        regions: account.regions,
        created_at: text(account.created_at),
        last_sync_at: last_sync.map(text),
    }
}

/// A key of this age should be replaced, whatever its expiry.
const ROTATION_DUE_DAYS: u32 = 365;
/// A key that ends this soon should be replaced.
const ROTATION_BEFORE_EXPIRY: Duration = Duration::from_secs(14 * 86_400);

pub(super) fn key(key: KeyRecord, now: Timestamp) -> ApiKey {
    let age_days = u32::try_from(now.since(key.created_at).as_secs() / 86_400).unwrap_or(u32::MAX);
    let ends_soon = key.expires_at.is_some_and(|end| end.minus(ROTATION_BEFORE_EXPIRY) <= now);
    let minted = key.minted;
    ApiKey {
        age_days,
        rotation_due: key.revoked_at.is_none() && (age_days >= ROTATION_DUE_DAYS || ends_soon),
        revoked_at: key.revoked_at.map(text),
        created_by: minted.as_ref().map(|minted| minted.created_by.clone()),
        parent_id: minted.and_then(|minted| minted.parent).map(|parent| parent.to_string()),
        prefix: format!("argosy_{}_", key.id),
        id: key.id.to_string(),
        name: key.name,
        owner: key.owner,
        scopes: key.scopes.iter().map(str::to_owned).collect(),
        created_at: text(key.created_at),
        expires_at: key.expires_at.map(text),
        last_used_at: key.last_used_at.map(text),
    }
}

pub(super) fn audit(row: AuditRecord) -> AuditEntry {
    AuditEntry {
        id: row.id,
        at: text(row.at),
        actor: row.actor,
        action: row.action,
        target: row.target,
        detail: json(row.detail.as_bytes()),
        source: row.source,
        trace_id: row.trace_id,
    }
}

pub(super) fn security_event(row: SecurityRecord) -> SecurityEvent {
    SecurityEvent {
        id: row.id,
        kind: row.kind,
        agent_id: row.agent,
        source: row.source,
        detail: json(row.detail.as_bytes()),
        first_at: text(row.first_at),
        last_at: text(row.last_at),
        count: row.times,
    }
}

pub(super) fn report(row: &ReportRecord) -> InventoryReport {
    InventoryReport {
        subsystem: row.subsystem.as_str().to_owned(),
        captured_at: text(row.captured_at),
        received_at: text(row.received_at),
        duration_ms: row.duration_ms,
        report: json(&row.report),
    }
}
