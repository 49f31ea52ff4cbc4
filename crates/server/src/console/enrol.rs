//! The way for a machine to join: a token is made and shown once, with what to run on the machine,
//! and the page waits until the machine is there.

use argosy_domain::{access::Permission, limits::TOKEN_SEATS_MAX};
use argosy_wire::rest::tokens::CreateToken;
use askama::Template;
use axum::http::StatusCode;

use super::{
    agent::typed_labels,
    agents::{accounts_of, or_any},
    answer::{Shown, page, page_as, status_of},
    fields::Fields,
    frame::Frame,
    show,
    tokens::{Arrival, arrivals},
    visit::{Sent, Visit},
};
use crate::app::{
    error::{AppError, AppResult},
    template::{Format, TOKEN_PLACEHOLDER},
    tokens::MintedToken,
};

/// Lives of a token that a form offers.
const LIVES: [(&str, &str); 5] =
    [("1h", "1 hour"), ("24h", "1 day"), ("7d", "7 days"), ("30d", "30 days"), ("90d", "90 days")];

#[derive(Template)]
#[template(path = "enrol.html")]
struct EnrolPage<'a> {
    frame: Frame,
    accounts: Vec<(String, String)>,
    lives: Vec<(String, String)>,
    name: &'a str,
    account: &'a str,
    life: &'a str,
    seats: &'a str,
    seats_max: u32,
    labels: &'a str,
    approves: bool,
    keyless: bool,
    may_approve: bool,
    problem: &'a str,
}

#[derive(Template)]
#[template(path = "enrolling.html")]
struct EnrollingPage {
    frame: Frame,
    id: String,
    name: String,
    token: String,
    seats: u32,
    expires: String,
    approves: bool,
    enrol: String,
    run: String,
    unit: &'static str,
    config: String,
    arrivals: Vec<Arrival>,
}

async fn form_page(visit: &Visit, status: StatusCode, typed: &Fields, problem: &str) -> Shown {
    visit.must(Permission::TokensCreate)?;
    let given = |name: &str| typed.given(name);
    let lives = LIVES.map(|(span, words)| (span.to_owned(), words.to_owned())).to_vec();
    page_as(
        status,
        &EnrolPage {
            frame: visit.frame("Enrol an agent", "enrol").await,
            accounts: or_any("The machine chooses", accounts_of(visit).await),
            lives,
            name: typed.text("name"),
            account: typed.text("account"),
            life: given("life").unwrap_or("24h"),
            seats: given("seats").unwrap_or("1"),
            seats_max: TOKEN_SEATS_MAX,
            labels: typed.text("labels"),
            approves: typed.has("approves"),
            keyless: typed.has("keyless"),
            may_approve: visit.may(Permission::AgentsApprove),
            problem,
        },
    )
}

/// What the token shall be good for.
pub(super) async fn form(visit: Visit) -> Shown {
    form_page(&visit, StatusCode::OK, &Fields::default(), "").await
}

fn wanted(form: &Fields) -> AppResult<CreateToken> {
    let number = |field: &'static str, text: &str| {
        text.parse().map_err(|_| AppError::field(field, "must be a whole number"))
    };
    Ok(CreateToken {
        name: form.text("name").trim().to_owned(),
        account_id: form.given("account").map(|text| number("account", text)).transpose()?,
        expires_in: form.owned("life"),
        max_uses: match form.given("seats") {
            Some(text) => {
                Some(text.parse().map_err(|_| AppError::field("seats", "must be a number"))?)
            }
            None => None,
        },
        auto_approve: Some(form.has("approves")),
        require_proof: Some(!form.has("keyless")),
        labels: typed_labels(form.text("labels"))?,
    })
}

/// A unit for systemd with which the agent starts when the machine does.
const UNIT: &str = include_str!("../../../../deploy/systemd/argosy-agent.service");

async fn enrolling(visit: &Visit, minted: MintedToken) -> Shown {
    let MintedToken { token, secret } = minted;
    let text = secret.reveal();
    let url = visit.app.rules().public_urls.first().cloned().unwrap_or_default();
    let account = token.account.map(|account| account.0);
    let config = visit.app.config_template(&visit.caller, account, Format::Toml).await?;
    page(&EnrollingPage {
        frame: visit.frame("Enrol an agent", "enrol").await,
        id: token.id.to_string(),
        seats: token.seats.max,
        expires: show::exact(token.expires_at),
        approves: token.auto_approve,
        enrol: format!("ARGOSY_BOOTSTRAP_TOKEN='{text}' argosy-agent enroll --server {url}"),
        run: "argosy-agent run".to_owned(),
        unit: UNIT,
        config: config.replace(TOKEN_PLACEHOLDER, &text),
        arrivals: arrivals(visit, &token.id).await?,
        name: token.name,
        token: text,
    })
}

/// Makes the token. Its answer is the only one that ever shows it.
pub(super) async fn create(Sent { visit, form }: Sent) -> Shown {
    let minted = match wanted(&form) {
        Ok(request) => visit.app.create_token(&visit.caller, &visit.origin, request).await,
        Err(error) => Err(error),
    };
    match minted {
        Ok(minted) => enrolling(&visit, minted).await,
        Err(error) if error.code.http() == 422 => {
            form_page(&visit, status_of(&error), &form, &error.detail).await
        }
        Err(error) => Err(error.into()),
    }
}
