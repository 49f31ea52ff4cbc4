//! `argosy token|key|audit|accounts …`

use argosy_domain::{
    access,
    time::{Timestamp, parse_span},
};
use argosy_wire::rest::{
    accounts::Account,
    keys::{ApiKey, CreateKey, CreatedKey},
    system::AuditEntry,
    tokens::{CreateToken, CreatedToken, Token},
};
use reqwest::Method;
use serde_json::json;

use super::{Context, audit};
use crate::{
    args::{self, Accounts, ApiKeys, Audit, Role, TokenCreate},
    error::CliError,
    output::lists,
};

/// `argosy token …`
pub async fn token(context: &Context<'_>, command: args::Token) -> Result<(), CliError> {
    let Context { client, printer, .. } = context;
    match command {
        args::Token::Create(options) => {
            let body = create_token(options);
            let created: CreatedToken = client.post("/api/v1/bootstrap-tokens", &body).await?;
            printer.show(&created, |view| lists::created_token(view, &created))
        }
        args::Token::List { limit } => {
            let listed = client.list::<Token>("/api/v1/bootstrap-tokens", &[], limit.limit).await?;
            printer.show(&listed.items, |view| lists::tokens(view, &listed.items))?;
            context.note_more(&listed);
            Ok(())
        }
        args::Token::Revoke { id } => {
            let path = format!("/api/v1/bootstrap-tokens/{id}");
            client.tell::<()>(Method::DELETE, &path, None).await?;
            printer.show(&json!({"id": id.as_str(), "revoked": true}), |_| {
                format!("Token {id} is revoked. Agents that joined with it stay.")
            })
        }
    }
}

/// From the command line a token asks for keys unless told otherwise.
fn create_token(options: TokenCreate) -> CreateToken {
    CreateToken {
        name: options.name,
        account_id: options.account_id,
        expires_in: options.expires_in,
        max_uses: options.max_uses,
        auto_approve: Some(options.auto_approve),
        require_proof: Some(!options.no_proof),
        labels: options.label.into_iter().collect(),
    }
}

/// `argosy key …`
pub async fn key(context: &Context<'_>, command: ApiKeys) -> Result<(), CliError> {
    let Context { client, printer, .. } = context;
    match command {
        ApiKeys::Create { name, scopes, role, service, expires_in_days } => {
            let scopes = role.map_or(scopes, scopes_of);
            let body = CreateKey { name, scopes, service, expires_in_days };
            let created: CreatedKey = client.post("/api/v1/auth/keys", &body).await?;
            printer.show(&created, |view| lists::created_key(view, &created))
        }
        ApiKeys::List { limit } => {
            let listed = client.list::<ApiKey>("/api/v1/auth/keys", &[], limit.limit).await?;
            printer.show(&listed.items, |view| lists::keys(view, &listed.items))?;
            context.note_more(&listed);
            Ok(())
        }
        ApiKeys::Revoke { id } => {
            let path = format!("/api/v1/auth/keys/{id}");
            client.tell::<()>(Method::DELETE, &path, None).await?;
            printer.show(&json!({"id": id.as_str(), "revoked": true}), |_| {
                format!("Key {id} is revoked.")
            })
        }
    }
}

fn scopes_of(role: Role) -> Vec<String> {
    let role = match role {
        Role::Admin => access::Role::Admin,
        Role::Operator => access::Role::Operator,
        Role::Viewer => access::Role::Viewer,
    };
    role.scopes().iter().map(str::to_owned).collect()
}

/// `argosy audit …`
pub async fn audit(context: &Context<'_>, command: Audit) -> Result<(), CliError> {
    let Context { client, printer, .. } = context;
    match command {
        Audit::List { actor, action, target, since, limit } => {
            let since = since.map(|text| since_when(&text, printer.view().now)).transpose()?;
            let mut query = Vec::new();
            query.extend(actor.map(|actor| ("actor", actor)));
            query.extend(action.map(|action| ("action", action)));
            query.extend(target.map(|target| ("target", target)));
            query.extend(since.map(|since| ("since", since.to_string())));
            let listed = client.list::<AuditEntry>("/api/v1/audit", &query, limit.limit).await?;
            printer.show(&listed.items, |view| lists::audit(view, &listed.items))?;
            context.note_more(&listed);
            Ok(())
        }
        Audit::Export { file } => audit::export(context, &file).await,
        Audit::Verify(options) => audit::verify_server(context, &options).await,
    }
}

/// A time, or a span before now.
pub fn since_when(text: &str, now: Timestamp) -> Result<Timestamp, CliError> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    parse_span(text).map(|span| now.minus(span)).map_err(|_| {
        let message = format!("--since: {text:?} is neither a span nor a time");
        CliError::usage(message, "such as 24h, 7d or 2026-01-31T08:00:00Z")
    })
}

/// `argosy accounts …`
pub async fn accounts(context: &Context<'_>, command: Accounts) -> Result<(), CliError> {
    match command {
        Accounts::List { limit } => {
            let listed =
                context.client.list::<Account>("/api/v1/accounts", &[], limit.limit).await?;
            context.printer.show(&listed.items, |view| lists::accounts(view, &listed.items))?;
            context.note_more(&listed);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(no_proof: bool) -> TokenCreate {
        TokenCreate {
            name: "web".into(),
            account_id: None,
            expires_in: None,
            max_uses: None,
            auto_approve: false,
            no_proof,
            label: vec![("env".into(), "prod".into())],
        }
    }

    #[test]
    fn a_token_from_the_command_line_asks_for_keys() {
        assert_eq!(create_token(options(false)).require_proof, Some(true));
        assert_eq!(create_token(options(true)).require_proof, Some(false));
    }

    #[test]
    fn since_takes_spans_and_times() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let at = |text| since_when(text, now).map(|at| at.to_string()).ok();
        assert_eq!(at("24h").as_deref(), Some("2026-11-21T12:00:00.000000Z"));
        assert_eq!(at("2026-01-31T08:00:00Z").as_deref(), Some("2026-01-31T08:00:00.000000Z"));
        assert_eq!(at("lately"), None);
    }

    #[test]
    fn a_role_is_its_scopes() {
        assert_eq!(scopes_of(Role::Admin), ["*"]);
        assert!(!scopes_of(Role::Viewer).contains(&"agents:approve".to_owned()));
    }
}
