//! Decisions about one agent: each on a page of its own that says what follows from it.

use argosy_domain::{
    access::Permission, agent::AgentStatus, id::AgentId, limits::REASON_CHARS_MAX,
};
use askama::Template;
use axum::http::StatusCode;

use super::{
    answer::{Shown, go, mendable, page, page_as},
    approvals::{Asking, asking},
    frame::Frame,
    visit::{Id, Sent, Visit},
};
use crate::app::{
    agents::{AgentSnapshot, Replacement, Ruling},
    error::AppResult,
};

/// A decision that a page offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Reject,
    Quarantine,
    Restore,
    Revoke,
    Rebind,
    Replace,
    Delete,
}

impl Decision {
    /// The last part of its address.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Quarantine => "quarantine",
            Self::Restore => "restore",
            Self::Revoke => "revoke",
            Self::Rebind => "rebind",
            Self::Replace => "replace",
            Self::Delete => "delete",
        }
    }

    /// What a button says.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Reject => "Reject",
            Self::Quarantine => "Quarantine",
            Self::Restore => "Restore",
            Self::Revoke => "Revoke",
            Self::Rebind => "Rebind",
            Self::Replace => "Replace",
            Self::Delete => "Delete",
        }
    }

    /// Whether it can be taken back.
    fn is_final(self) -> bool {
        match self {
            Self::Reject | Self::Revoke | Self::Replace | Self::Delete => true,
            Self::Quarantine | Self::Restore | Self::Rebind => false,
        }
    }

    pub(super) fn permission(self) -> Permission {
        match self {
            Self::Reject | Self::Rebind => Permission::AgentsApprove,
            Self::Quarantine | Self::Restore => Permission::AgentsQuarantine,
            Self::Revoke | Self::Replace => Permission::AgentsRevoke,
            Self::Delete => Permission::AgentsDelete,
        }
    }

    /// What follows from it, one sentence each.
    pub(super) fn consequences(self) -> &'static [&'static str] {
        match self {
            Self::Reject => &[
                "The machine is turned away and gets no credentials.",
                "The seat of its token stays taken; its name is free again.",
                "To join after all it registers anew, with a fresh token.",
            ],
            Self::Quarantine => &[
                "The agent may handshake and heartbeat, so you still see it.",
                "It gets no commands, no configuration and no secrets, and what it sends is refused.",
                "What it runs goes on running. You can restore it at any time.",
            ],
            Self::Restore => &[
                "The agent gets commands again, and what it sends is taken.",
                "A review ends: you confirm that its present machine and state are the right ones.",
                "If it was cloned and both copies still run, it is quarantined again.",
            ],
            Self::Revoke => &[
                "Within a second its stream closes, its sessions and keys die, on every server.",
                "Commands that were not sent are cancelled; those that were end as lost.",
                "It never comes back by itself: the machine must enrol anew, with a fresh token.",
            ],
            Self::Rebind => &[
                "The agent is bound to the machine that last showed its identity.",
                "The machine that it was bound to before is refused from now on.",
                "Do this only if you moved or rebuilt the machine yourself.",
            ],
            Self::Replace => &[
                "The agent that you name takes over from this one.",
                "This one is revoked and fenced off, as by Revoke.",
            ],
            Self::Delete => &[
                "The agent and everything that is kept of it goes: inventory, telemetry, events, commands.",
                "If it is still admitted, it is shut out at once.",
                "The audit log stays, with its name in it.",
            ],
        }
    }

    /// The notice afterwards.
    fn done(self) -> &'static str {
        match self {
            Self::Reject => "rejected",
            Self::Quarantine => "quarantined",
            Self::Restore => "restored",
            Self::Revoke => "revoked",
            Self::Rebind => "rebound",
            Self::Replace => "replaced",
            Self::Delete => "deleted",
        }
    }

    /// What makes sense for an agent as it stands.
    pub(super) fn fitting(snapshot: &AgentSnapshot) -> Vec<Self> {
        let agent = &snapshot.view.agent;
        let reviewed = agent.review.is_some();
        match agent.state.status() {
            AgentStatus::Pending => vec![Self::Reject],
            AgentStatus::Approved if reviewed => {
                vec![Self::Restore, Self::Rebind, Self::Quarantine, Self::Replace, Self::Revoke]
            }
            AgentStatus::Approved => vec![Self::Quarantine, Self::Replace, Self::Revoke],
            AgentStatus::Quarantined if reviewed => {
                vec![Self::Restore, Self::Rebind, Self::Replace, Self::Revoke]
            }
            AgentStatus::Quarantined => vec![Self::Restore, Self::Replace, Self::Revoke],
            AgentStatus::Rejected
            | AgentStatus::Expired
            | AgentStatus::Cancelled
            | AgentStatus::Revoked => vec![Self::Delete],
        }
    }
}

#[derive(Template)]
#[template(path = "ruling.html")]
struct RulingPage<'a> {
    frame: Frame,
    decision: Decision,
    id: &'a AgentId,
    name: String,
    consequences: &'static [&'static str],
    irreversible: bool,
    allowed: bool,
    reason: &'a str,
    reason_chars_max: usize,
    successor: &'a str,
    problem: &'a str,
}

#[derive(Template)]
#[template(path = "approve.html")]
struct ApprovePage<'a> {
    frame: Frame,
    ask: Asking,
    waits: bool,
    problem: &'a str,
}

