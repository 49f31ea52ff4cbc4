//! A cloud of the test's own: what it answers is a function of what it holds.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::to_bytes,
    extract::Request,
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;

/// A request may have so many bytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What was asked.
pub(crate) struct Asked {
    /// Without the query.
    pub(crate) path: String,
    /// The query, decoded.
    pub(crate) query: HashMap<String, String>,
    /// A form, decoded.
    pub(crate) form: HashMap<String, String>,
    /// A body of JSON; null where it is none.
    pub(crate) json: Value,
    headers: axum::http::HeaderMap,
}

impl Asked {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What is answered.
pub(crate) type Said = (u16, Value);

/// A server with a state.
pub(crate) struct StandIn<T> {
    /// Where it is.
    pub(crate) url: String,
    state: Arc<Mutex<T>>,
}

fn pairs(text: &str) -> HashMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://x/?{text}")).unwrap();
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

impl<T: Send + 'static> StandIn<T> {
    /// Serves until the test is over. `state` is made when it is known where that is.
    pub(crate) async fn start(
        state: impl FnOnce(&str) -> T,
        answer: fn(&mut T, &Asked) -> Said,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(state(&url)));
        let held = Arc::clone(&state);
        let handler = move |request: Request| {
            let held = Arc::clone(&held);
            async move { answered(&held, answer, request).await }
        };
        tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(handler)).await.unwrap();
        });
        Self { url, state }
    }

    /// What it holds, for looking and changing.
    pub(crate) fn state(&self) -> MutexGuard<'_, T> {
        self.state.lock().unwrap()
    }
}

async fn answered<T>(
    state: &Mutex<T>,
    answer: fn(&mut T, &Asked) -> Said,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, BODY_BYTES_MAX).await.unwrap();
    let asked = Asked {
        path: parts.uri.path().to_owned(),
        query: pairs(parts.uri.query().unwrap_or_default()),
        form: pairs(std::str::from_utf8(&bytes).unwrap()),
        json: serde_json::from_slice(&bytes).unwrap_or_default(),
        headers: parts.headers,
    };
    let (status, said) = answer(&mut state.lock().unwrap(), &asked);
    let text = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(RETRY_AFTER, "0")], text).into_response()
}
