//! The REST interface as this program uses it: one place that sends, pages, retries and reads
//! problems.
//!
//! *Invariant:* a key travels in the `Authorization` header and nowhere else, a login in its cookie;
//! redirects are not followed; only questions (GET) are ever sent twice.

use std::{error::Error as _, fs, io::ErrorKind, sync::Arc, time::Duration};

use argosy_wire::{
    identity_tls::{self, Expected},
    problem::Problem,
    rest::{Page, users::LoggedIn},
};
use backon::{ExponentialBuilder, Retryable as _};
use reqwest::{Certificate, Method, RequestBuilder, Response, Url, header, redirect::Policy};
use rustls::RootCertStore;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{CliError, Silence},
    key::{Credential, Session},
    target::{Target, show_server},
};

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// An answer that is read piece by piece.
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(6 * 3600);
/// Items that one call asks for at most; the server gives no more either.
const PAGE_ITEMS: u32 = argosy_domain::limits::PAGE_ITEMS_MAX;

/// How a connection breaks in the middle of a call.
const BROKEN: [ErrorKind; 4] = [
    ErrorKind::ConnectionReset,
    ErrorKind::ConnectionAborted,
    ErrorKind::BrokenPipe,
    ErrorKind::UnexpectedEof,
];

/// Query parameters.
pub type Query<'a> = [(&'a str, String)];

/// A list as far as it was asked for.
#[derive(Debug)]
pub struct Listed<T> {
    /// The items.
    pub items: Vec<T>,
    /// The server has more.
    pub more: bool,
}

/// A server, and what it is shown.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    server: Url,
    credential: Credential,
}

impl Client {
    /// A client of `target`; nothing is sent yet.
    pub fn new(target: &Target) -> Result<Self, CliError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("argosy/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN);
        if let Some(pin) = target.pin {
            let expected = Arc::new(Expected::new(Some(pin)));
            let tls = identity_tls::client_config(expected, RootCertStore::empty())
                .map_err(|error| CliError::Local(format!("cannot prepare TLS: {error}")))?;
            builder = builder.tls_backend_preconfigured(tls);
        } else if let Some(path) = &target.ca_file {
            let pem = fs::read(path).map_err(|error| CliError::file(path, error))?;
            let roots = Certificate::from_pem_bundle(&pem)
                .map_err(|_| CliError::file(path, "holds no certificates in PEM form"))?;
            builder = builder.tls_certs_merge(roots);
        } else if target.server.scheme() == "http" {
            // A host without any certificate authority can still speak http.
            builder = builder.tls_certs_only([]);
        }
        if is_local(&target.server) {
            builder = builder.no_proxy();
        }
        let http = builder
            .build()
            .map_err(|error| CliError::Local(format!("cannot prepare TLS: {error}")))?;
        let (server, credential) = (target.server.clone(), target.credential.clone());
        Ok(Self { http, server, credential })
    }

    /// The server's URL.
    pub fn server(&self) -> String {
        show_server(&self.server)
    }

