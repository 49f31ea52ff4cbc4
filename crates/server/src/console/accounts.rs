//! Accounts, with a way to the agents of each.

use argosy_domain::account::Account;
use askama::Template;

use super::{
    answer::{Shown, page},
    frame::Frame,
    show::{When, when},
    visit::Visit,
};

/// An account.
struct Row {
    id: i64,
    name: String,
    provider: String,
    external: String,
    regions: String,
    made: When,
}

#[derive(Template)]
#[template(path = "accounts.html")]
struct AccountsPage {
    frame: Frame,
    rows: Vec<Row>,
}

/// The list.
pub(super) async fn list(visit: Visit) -> Shown {
    let accounts = visit.app.list_accounts(&visit.caller).await?;
    let row = |account: Account| Row {
        id: account.id.0,
        name: account.name,
        provider: account.provider.unwrap_or_default(),
        external: account.external_id.unwrap_or_default(),
        regions: account.regions.join(", "),
        made: when(account.created_at, visit.app.now()),
    };
    let rows = accounts.into_iter().map(row).collect();
    page(&AccountsPage { frame: visit.frame("Accounts", "accounts").await, rows })
}
