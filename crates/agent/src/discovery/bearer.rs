//! Access tokens (RFC 6750): fetched when they are needed, and again before they end.
//!
//! *Invariant:* a token goes to the cloud that it is for, is wiped when it is dropped, and never shows.

use std::time::Duration;

use argosy_domain::time::Timestamp;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::{
    Failure,
    rest::{Answer, Manner, Rest},
    shape,
};
use crate::credentials::SecretText;

/// A token that ends sooner is not used any more.
const LEFT_MIN: Duration = Duration::from_secs(120);
/// How long a token is good for that does not say.
const LIFE_DEFAULT: Duration = Duration::from_secs(600);
/// What is told of an answer.
const SAID_CHARS_MAX: usize = 512;

/// The call that failed where there is no token.
pub(super) const CREDENTIALS: &str = "credentials";

/// A token.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// For sending.
    pub(super) text: SecretText,
    /// How long it is good for.
    pub(super) life: Duration,
}

/// Where tokens come from.
pub(super) trait Source: Send + Sync {
    /// A fresh one.
    fn fetch<'a>(&'a self, rest: &'a Rest) -> BoxFuture<'a, Result<Token, Failure>>;
}

/// Calls that show a token.
pub(super) struct Bearer<S> {
    rest: Rest,
    source: S,
    held: Mutex<Option<(SecretText, Timestamp)>>,
}

impl<S: Source> Bearer<S> {
    /// Calls with the tokens of this source.
    pub(super) fn new(rest: Rest, source: S) -> Self {
        Self { rest, source, held: Mutex::default() }
    }

    /// Reads an address. A token that is refused is replaced once.
    pub(super) async fn get(
        &self,
        manner: Manner<'_>,
        url: &str,
        header: Option<(&str, &str)>,
    ) -> Result<Answer, Failure> {
        let request = |token: &SecretText| {
            let token = token.clone();
            move |http: &reqwest::Client| {
                let request = http.get(url).bearer_auth(token.expose());
                match header {
                    Some((name, value)) => request.header(name, value),
                    None => request,
                }
            }
        };
        let token = self.token().await?;
        let answer = self.rest.ask(manner, request(&token)).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        self.forget(&token).await;
        let token = self.token().await?;
        self.rest.ask(manner, request(&token)).await
    }

    /// A token that is good for a while.
    pub(super) async fn token(&self) -> Result<SecretText, Failure> {
        // Held meanwhile: those who come together fetch one.
        let mut held = self.held.lock().await;
        let now = self.rest.deps().clock.now();
        if let Some((token, until)) = held.as_ref()
            && *until > now
        {
            return Ok(token.clone());
        }
        let token = self.source.fetch(&self.rest).await?;
        let until = now.plus(token.life.saturating_sub(LEFT_MIN));
        *held = Some((token.text.clone(), until));
        Ok(token.text)
    }

    async fn forget(&self, token: &SecretText) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|(held, _)| held == token) {
            *held = None;
        }
    }
}

/// There is nothing to fetch a token with.
pub(super) fn no_credentials(error: impl std::fmt::Display) -> Failure {
    Failure { error: error.to_string(), call: Some(CREDENTIALS.to_owned()), permission: None }
}

/// The token of an answer (RFC 6749, section 5).
pub(super) fn token(answer: &Answer) -> Result<Token, Failure> {
    let said = answer.json();
    let text = shape::text(&said, "access_token").filter(|_| answer.is_good());
    let Some(text) = text else { return Err(refused(answer)) };
    // Some write the number as a text.
    let number = || shape::text(&said, "expires_in")?.parse().ok();
    let life = said["expires_in"].as_u64().or_else(number);
    let life = life.map_or(LIFE_DEFAULT, Duration::from_secs);
    Ok(Token { text: SecretText::new(text.to_owned()), life })
}

/// Why an answer holds no token.
pub(super) fn refused(answer: &Answer) -> Failure {
    let said = answer.json();
    let code = shape::text(&said, "error").or_else(|| shape::text(&said["error"], "status"));
    let words = shape::text(&said, "error_description");
    let words = words.or_else(|| shape::text(&said["error"], "message")).unwrap_or_default();
    let why = match code {
        Some(code) => format!("{code}: {}", said_shortly(words)),
        None => format!("the answer was {}", answer.status),
    };
    let accepted = "are not accepted: they are wrong, have expired or were withdrawn";
    no_credentials(format!("the credentials of this host {accepted} ({why})"))
}

/// The beginning of what an interface said, in one line.
pub(super) fn said_shortly(words: &str) -> String {
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(SAID_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, text: &str) -> Answer {
        Answer { status, text: text.to_owned() }
    }

    #[test]
    fn a_token_is_read_however_its_life_is_written() {
        let token_of = |text: &str| token(&answer(200, text)).unwrap();
        let said = token_of(r#"{"access_token":"t","expires_in":3599}"#);
        assert_eq!((said.text.expose(), said.life.as_secs()), ("t", 3599));
        let said = token_of(r#"{"access_token":"t","expires_in":"86399"}"#);
        assert_eq!(said.life.as_secs(), 86_399);
        assert_eq!(token_of(r#"{"access_token":"t"}"#).life, LIFE_DEFAULT);
    }

    #[test]
    fn a_refusal_tells_why_and_shows_no_token() {
        let text = r#"{"error":"invalid_grant","error_description":"expired\r\n  yesterday"}"#;
        let failure = token(&answer(400, text)).unwrap_err();
        assert!(failure.error.ends_with("(invalid_grant: expired yesterday)"), "{failure}");
        assert_eq!(failure.call.as_deref(), Some(CREDENTIALS));
        let page = token(&answer(502, "<html>")).unwrap_err();
        assert!(page.error.ends_with("(the answer was 502)"), "{page}");
        let odd = token(&answer(403, r#"{"access_token":"secret"}"#)).unwrap_err();
        assert!(!odd.error.contains("secret"), "{odd}");
    }
}
