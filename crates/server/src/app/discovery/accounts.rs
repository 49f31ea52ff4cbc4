//! The account that a delivery is about.
//!
//! *Invariant:* an agent delivers for its own account, and for accounts that its account organises;
//! for no others, whatever a body says.

use argosy_domain::{
    access::{Caller, Decision, Permission, Target, decide},
    audit::AuditAction,
    id::AccountId,
    text,
};
use argosy_store::{StoreError, Tx};
use argosy_wire::problem::Code;
use serde_json::json;

use super::{
    super::{
        App, Origin,
        audit::Event,
        error::{AppError, AppResult},
    },
    delivery::Place,
    ingest::Deliverer,
};

/// The provider of an account whose agents may deliver for every account of the cloud organisation.
pub(super) const ORGANISATION: &str = "aws-org";

impl App {
    pub(super) async fn account_of(
        &self,
        tx: &mut Tx,
        deliverer: &Deliverer<'_>,
        place: &Place,
    ) -> AppResult<AccountId> {
        let asked = match place {
            Place::Account(asked) => asked.map(AccountId),
            Place::Member { external_id, provider } => {
                return self.member(tx, deliverer, (provider, external_id)).await;
            }
        };
        match (deliverer.account, asked) {
            (Some(own), None) => Ok(own),
            (Some(own), Some(asked)) if own == asked => Ok(own),
            (Some(_), Some(_)) => {
                Err(AppError::because(Code::Forbidden, "account_id is not this agent's account"))
            }
            (None, Some(asked)) => match tx.accounts().get(deliverer.org, asked).await? {
                Some(account) => Ok(account.id),
                None => Err(AppError::not_found("account")),
            },
            (None, None) => self.first_account(deliverer.org).await,
        }
    }

    /// The account of a cloud organisation's member; made where the caller may.
    async fn member(
        &self,
        tx: &mut Tx,
        deliverer: &Deliverer<'_>,
        (provider, external_id): (&str, &str),
    ) -> AppResult<AccountId> {
        let field = |error| AppError::field("accounts.aws_account_id", error);
        let external_id = text::name(external_id).map_err(field)?;
        let known = tx.accounts().of_provider(deliverer.org, provider, &external_id).await?;
        let Some(own) = deliverer.account else {
            return match known {
                Some(account) => Ok(account.id),
                None => self.make_member(tx, deliverer, (provider, &external_id), None).await,
            };
        };
        let organiser = tx.accounts().get(deliverer.org, own).await?;
        if organiser.is_none_or(|own| own.provider.as_deref() != Some(ORGANISATION)) {
            let why = format!("this agent's account is not of the provider {ORGANISATION}");
            return Err(AppError::because(Code::Forbidden, why));
        }
        match known {
            Some(account) if account.id == own || account.organised_by == Some(own) => {
                Ok(account.id)
            }
            Some(_) => {
                Err(AppError::because(Code::Forbidden, "this agent's account does not organise it"))
            }
            None => self.make_member(tx, deliverer, (provider, &external_id), Some(own)).await,
        }
    }

    async fn make_member(
        &self,
        tx: &mut Tx,
        deliverer: &Deliverer<'_>,
        (provider, external_id): (&str, &str),
        organised_by: Option<AccountId>,
    ) -> AppResult<AccountId> {
        let (caller, org) = (deliverer.caller, deliverer.org);
        let target = Target { org, agent: None };
        let may = match caller {
            Caller::Agent { .. } => organised_by.is_some(),
            Caller::Key { .. } | Caller::User { .. } | Caller::Server => {
                decide(caller, Permission::AccountsCreate, target) == Decision::Allow
            }
        };
        if !may {
            return Err(AppError::not_found("account; and making one needs accounts:create"));
        }
        let name = text::name(&format!("{provider}:{external_id}"))
            .map_err(|error| AppError::field("accounts.provider", error))?;
        let (given, now) = ((Some(provider), Some(external_id)), self.now());
        let made = match tx.accounts().create(org, &name, given.0, given.1, &[], now).await {
            Err(StoreError::Conflict { what: "account_name" }) => {
                return Err(AppError::wrong_state(format!("there is another account {name}")));
            }
            made => made?,
        };
        if let Some(by) = organised_by {
            tx.accounts().organise(org, made.id, by).await?;
        }
        let detail = json!({
            "name": name, "provider": provider, "external_id": external_id,
            "organised_by": organised_by,
        });
        let target = Some(format!("account:{}", made.id));
        let event = Event { action: AuditAction::AccountCreated, org, target, detail };
        self.record(tx, &caller.actor(), &Origin::default(), event).await?;
        Ok(made.id)
    }
}