    /// Asks; asks again, for a few seconds, while the server is passing through a bad moment.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query<'_>,
    ) -> Result<T, CliError> {
        let patience = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(250))
            .with_max_delay(Duration::from_secs(2))
            .with_max_times(4);
        let answer = (|| self.send(Method::GET, path, query, None::<&()>))
            .retry(patience)
            .when(CliError::is_passing)
            .await?;
        self.read(&answer)
    }

    /// Asks for pages until there are `limit` items or no more.
    pub async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &Query<'_>,
        limit: u32,
    ) -> Result<Listed<T>, CliError> {
        let mut items: Vec<T> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let left = limit.saturating_sub(u32::try_from(items.len()).unwrap_or(u32::MAX));
            let mut query = query.to_vec();
            query.push(("limit", left.min(PAGE_ITEMS).to_string()));
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page: Page<T> = self.get(path, &query).await?;
            let empty = page.items.is_empty();
            items.extend(page.items);
            cursor = page.next_cursor;
            let full = items.len() >= limit as usize;
            if cursor.is_none() || full || empty {
                items.truncate(limit as usize);
                return Ok(Listed { items, more: cursor.is_some() });
            }
        }
    }

    /// Changes something and reads the answer.
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, CliError> {
        let answer = self.send(Method::POST, path, &[], Some(body)).await?;
        self.read(&answer)
    }

    /// Changes part of something and reads the answer.
    pub async fn patch<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, CliError> {
        let answer = self.send(Method::PATCH, path, &[], Some(body)).await?;
        self.read(&answer)
    }

    /// Changes something; what the answer says does not matter.
    pub async fn tell<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<(), CliError> {
        self.send(method, path, &[], body).await.map(drop)
    }

    /// Reads a long answer piece by piece. It may take as long as it likes, but not pause.
    pub async fn download(
        &self,
        path: &str,
        query: &Query<'_>,
        piece: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        self.pieces(self.request(Method::GET, path, query), piece).await
    }

    /// Reads server-sent events, from where an earlier answer ended.
    pub async fn watch(
        &self,
        path: &str,
        query: &Query<'_>,
        after: Option<&str>,
        piece: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut request = self.request(Method::GET, path, query);
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        self.pieces(request, piece).await
    }

    async fn pieces(
        &self,
        request: RequestBuilder,
        mut piece: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let request = request.timeout(DOWNLOAD_WITHIN);
        let mut answer = request.send().await.map_err(|error| self.silent(&error))?;
        if !answer.status().is_success() {
            return Err(self.refused(answer).await);
        }
        loop {
            let pause = |_| CliError::Silent {
                server: self.server(),
                silence: Silence::Timeout,
                reason: "the answer stopped in the middle".into(),
            };
            let arrived = tokio::time::timeout(ANSWER_WITHIN, answer.chunk()).await;
            let bytes = arrived.map_err(pause)?.map_err(|error| self.silent(&error))?;
            let Some(bytes) = bytes else { return Ok(()) };
            piece(&bytes)?;
        }
    }

    fn request(&self, method: Method, path: &str, query: &Query<'_>) -> RequestBuilder {
        let mut url = self.server.clone();
        url.set_path(&format!("{}{path}", self.server.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let writes = !method.is_safe();
        let request = self.http.request(method, url);
        match &self.credential {
            Credential::Nothing => request,
            Credential::Key(key) => request.bearer_auth(key.expose()),
            Credential::Session(session) => {
                let request = request.header(header::COOKIE, &session.cookie);
                if !writes {
                    return request;
                }
                request
                    .header("x-csrf-token", &session.csrf_token)
                    .header("sec-fetch-site", "same-origin")
                    .header(header::CONTENT_TYPE, "application/json")
            }
        }
    }

    /// Makes a call that begins a session, and takes its cookie.
    pub async fn begin<B: Serialize>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<(LoggedIn, Session), CliError> {
        let answer = self.answer(Method::POST, path, &[], Some(body)).await?;
        let set = answer.headers().get(header::SET_COOKIE);
        let set = set.and_then(|value| value.to_str().ok()).and_then(|set| set.split(';').next());
        let cookie = set.map(str::to_owned);
        let body = answer.bytes().await.map_err(|error| self.silent(&error))?;
        let begun: LoggedIn = self.read(&body)?;
        let (Some(cookie), Some(user)) = (cookie, &begun.me.user) else {
            return Err(CliError::Foreign { server: self.server(), status: 200 });
        };
        let csrf_token = user.csrf_token.clone();
        let session = Session { cookie, csrf_token, expires_at: begun.expires_at.clone() };
        Ok((begun, session))
    }

    async fn send<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        query: &Query<'_>,
        body: Option<&B>,
    ) -> Result<Vec<u8>, CliError> {
        let answer = self.answer(method, path, query, body).await?;
        let body = answer.bytes().await.map_err(|error| self.silent(&error))?;
        Ok(body.to_vec())
    }

    /// The answer to a call, if it is a good one.
    async fn answer<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        query: &Query<'_>,
        body: Option<&B>,
    ) -> Result<Response, CliError> {
        let mut request = self.request(method, path, query);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| self.silent(&error))?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refused(answer).await) }
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, CliError> {
        let foreign = |_| CliError::Foreign { server: self.server(), status: 200 };
        serde_json::from_slice(body).map_err(foreign)
    }

    async fn refused(&self, answer: Response) -> CliError {
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get(header::RETRY_AFTER);
        let retry_after_s = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = answer.bytes().await.unwrap_or_default();
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => CliError::Refused { problem: Box::new(problem), retry_after_s },
            Err(_) => CliError::Foreign { server: self.server(), status },
        }
    }

    fn silent(&self, error: &reqwest::Error) -> CliError {
        let (silence, reason) = explain(error);
        CliError::Silent { server: self.server(), silence, reason }
    }
}

fn is_local(url: &Url) -> bool {
    url.host_str()
        .is_some_and(|host| host == "localhost" || host == "[::1]" || host.starts_with("127."))
}

/// Whether whoever listens on the way to `url` can read the key.
pub fn is_plain(url: &Url) -> bool {
    url.scheme() == "http" && !is_local(url)
}

/// Looks through the causes for the one that a person can do something about. The error's own
/// text is left out: it repeats the URL.
fn explain(error: &reqwest::Error) -> (Silence, String) {
    let mut last = String::new();
    let mut silence = if error.is_timeout() { Silence::Timeout } else { Silence::Other };
    let mut cause = error.source();
    while let Some(inner) = cause {
        last = inner.to_string();
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            let kind = io.kind();
            if kind == ErrorKind::ConnectionRefused {
                silence = Silence::Refused;
            } else if kind == ErrorKind::TimedOut {
                silence = Silence::Timeout;
            } else if BROKEN.contains(&kind) {
                silence = Silence::Broken;
            }
        }
        if last.contains("certificate") {
            silence = Silence::Certificate;
        } else if last.contains("dns error") || last.contains("lookup address") {
            silence = Silence::Name;
        } else if last.contains("closed before message completed") {
            silence = Silence::Broken;
        }
        cause = inner.source();
    }
    if last.is_empty() {
        last = if error.is_timeout() { "no answer in time" } else { "the request failed" }.into();
    }
    (silence, last)
}