#[derive(Template)]
#[template(path = "approved.html")]
struct ApprovedPage<'a> {
    frame: Frame,
    id: &'a AgentId,
    name: String,
    key: String,
}

/// What was typed, when a form is shown again.
#[derive(Default)]
struct Typed<'a> {
    reason: &'a str,
    successor: &'a str,
    problem: &'a str,
}

async fn ruling_page(
    visit: &Visit,
    (id, decision): (&AgentId, Decision),
    status: StatusCode,
    typed: Typed<'_>,
) -> Shown {
    let snapshot = visit.app.show_agent(&visit.caller, id).await?;
    visit.must(decision.permission())?;
    let name = snapshot.view.agent.name.clone();
    let title = format!("{} {name}", decision.verb());
    page_as(
        status,
        &RulingPage {
            frame: visit.frame(&title, "agents").await,
            decision,
            id,
            consequences: decision.consequences(),
            irreversible: decision.is_final(),
            allowed: decision == Decision::Delete
                || Decision::fitting(&snapshot).contains(&decision),
            reason: typed.reason,
            reason_chars_max: REASON_CHARS_MAX,
            successor: typed.successor,
            problem: typed.problem,
            name,
        },
    )
}

async fn take(sent: &Sent, id: &AgentId, decision: Decision) -> AppResult<()> {
    let Sent { visit: Visit { app, caller, origin, .. }, form } = sent;
    let reason = form.given("reason");
    let rule = |ruling| app.rule_on_agent(caller, origin, id, ruling, reason);
    match decision {
        Decision::Reject => rule(Ruling::Reject).await?,
        Decision::Quarantine => rule(Ruling::Quarantine).await?,
        Decision::Restore => rule(Ruling::Restore).await?,
        Decision::Revoke => rule(Ruling::Revoke).await?,
        Decision::Rebind => app.rebind_agent(caller, origin, id, None, reason).await?,
        Decision::Replace => {
            let successor = form.text("successor").trim();
            app.replace_agent(caller, origin, id, &Replacement { successor, reason }).await?
        }
        Decision::Delete => return app.delete_agent(caller, origin, id).await,
    };
    Ok(())
}

async fn rule(sent: Sent, id: AgentId, decision: Decision) -> Shown {
    match take(&sent, &id, decision).await {
        Ok(()) if decision == Decision::Delete => go("/console/agents?done=deleted"),
        Ok(()) => go(&format!("/console/agents/{id}?done={}", decision.done())),
        Err(error) => {
            let (status, problem) = mendable(error)?;
            let (visit, form) = (&sent.visit, &sent.form);
            let (reason, successor) = (form.text("reason"), form.text("successor"));
            let typed = Typed { reason, successor, problem: &problem };
            ruling_page(visit, (&id, decision), status, typed).await
        }
    }
}

macro_rules! decisions {
    ($($form:ident $take:ident $decision:ident;)*) => {
        $(
            /// What follows from it, before it is decided.
            pub(super) async fn $form(visit: Visit, Id(id): Id<AgentId>) -> Shown {
                ruling_page(&visit, (&id, Decision::$decision), StatusCode::OK, Typed::default()).await
            }

            /// The decision itself.
            pub(super) async fn $take(Id(id): Id<AgentId>, sent: Sent) -> Shown {
                rule(sent, id, Decision::$decision).await
            }
        )*
    };
}

decisions! {
    reject_form reject Reject;
    quarantine_form quarantine Quarantine;
    restore_form restore Restore;
    revoke_form revoke Revoke;
    rebind_form rebind Rebind;
    replace_form replace Replace;
    delete_form delete Delete;
}

async fn approve_page(visit: &Visit, id: &AgentId, status: StatusCode, problem: &str) -> Shown {
    let snapshot = visit.app.show_agent(&visit.caller, id).await?;
    visit.must(Permission::AgentsApprove)?;
    let ask = asking(visit, &snapshot);
    let title = format!("Approve {}", ask.name);
    let waits = snapshot.view.agent.state.status() == AgentStatus::Pending;
    page_as(
        status,
        &ApprovePage { frame: visit.frame(&title, "approvals").await, ask, waits, problem },
    )
}

/// The fingerprint, for two people to compare.
pub(super) async fn approve_form(visit: Visit, Id(id): Id<AgentId>) -> Shown {
    approve_page(&visit, &id, StatusCode::OK, "").await
}

/// Approves what was compared, if it is still the same.
pub(super) async fn approve(Id(id): Id<AgentId>, Sent { visit, form }: Sent) -> Shown {
    if !form.has("match") {
        let problem = "Say that they match, once you have compared them.";
        return approve_page(&visit, &id, StatusCode::UNPROCESSABLE_ENTITY, problem).await;
    }
    let compared = form.given("fingerprint");
    let decided = visit.app.approve_agent(&visit.caller, &visit.origin, &id, compared).await;
    let approved = match decided {
        Ok(approved) => approved,
        Err(error) => {
            let (status, problem) = mendable(error)?;
            return approve_page(&visit, &id, status, &problem).await;
        }
    };
    let Some(key) = approved.api_key else {
        return go(&format!("/console/agents/{id}?done=approved"));
    };
    let frame = visit.frame("Approved", "approvals").await;
    let name = approved.snapshot.view.agent.name;
    page(&ApprovedPage { frame, id: &id, name, key: key.reveal() })
}
