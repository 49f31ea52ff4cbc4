//! A plain HTTP client that shows what came back.

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as JSON; null where it is none.
    pub body: Value,
    /// The body as it came.
    pub page: String,
}

impl Answer {
    /// The problem code, or the empty text.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// A text of the body.
    pub fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {self:?}")).to_owned()
    }

    /// Where the answer leads; empty where it leads nowhere.
    pub fn location(&self) -> &str {
        self.headers.get("location").map_or("", |to| to.to_str().unwrap())
    }

    /// Asserts the status and gives the body.
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.body
    }

    /// Asserts a refusal: status and code, in the shape of RFC 9457.
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert!(self.body["trace_id"].as_str().is_some_and(|id| !id.is_empty()));
    }
}

/// A client that looks at nothing, goes nowhere else, and asks no proxy.
pub fn plain() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let stays = reqwest::redirect::Policy::none();
    reqwest::Client::builder().no_proxy().redirect(stays).build().unwrap()
}

/// A client that speaks HTTP/2 from the first byte and looks at nothing.
pub fn raw_http2() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap()
}

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Client {
    base: String,
    http: reqwest::Client,
}

impl Client {
    /// A client of the server at `base`.
    pub fn new(base: &str) -> Self {
        Self { base: base.to_owned(), http: plain() }
    }

    /// Sends a request with headers and, where given, a JSON body without a content type.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        self.send_text(method, path, headers, body.map(Value::to_string)).await
    }

    /// Sends a form, as a page does.
    pub async fn send_form(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        fields: &[(&str, &str)],
    ) -> Answer {
        let form = reqwest::Url::parse_with_params("form:/", fields).unwrap();
        let text = form.query().unwrap_or_default().to_owned();
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/x-www-form-urlencoded"));
        self.send_text(Method::POST, path, &headers, Some(text)).await
    }

    async fn send_text(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // What never ends is not read.
        let endless = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let text = if endless { String::new() } else { response.text().await.unwrap() };
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, body, page: text }
    }

    /// `GET` with an API key.
    pub async fn get(&self, path: &str, key: &str) -> Answer {
        self.send(Method::GET, path, &[("authorization", &format!("Bearer {key}"))], None).await
    }

    /// `POST` with an API key.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {key}");
        self.send(Method::POST, path, &[("authorization", &bearer)], Some(body)).await
    }

    /// `POST` without credentials.
    pub async fn post_anonymous(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[], Some(body)).await
    }

    /// `DELETE` with an API key.
    pub async fn delete(&self, path: &str, key: &str) -> Answer {
        self.send(Method::DELETE, path, &[("authorization", &format!("Bearer {key}"))], None).await
    }
}
