//! Signed calls of AWS (Signature Version 4), tried again where AWS asks for patience.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials as _, SharedCredentialsProvider},
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use serde_json::Value;

use super::{
    error::{Refusal, no_credentials},
    resources::Kind,
    xml::Node,
};
use crate::{backoff::Backoff, deps::Deps, discovery::Failure, error::with_causes};

/// An answer.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Attempts for one call.
const ATTEMPTS: u32 = 8;
/// The longest first pause between them, and the longest of all.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// Items of one page.
const PAGE_ITEMS: u32 = 1_000;

/// The interfaces of AWS, or what stands in for them.
pub(super) struct Api {
    http: reqwest::Client,
    endpoint: Option<String>,
    deps: Deps,
}

/// A call.
pub(super) struct Call<'a> {
    /// `ec2`, `sts` or `organizations`.
    pub(super) service: &'static str,
    /// Where it is signed for.
    pub(super) region: &'a str,
    /// Its name.
    pub(super) name: &'a str,
    /// What it needs, such as `ec2:DescribeVpcs`.
    pub(super) permission: &'a str,
    content_type: &'static str,
    target: Option<String>,
    body: String,
}

impl<'a> Call<'a> {
    /// A call of the query interface.
    pub(super) fn query(
        (service, version): (&'static str, &'static str),
        region: &'a str,
        (name, permission): (&'a str, &'a str),
        fields: &[(&str, &str)],
    ) -> Self {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", name).append_pair("Version", version);
        form.extend_pairs(fields);
        let content_type = "application/x-www-form-urlencoded; charset=utf-8";
        Self { service, region, name, permission, content_type, target: None, body: form.finish() }
    }

    /// A call of the JSON interface of Organizations.
    pub(super) fn json((name, permission): (&'a str, &'a str), body: &Value) -> Self {
        Self {
            service: "organizations",
            region: "us-east-1",
            name,
            permission,
            content_type: "application/x-amz-json-1.1",
            target: Some(format!("AWSOrganizationsV20161128.{name}")),
            body: body.to_string(),
        }
    }

    fn failed(&self, why: impl std::fmt::Display) -> Failure {
        let error = format!("{} in {}: {why}", self.service, self.region);
        Failure { error, call: Some(self.name.to_owned()), permission: None }
    }
}

