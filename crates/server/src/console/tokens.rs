//! Enrolment tokens: the list, one with the agents that used it, and its end.

use argosy_domain::{
    access::Permission,
    id::TokenId,
    token::{EnrolmentToken, TokenStatus},
};
use askama::Template;

use super::{
    agents::accounts_of,
    answer::{Shown, go, page},
    confirm::{Confirm, confirm},
    frame::Frame,
    show::{self, Badge, Fact, When, when},
    visit::{Id, Sent, Visit},
};
use crate::app::{
    agents::AgentQuery,
    error::AppResult,
    paging::{PageQuery, cursor_text},
};

const LIST: &str = "/console/tokens";

/// A token in a list.
struct Row {
    id: String,
    name: String,
    state: Badge,
    seats: String,
    approves: bool,
    expires: When,
    by: String,
}

/// An agent that used a token.
pub(super) struct Arrival {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) status: Badge,
    pub(super) connected: bool,
    pub(super) pending: bool,
    pub(super) groups: Vec<String>,
    pub(super) since: When,
}

fn state(token: &EnrolmentToken, visit: &Visit) -> Badge {
    let status = token.status(visit.app.now());
    let tone = match status {
        TokenStatus::Active => "ok",
        TokenStatus::UsedUp | TokenStatus::Expired => "off",
        TokenStatus::Revoked => "bad",
    };
    Badge::new(tone, status.as_str().replace('_', " "))
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensPage {
    frame: Frame,
    rows: Vec<Row>,
    may_create: bool,
    shown: String,
    next: String,
    first: String,
}

/// The list.
pub(super) async fn list(visit: Visit) -> Shown {
    let listed = visit.app.list_tokens(&visit.caller, &visit.paging()).await?;
    let cursor = listed.next.as_ref().map(cursor_text);
    let (next, first) = visit.turns(LIST, cursor.as_deref());
    let row = |token: &EnrolmentToken| Row {
        id: token.id.to_string(),
        name: token.name.clone(),
        state: state(token, &visit),
        seats: format!("{} of {}", token.seats.used, token.seats.max),
        approves: token.auto_approve,
        expires: when(token.expires_at, visit.app.now()),
        by: token.created_by.clone(),
    };
    let rows: Vec<Row> = listed.items.iter().map(row).collect();
    page(&TokensPage {
        frame: visit.frame("Enrolment tokens", "tokens").await,
        may_create: visit.may(Permission::TokensCreate),
        shown: show::several(rows.len() as u64, "token", "tokens"),
        next,
        first,
        rows,
    })
}

/// The agents that used a token, newest first.
pub(super) async fn arrivals(visit: &Visit, token: &TokenId) -> AppResult<Vec<Arrival>> {
    let query = AgentQuery { token: Some(token.clone()), ..AgentQuery::default() };
    let paging = PageQuery { limit: Some(20), cursor: None };
    let listed = visit.app.list_agents(&visit.caller, &query, &paging).await?;
    let arrival = |snapshot: &crate::app::agents::AgentSnapshot| {
        let agent = &snapshot.view.agent;
        let groups = agent.identity.as_ref().map(|i| show::groups(&i.fingerprint));
        let status = agent.state.status();
        Arrival {
            id: agent.id.to_string(),
            name: agent.name.clone(),
            status: show::status(status),
            connected: snapshot.view.connected,
            pending: status == argosy_domain::agent::AgentStatus::Pending,
            groups: groups.unwrap_or_default(),
            since: when(agent.registered_at, visit.app.now()),
        }
    };
    Ok(listed.items.iter().map(arrival).collect())
}

#[derive(Template)]
#[template(path = "token.html")]
struct TokenPage {
    frame: Frame,
    id: String,
    name: String,
    state: Badge,
    facts: Vec<Fact>,
    labels: Vec<String>,
    arrivals: Vec<Arrival>,
    may_revoke: bool,
}

/// One token, never its secret.
pub(super) async fn show(visit: Visit, Id(id): Id<TokenId>) -> Shown {
    let token = visit.app.show_token(&visit.caller, &id).await?;
    let accounts = accounts_of(&visit).await;
    let account = token.account.map(|account| account.0.to_string());
    let account = match account {
        None => "the machine chooses".to_owned(),
        Some(id) => accounts.into_iter().find(|(known, _)| *known == id).map_or(id, |(_, n)| n),
    };
    let yes = |yes: bool, no: &str| if yes { "yes" } else { no }.to_owned();
    let facts = vec![
        Fact::code("Id", token.id.to_string()),
        Fact::text("Seats taken", format!("{} of {}", token.seats.used, token.seats.max)),
        Fact::text("Account", account),
        Fact::text("Approves by itself", yes(token.auto_approve, "no, an operator compares")),
        Fact::text("Requires keys", yes(token.require_proof, "no")),
        Fact::text("Made", format!("{} by {}", show::exact(token.created_at), token.created_by)),
        Fact::text("Expires", show::exact(token.expires_at)),
    ];
    let standing = token.status(visit.app.now()) != TokenStatus::Revoked;
    page(&TokenPage {
        frame: visit.frame(&format!("Token {}", token.name), "tokens").await,
        id: id.to_string(),
        state: state(&token, &visit),
        facts,
        labels: token.labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        arrivals: arrivals(&visit, &id).await?,
        may_revoke: standing && visit.may(Permission::TokensRevoke),
        name: token.name,
    })
}

/// What follows from revoking a token.
pub(super) async fn revoke_form(visit: Visit, Id(id): Id<TokenId>) -> Shown {
    let token = visit.app.show_token(&visit.caller, &id).await?;
    visit.must(Permission::TokensRevoke)?;
    let about = Confirm {
        here: "tokens",
        list: ("Enrolment tokens", LIST),
        verb: "Revoke",
        name: token.name,
        consequences: &[
            "No further machine can ask to join with it.",
            "Registrations that still wait for approval under it are cancelled.",
            "Agents that were approved with it stay.",
        ],
        action: format!("{LIST}/{id}/revoke"),
    };
    confirm(&visit, about).await
}

/// Revokes a token.
pub(super) async fn revoke(Id(id): Id<TokenId>, Sent { visit, .. }: Sent) -> Shown {
    visit.app.revoke_token(&visit.caller, &visit.origin, &id).await?;
    go(&format!("{LIST}?done=token-revoked"))
}
