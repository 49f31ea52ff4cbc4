//! Accounts: the list, a new one, and what can change about one.

use argosy_domain::{access::Permission, account::Account, id::AccountId};
use argosy_wire::rest::accounts::{CreateAccount, UpdateAccount};
use askama::Template;
use axum::http::StatusCode;

use super::{
    answer::{Shown, go, mendable, page, page_as, status_of},
    confirm::{Confirm, confirm},
    fields::Fields,
    frame::Frame,
    show::{self, When, when},
    visit::{Id, Sent, Visit},
};
use crate::app::agents::AgentQuery;

const LIST: &str = "/console/accounts";

/// An account in a list.
struct Row {
    id: i64,
    name: String,
    provider: String,
    external: String,
    regions: String,
    made: When,
    synced: When,
}

#[derive(Template)]
#[template(path = "accounts.html")]
struct AccountsPage {
    frame: Frame,
    rows: Vec<Row>,
    may_create: bool,
}

/// The list.
pub(super) async fn list(visit: Visit) -> Shown {
    let accounts = visit.app.list_accounts(&visit.caller).await?;
    let syncs = visit.app.last_syncs(&visit.caller).await?;
    let row = |account: Account| Row {
        id: account.id.0,
        name: account.name,
        provider: account.provider.unwrap_or_default(),
        external: account.external_id.unwrap_or_default(),
        regions: account.regions.join(", "),
        made: when(account.created_at, visit.app.now()),
        synced: when(syncs.get(&account.id).copied(), visit.app.now()),
    };
    page(&AccountsPage {
        frame: visit.frame("Accounts", "accounts").await,
        rows: accounts.into_iter().map(row).collect(),
        may_create: visit.may(Permission::AccountsCreate),
    })
}

/// An account that exists, as its page shows it.
struct Known {
    id: AccountId,
    made: When,
    synced: When,
    agents: String,
    may_delete: bool,
}

/// What was typed, or is so.
#[derive(Default)]
struct Typed {
    name: String,
    provider: String,
    external: String,
    regions: String,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    frame: Frame,
    /// None for a new one.
    known: Option<Known>,
    typed: Typed,
    may_save: bool,
    problem: &'a str,
}

fn typed(form: &Fields) -> Typed {
    let text = |name| form.text(name).to_owned();
    Typed {
        name: text("name"),
        provider: text("provider"),
        external: text("external_id"),
        regions: text("regions"),
    }
}

fn of(account: &Account) -> Typed {
    let account = account.clone();
    Typed {
        name: account.name,
        provider: account.provider.unwrap_or_default(),
        external: account.external_id.unwrap_or_default(),
        regions: account.regions.join("\n"),
    }
}

/// Regions as they are typed: one to a line, or with commas.
fn regions(form: &Fields) -> Vec<String> {
    let names = form.text("regions").split(['\n', ',']).map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

async fn new_page(visit: &Visit, status: StatusCode, typed: Typed, problem: &str) -> Shown {
    visit.must(Permission::AccountsCreate)?;
    let frame = visit.frame("New account", "accounts").await;
    page_as(status, &AccountPage { frame, known: None, typed, may_save: true, problem })
}

/// What a new account is called.
pub(super) async fn form(visit: Visit) -> Shown {
    new_page(&visit, StatusCode::OK, Typed::default(), "").await
}

/// Makes an account.
pub(super) async fn create(Sent { visit, form }: Sent) -> Shown {
    let request = CreateAccount {
        name: form.text("name").trim().to_owned(),
        provider: form.owned("provider"),
        external_id: form.owned("external_id"),
        regions: regions(&form),
    };
    match visit.app.create_account(&visit.caller, &visit.origin, &request).await {
        Ok(account) => go(&format!("{LIST}/{}?done=account-made", account.id)),
        Err(error) => {
            let (status, problem) = mendable(error)?;
            new_page(&visit, status, typed(&form), &problem).await
        }
    }
}

async fn account_page(
    visit: &Visit,
    id: AccountId,
    status: StatusCode,
    (again, problem): (Option<Typed>, &str),
) -> Shown {
    let account = visit.app.show_account(&visit.caller, id).await?;
    let of_account = AgentQuery { account: Some(id.0), ..AgentQuery::default() };
    let agents = match visit.may(Permission::AgentsRead) {
        true => visit.app.count_agents(&visit.caller, &of_account).await?,
        false => 0,
    };
    let syncs = visit.app.last_syncs(&visit.caller).await?;
    let known = Known {
        id,
        made: when(account.created_at, visit.app.now()),
        synced: when(syncs.get(&id).copied(), visit.app.now()),
        agents: show::several(agents, "agent", "agents"),
        may_delete: visit.may(Permission::AccountsDelete),
    };
    let frame = visit.frame(&format!("Account {}", account.name), "accounts").await;
    let typed = again.unwrap_or_else(|| of(&account));
    let may_save = visit.may(Permission::AccountsUpdate);
    page_as(status, &AccountPage { frame, known: Some(known), typed, may_save, problem })
}

/// One account.
pub(super) async fn show(visit: Visit, Id(id): Id<AccountId>) -> Shown {
    account_page(&visit, id, StatusCode::OK, (None, "")).await
}

/// Changes an account.
pub(super) async fn update(Id(id): Id<AccountId>, Sent { visit, form }: Sent) -> Shown {
    let request = UpdateAccount {
        name: Some(form.text("name").trim().to_owned()),
        provider: Some(form.text("provider").to_owned()),
        external_id: Some(form.text("external_id").to_owned()),
        regions: Some(regions(&form)),
    };
    match visit.app.update_account(&visit.caller, &visit.origin, id, &request).await {
        Ok(_) => go(&format!("{LIST}/{id}?done=saved")),
        Err(error) => {
            let (status, problem) = mendable(error)?;
            account_page(&visit, id, status, (Some(typed(&form)), &problem)).await
        }
    }
}

/// What follows from deleting an account.
pub(super) async fn delete_form(visit: Visit, Id(id): Id<AccountId>) -> Shown {
    let account = visit.app.show_account(&visit.caller, id).await?;
    visit.must(Permission::AccountsDelete)?;
    let about = Confirm {
        here: "accounts",
        list: ("Accounts", LIST),
        verb: "Delete",
        name: account.name,
        consequences: &[
            "Its name is free again; its number is never given to another.",
            "It is refused while agents, tokens or resources belong to it.",
            "The audit log stays, with its name in it.",
        ],
        action: format!("{LIST}/{id}/delete"),
    };
    confirm(&visit, about).await
}

/// Deletes an account.
pub(super) async fn delete(Id(id): Id<AccountId>, Sent { visit, .. }: Sent) -> Shown {
    match visit.app.delete_account(&visit.caller, &visit.origin, id).await {
        Ok(()) => go(&format!("{LIST}?done=account-deleted")),
        Err(error) if error.code.http() == 409 => {
            account_page(&visit, id, status_of(&error), (None, &error.detail)).await
        }
        Err(error) => Err(error.into()),
    }
}
