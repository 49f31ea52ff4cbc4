//! `argosy user|organisation|settings …`

use argosy_wire::rest::{
    organisations::{CreateOrganisation, CreatedOrganisation, Organisation, UpdateOrganisation},
    settings::Settings,
    users::{CreateUser, UpdateUser, User, UserWithPassword},
};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{Context, login};
use crate::{
    args::{OrganisationCommand, Role, SettingsCommand, UserCommand},
    error::CliError,
    output::people,
};

const SETTINGS: &str = "/api/v1/settings";
const USERS: &str = "/api/v1/users";
const ORGANISATIONS: &str = "/api/v1/organisations";

fn role_name(role: Role) -> String {
    match role {
        Role::Admin => "admin",
        Role::Operator => "operator",
        Role::Viewer => "viewer",
    }
    .to_owned()
}

/// The user of that name or id.
async fn find(context: &Context<'_>, wanted: &str) -> Result<User, CliError> {
    let listed = context.client.list::<User>(USERS, &[], u32::MAX).await?;
    let name = wanted.to_lowercase();
    let found = listed.items.into_iter().find(|user| user.id == wanted || user.name == name);
    found.ok_or_else(|| CliError::Missing {
        message: format!("there is no user {wanted:?}"),
        hint: "see them with `argosy user list`".to_owned(),
    })
}

async fn path_of(context: &Context<'_>, wanted: &str) -> Result<String, CliError> {
    find(context, wanted).await.map(|user| format!("{USERS}/{}", user.id))
}

/// `argosy user …`
pub async fn user(context: &Context<'_>, command: UserCommand) -> Result<(), CliError> {
    let Context { client, printer, .. } = context;
    let change =
        |role, disabled, reset_password| UpdateUser { name: None, role, disabled, reset_password };
    let (wanted, change) = match command {
        UserCommand::List { limit } => {
            let listed = client.list::<User>(USERS, &[], limit.limit).await?;
            printer.show(&listed.items, |view| people::users(view, &listed.items))?;
            context.note_more(&listed);
            return Ok(());
        }
        UserCommand::Create { name, role } => {
            let body = CreateUser { name, role: role_name(role) };
            let made: UserWithPassword = client.post(USERS, &body).await?;
            return printer.show(&made, |view| people::user(view, &made));
        }
        UserCommand::Delete { user } => {
            let path = path_of(context, &user).await?;
            client.tell::<()>(Method::DELETE, &path, None).await?;
            return printer.show(&json!({ "user": user, "deleted": true }), |_| {
                format!("{user} is deleted, with every session and key.")
            });
        }
        UserCommand::Show { user } => {
            let user = find(context, &user).await?;
            return printer.show(&user, |view| people::about(view, &user));
        }
        UserCommand::Passwd(how) => return login::passwd(context, how).await,
        UserCommand::SetRole { user, role } => (user, change(Some(role_name(role)), None, None)),
        UserCommand::Disable { user } => (user, change(None, Some(true), None)),
        UserCommand::Enable { user } => (user, change(None, Some(false), None)),
        UserCommand::ResetPassword { user } => (user, change(None, None, Some(true))),
    };
    let path = path_of(context, &wanted).await?;
    let changed: UserWithPassword = client.patch(&path, &change).await?;
    printer.show(&changed, |view| people::user(view, &changed))
}

/// `argosy organisation …`
pub async fn organisation(
    context: &Context<'_>,
    command: OrganisationCommand,
) -> Result<(), CliError> {
    let Context { client, printer, .. } = context;
    let disabled = |disabled| UpdateOrganisation { name: None, disabled: Some(disabled) };
    let (id, change) = match command {
        OrganisationCommand::Create { id, name, admin } => {
            let body = CreateOrganisation { name: name.unwrap_or_else(|| id.clone()), id, admin };
            let made: CreatedOrganisation = client.post(ORGANISATIONS, &body).await?;
            return printer.show(&made, |view| people::created_organisation(view, &made));
        }
        OrganisationCommand::List { limit } => {
            let listed = client.list::<Organisation>(ORGANISATIONS, &[], limit.limit).await?;
            printer.show(&listed.items, |view| people::organisations(view, &listed.items))?;
            context.note_more(&listed);
            return Ok(());
        }
        OrganisationCommand::Disable { id } => (id, disabled(true)),
        OrganisationCommand::Enable { id } => (id, disabled(false)),
        OrganisationCommand::Rename { id, name } => {
            (id, UpdateOrganisation { name: Some(name), disabled: None })
        }
    };
    let path = format!("{ORGANISATIONS}/{id}");
    let changed: Organisation = client.patch(&path, &change).await?;
    printer.show(&changed, |view| people::organisation(view, &changed))
}

/// `argosy settings …`
pub async fn settings(context: &Context<'_>, command: SettingsCommand) -> Result<(), CliError> {
    let Context { client, printer, .. } = context;
    let settings: Settings = match command {
        SettingsCommand::Show => client.get(SETTINGS, &[]).await?,
        SettingsCommand::Set { changes } => {
            let body: Map<String, Value> =
                changes.into_iter().map(|(name, text)| (name, value(&text))).collect();
            client.patch(SETTINGS, &body).await?
        }
    };
    printer.show(&settings, |view| people::settings(view, &settings))
}

/// A number, a truth value, or else a text.
fn value(text: &str) -> Value {
    let number = text.parse::<u32>().map(Value::from);
    let truth = text.parse::<bool>().map(Value::from);
    number.or(truth).unwrap_or_else(|_| Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_what_it_looks_like() {
        assert_eq!(value("1800"), Value::from(1800));
        assert_eq!(value("false"), Value::from(false));
        assert_eq!(value("1.4.0"), Value::from("1.4.0"));
        assert_eq!(value(""), Value::from(""));
    }
}
