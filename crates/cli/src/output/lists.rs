//! Tokens, keys, audit entries, security events and accounts for people.

use argosy_wire::rest::{
    accounts::Account,
    keys::{ApiKey, CreatedKey},
    security::SecurityEvent,
    system::AuditEntry,
    tokens::{CreatedToken, Token},
};
use serde_json::Value;

use super::{
    Tone, View, clean,
    table::{Sheet, indent, maybe, plain, state},
    units::{age_of, count, moment},
};

/// Characters of an audit entry's detail that a table shows.
const DETAIL_CHARS: usize = 80;

/// `argosy token list`
pub fn tokens(view: &View, tokens: &[Token]) -> String {
    if tokens.is_empty() {
        return "No tokens. Mint one with `argosy token create NAME`.".into();
    }
    let headings = ["NAME", "STATE", "USES", "ACCOUNT", "ADMITS", "EXPIRES", "BY", "ID"];
    let mut sheet = Sheet::new(view, &headings);
    for token in tokens {
        sheet.row([
            plain(&token.name),
            state(&token.state),
            plain(format!("{}/{}", token.uses, token.max_uses)),
            plain(token.account_id.map_or("any".into(), |id| id.to_string())),
            plain(admits(token)),
            plain(age_of(Some(&token.expires_at), view.now)),
            plain(&token.created_by),
            plain(&token.id),
        ]);
    }
    sheet.finish()
}

fn admits(token: &Token) -> &'static str {
    match (token.require_proof, token.auto_approve) {
        (true, false) => "with keys",
        (true, true) => "with keys, at once",
        (false, false) => "anyone",
        (false, true) => "anyone, at once",
    }
}

/// `argosy token create`: the only time that the token is shown.
pub fn created_token(view: &View, created: &CreatedToken) -> String {
    let token = &created.about;
    let machines = count(token.max_uses.into(), "machine", "machines");
    let then = if token.auto_approve {
        "They are approved at once; see them with `argosy agent list`.".to_owned()
    } else {
        "Then compare its fingerprint and let it in from here:\n\n  argosy agent list --status \
         pending\n  argosy agent approve NAME"
            .to_owned()
    };
    format!(
        "{} for {machines}, good until {}. It is shown only now:\n\n  {}\n\nOn the \
         machine:\n\n{}\n\n{then}",
        view.heading(&format!("Token {}", clean(&token.name))),
        moment(&token.expires_at, view.now),
        clean(&created.token),
        indent(&lines(&created.commands.binary)),
    )
}

/// `argosy key list`
pub fn keys(view: &View, keys: &[ApiKey]) -> String {
    if keys.is_empty() {
        return "No keys. Mint one with `argosy key create NAME --role viewer`.".into();
    }
    let headings = ["NAME", "OWNER", "SCOPES", "CREATED", "LAST USED", "EXPIRES", "ID"];
    let mut sheet = Sheet::new(view, &headings);
    for key in keys {
        sheet.row([
            plain(&key.name),
            plain(&key.owner),
            plain(clip(&key.scopes.join(" "), 40)),
            plain(age_of(Some(&key.created_at), view.now)),
            plain(
                key.last_used_at.as_ref().map_or("never".into(), |at| age_of(Some(at), view.now)),
            ),
            plain(key.expires_at.as_ref().map_or("never".into(), |at| age_of(Some(at), view.now))),
            plain(&key.id),
        ]);
    }
    sheet.finish()
}

/// `argosy key create`: the only time that the key is shown.
pub fn created_key(view: &View, created: &CreatedKey) -> String {
    let key = &created.about;
    let until = match &key.expires_at {
        Some(at) => format!("good until {}", moment(at, view.now)),
        None => "good until it is revoked".to_owned(),
    };
    format!(
        "{}, {until}. It is shown only now:\n\n  {}\n\nIt may: {}",
        view.heading(&format!("Key {}", clean(&key.name))),
        clean(&created.key),
        clean(&key.scopes.join(" ")),
    )
}

