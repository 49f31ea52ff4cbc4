//! Organisations, made by administrators of the installation: those of organisation `default`.
//!
//! *Invariant:* who made an organisation has no way into it but the first password of its first
//! administrator, which must be replaced at the first login.

use argosy_domain::{
    access::{Caller, Permission, Role},
    audit::AuditAction,
    id::OrgId,
    text,
};
use argosy_store::{Organisation, OrganisationChange, Page, StoreError};
use argosy_wire::rest::organisations::{CreateOrganisation, UpdateOrganisation};
use serde_json::json;

use super::{
    App, Origin,
    audit::Event,
    error::{AppError, AppResult},
    paging::PageQuery,
    users::MadeUser,
};

/// Characters of an organisation's id.
const ID_CHARS_MAX: usize = 64;
/// The account that every organisation begins with.
const FIRST_ACCOUNT: &str = "default";

/// What was made with an organisation.
pub struct MadeOrganisation {
    /// The organisation.
    pub organisation: Organisation,
    /// Number of its first account.
    pub account_id: i64,
    /// Its first administrator.
    pub admin: MadeUser,
}

fn id_of(text: &str) -> AppResult<OrgId> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let fits = text.len() <= ID_CHARS_MAX && text.bytes().all(plain) && !text.starts_with('-');
    let id = Some(text).filter(|_| fits).and_then(|text| text.parse().ok());
    id.ok_or_else(|| {
        let rule = "must be 1 to 64 of a-z 0-9 - and begin with a letter or digit";
        AppError::field("id", rule)
    })
}

fn taken(error: StoreError) -> AppError {
    if matches!(error, StoreError::Conflict { what: "organisation_id" }) {
        return AppError::wrong_state("there is such an organisation");
    }
    error.into()
}

impl App {
    /// Makes an organisation with an account and a first administrator.
    pub async fn create_organisation(
        &self,
        caller: &Caller,
        origin: &Origin,
        request: &CreateOrganisation,
    ) -> AppResult<MadeOrganisation> {
        Self::of_installation(caller, Permission::OrganisationsCreate)?;
        let id = id_of(&request.id)?;
        let name = text::name(&request.name).map_err(|error| AppError::field("name", error))?;
        let admin = request.admin.parse().map_err(|error| AppError::field("admin", error))?;
        let (new, password) = self.fresh_user(&id, admin, Role::Admin, "server".to_owned()).await?;
        let (now, actor) = (self.now(), caller.actor());
        let mut tx = self.store().write("organisations.create").await?;
        tx.orgs().create(&id, &name, now).await.map_err(taken)?;
        let account = tx.accounts().create(&id, FIRST_ACCOUNT, None, None, &[], now).await?;
        self.store_user(&mut tx, "server", origin, &new).await?;
        let event = Event {
            action: AuditAction::OrganisationCreated,
            org: &OrgId::default_org(),
            target: Some(format!("organisation:{id}")),
            detail: json!({ "name": name }),
        };
        self.record(&mut tx, &actor, origin, event).await?;
        tx.commit().await?;
        Ok(MadeOrganisation {
            organisation: Organisation { id, name, created_at: now, disabled_at: None },
            account_id: account.id.0,
            admin: MadeUser { user: new.user, password: Some(password) },
        })
    }

    /// Renames an organisation, shuts everybody of it out, or lets them in again.
    pub async fn update_organisation(
        &self,
        caller: &Caller,
        origin: &Origin,
        id: &OrgId,
        request: &UpdateOrganisation,
    ) -> AppResult<Organisation> {
        Self::of_installation(caller, Permission::OrganisationsUpdate)?;
        let name = request.name.as_deref().map(text::name).transpose();
        let name = name.map_err(|error| AppError::field("name", error))?;
        if request.disabled == Some(true) && *id == OrgId::default_org() {
            let why = "organisation default administers the installation and cannot be disabled";
            return Err(AppError::wrong_state(why));
        }
        let mut tx = self.store().write("organisations.update").await?;
        let before = tx.orgs().hold(id).await?;
        let before = before.ok_or_else(|| AppError::not_found("organisation"))?;
        let change = OrganisationChange {
            name: name.unwrap_or_else(|| before.name.clone()),
            disabled_at: match request.disabled {
                Some(true) => before.disabled_at.or(Some(self.now())),
                Some(false) => None,
                None => before.disabled_at,
            },
        };
        if change.name == before.name && change.disabled_at == before.disabled_at {
            tx.commit().await?;
            return Ok(before);
        }
        let after = tx.orgs().change(id, &change).await?;
        let after = after.ok_or_else(|| AppError::not_found("organisation"))?;
        let event = Event {
            action: AuditAction::OrganisationUpdated,
            org: &OrgId::default_org(),
            target: Some(format!("organisation:{id}")),
            detail: json!({ "name": after.name, "disabled": after.disabled_at.is_some() }),
        };
        self.record(&mut tx, &caller.actor(), origin, event).await?;
        tx.commit().await?;
        Ok(after)
    }

    /// One organisation.
    pub async fn show_organisation(&self, caller: &Caller, id: &OrgId) -> AppResult<Organisation> {
        Self::of_installation(caller, Permission::OrganisationsRead)?;
        let organisation = self.store().read("organisations.show").await?.orgs().get(id).await?;
        organisation.ok_or_else(|| AppError::not_found("organisation"))
    }

    /// The organisations of the installation, newest first.
    pub async fn list_organisations(
        &self,
        caller: &Caller,
        page: &PageQuery,
    ) -> AppResult<Page<Organisation>> {
        Self::of_installation(caller, Permission::OrganisationsRead)?;
        let mut reader = self.store().read("organisations.list").await?;
        Ok(reader.orgs().list(&page.request()?).await?)
    }
}