impl Api {
    /// The interfaces; at `endpoint`, where one is configured for all of them.
    pub(super) fn new(endpoint: Option<String>, deps: Deps) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|why| Failure { error: with_causes(&why), call: None, permission: None })?;
        Ok(Self { http, endpoint, deps })
    }

    fn url(&self, call: &Call<'_>) -> String {
        if let Some(endpoint) = &self.endpoint {
            return format!("{}/", endpoint.trim_end_matches('/'));
        }
        let domain =
            if call.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        format!("https://{}.{}.{domain}/", call.service, call.region)
    }

    /// A page of one kind of resources.
    pub(super) async fn describe(
        &self,
        credentials: &SharedCredentialsProvider,
        region: &str,
        kind: &Kind,
        next: Option<&str>,
    ) -> Result<Node, Failure> {
        let items = PAGE_ITEMS.to_string();
        let mut fields = Vec::new();
        if kind.paged {
            fields.push(("MaxResults", items.as_str()));
        }
        fields.extend(next.map(|next| ("NextToken", next)));
        let what = (kind.call, kind.permission);
        self.xml(credentials, Call::query(("ec2", "2016-11-15"), region, what, &fields)).await
    }

    /// Makes a call whose answer is XML.
    pub(super) async fn xml(
        &self,
        credentials: &SharedCredentialsProvider,
        call: Call<'_>,
    ) -> Result<Node, Failure> {
        let text = self.call(credentials, &call).await?;
        Node::parse(&text).map_err(|_| call.failed("the answer is not what AWS answers"))
    }

    /// Makes a call whose answer is JSON.
    pub(super) async fn json(
        &self,
        credentials: &SharedCredentialsProvider,
        call: Call<'_>,
    ) -> Result<Value, Failure> {
        let text = self.call(credentials, &call).await?;
        serde_json::from_str(&text).map_err(|_| call.failed("the answer is not what AWS answers"))
    }

    async fn call(
        &self,
        credentials: &SharedCredentialsProvider,
        call: &Call<'_>,
    ) -> Result<String, Failure> {
        let entropy = Arc::clone(&self.deps.entropy);
        let (mut attempt, mut backoff) = (0, Backoff::between(entropy, PAUSE_MIN, PAUSE_MAX));
        loop {
            let opens = credentials.provide_credentials().await;
            let opens = opens.map_err(|why| no_credentials(&with_causes(&why)))?;
            attempt += 1;
            let failure = match self.attempt(&opens, call).await {
                Ok((200..=299, text)) => return Ok(text),
                Ok((status, text)) => {
                    let refusal = refusal(status, &text);
                    if attempt == ATTEMPTS || !refusal.passes() {
                        return Err(refusal.told(call.name, call.permission));
                    }
                    continue_after(refusal.code)
                }
                Err(failure) if attempt == ATTEMPTS => return Err(failure),
                Err(failure) => failure.error,
            };
            tracing::debug!(
                call = call.name,
                region = call.region,
                attempt,
                why = failure,
                "AWS is asked again"
            );
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn attempt(
        &self,
        credentials: &Credentials,
        call: &Call<'_>,
    ) -> Result<(u16, String), Failure> {
        let url = self.url(call);
        let mut headers = vec![("content-type", call.content_type)];
        headers.extend(call.target.as_deref().map(|target| ("x-amz-target", target)));
        let signed = self.signed(credentials, call, &url, &headers)?;
        let mut request = self.http.post(&url).body(call.body.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let gone = |why: reqwest::Error| call.failed(with_causes(&why.without_url()));
        let mut answer = request.send().await.map_err(gone)?;
        let status = answer.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(gone)? {
            if bytes.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(call.failed("the answer is too large"));
            }
            bytes.extend_from_slice(&part);
        }
        let text = String::from_utf8(bytes).map_err(|_| call.failed("the answer is not text"))?;
        Ok((status, text))
    }

    /// The headers that sign a call.
    fn signed(
        &self,
        credentials: &Credentials,
        call: &Call<'_>,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Vec<(String, String)>, Failure> {
        let identity = credentials.clone().into();
        let since_1970 = u64::try_from(self.deps.clock.now().as_micros()).unwrap_or(0);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(call.region)
            .name(call.service)
            .time(SystemTime::UNIX_EPOCH + Duration::from_micros(since_1970))
            .settings(SigningSettings::default())
            .build()
            .map_err(|why| call.failed(why))?
            .into();
        let body = SignableBody::Bytes(call.body.as_bytes());
        let request = SignableRequest::new("POST", url, headers.iter().copied(), body);
        let signed = sign(request.map_err(|why| call.failed(why))?, &params);
        let (instructions, _) = signed.map_err(|why| call.failed(why))?.into_parts();
        let header = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Ok(instructions.headers().map(header).collect())
    }
}

fn continue_after(code: String) -> String {
    if code.is_empty() { "no code".to_owned() } else { code }
}

/// A refusal of any of the interfaces.
fn refusal(status: u16, text: &str) -> Refusal {
    if let Ok(node) = Node::parse(text) {
        // EC2 has a list of errors, STS has one.
        let error = node.at(&["Errors", "Error"]).or_else(|| node.child("Error"));
        let said = |name| error.and_then(|error| error.text(name)).unwrap_or_default().to_owned();
        return Refusal { status, code: said("Code"), message: said("Message") };
    }
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let said = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    let kind = said("__type");
    let code = kind.rsplit('#').next().unwrap_or_default().to_owned();
    let message = [said("Message"), said("message")].concat();
    Refusal { status, code, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_every_interface_are_read() {
        let ec2 = "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message>
            </Error></Errors></Response>";
        assert_eq!(refusal(403, ec2).code, "UnauthorizedOperation");
        let sts = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>
            <Message>no</Message></Error></ErrorResponse>";
        assert_eq!(refusal(403, sts).message, "no");
        let json = r#"{"__type":"com.amazon#AccessDeniedException","Message":"no"}"#;
        assert_eq!(refusal(400, json).code, "AccessDeniedException");
        assert_eq!(refusal(502, "<html>").code, "");
    }
}