/// `argosy audit list`
pub fn audit(view: &View, entries: &[AuditEntry]) -> String {
    if entries.is_empty() {
        return "No entry matches. See the latest with `argosy audit list`.".into();
    }
    let headings = ["WHEN", "WHO", "WHAT", "TO", "FROM", "DETAIL"];
    let mut sheet = Sheet::new(view, &headings);
    for entry in entries {
        sheet.row([
            plain(age_of(Some(&entry.at), view.now)),
            plain(&entry.actor),
            plain(&entry.action),
            maybe(entry.target.as_deref()),
            maybe(entry.source.as_deref()),
            plain(clip(&detail(&entry.detail), DETAIL_CHARS)),
        ]);
    }
    sheet.finish()
}

/// `argosy security events`
pub fn security(view: &View, events: &[SecurityEvent]) -> String {
    if events.is_empty() {
        return "No event matches. Nothing suspicious was seen.".into();
    }
    let headings = ["LAST", "KIND", "TIMES", "AGENT", "FROM", "FIRST", "DETAIL"];
    let mut sheet = Sheet::new(view, &headings);
    for event in events {
        sheet.row([
            plain(age_of(Some(&event.last_at), view.now)),
            plain(&event.kind),
            plain(event.count.to_string()),
            maybe(event.agent_id.as_deref()),
            maybe(event.source.as_deref()),
            plain(age_of(Some(&event.first_at), view.now)),
            plain(clip(&detail(&event.detail), DETAIL_CHARS)),
        ]);
    }
    sheet.finish()
}

/// `argosy security events --follow`: one event in a line.
pub fn sighting(view: &View, event: &SecurityEvent) -> String {
    let time = event.last_at.get(11..19).unwrap_or(&event.last_at);
    let about = event.agent_id.as_deref().unwrap_or("-");
    let source = event.source.as_deref().unwrap_or("-");
    let kind = view.paint(&clean(&event.kind), Tone::Bad);
    let detail = clip(&detail(&event.detail), DETAIL_CHARS);
    let text = format!("{about}  {source}  {}x  {detail}", event.count);
    format!("{}Z  {kind}  {}", clean(time), clean(&text))
}

/// `key=value` of what is not null; the JSON itself where it is no object.
fn detail(detail: &Value) -> String {
    let Some(map) = detail.as_object() else {
        return if detail.is_null() { "-".into() } else { detail.to_string() };
    };
    let said = map.iter().filter(|(_, value)| !value.is_null());
    let pairs: Vec<String> = said
        .map(|(key, value)| match value.as_str() {
            Some(text) => format!("{key}={text}"),
            None => format!("{key}={value}"),
        })
        .collect();
    if pairs.is_empty() { "-".into() } else { pairs.join(" ") }
}

/// `argosy accounts list`
pub fn accounts(view: &View, accounts: &[Account]) -> String {
    if accounts.is_empty() {
        return "No accounts that you may see.".into();
    }
    let headings = ["ID", "NAME", "PROVIDER", "EXTERNAL ID", "REGIONS", "CREATED", "LAST SYNC"];
    let mut sheet = Sheet::new(view, &headings).right(&[0]);
    for account in accounts {
        let regions = account.regions.join(", ");
        sheet.row([
            plain(account.id.to_string()),
            plain(&account.name),
            maybe(account.provider.as_deref()),
            maybe(account.external_id.as_deref()),
            plain(if regions.is_empty() { "-".into() } else { regions }),
            plain(age_of(Some(&account.created_at), view.now)),
            plain(age_of(account.last_sync_at.as_deref(), view.now)),
        ]);
    }
    sheet.finish()
}

/// Cleans line by line, so that line breaks stay.
fn lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

fn clip(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut clipped: String = text.chars().take(chars_max - 1).collect();
    clipped.push('…');
    clipped
}

#[cfg(test)]
mod tests;
