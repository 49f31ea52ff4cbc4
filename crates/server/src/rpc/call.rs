//! From a call's metadata to its origin and its caller.
//!
//! *Invariant:* whoever is refused here was refused by a use case, or showed no credential at all.
//! Values of metadata are never logged.

use std::net::SocketAddr;

use argosy_domain::access::Caller;
use argosy_wire::problem::Code;
use axum::{
    extract::ConnectInfo,
    http::{HeaderMap, header},
};
use connectrpc::{RequestContext, Spec};

use crate::app::{
    App, Origin, TraceId,
    error::{AppError, AppResult},
    sessions::{ProvedSession, SessionCall},
};

/// The HTTP method of every call.
const METHOD: &str = "POST";

/// Where a call came from.
pub(super) fn origin(ctx: &RequestContext) -> Origin {
    let extensions = ctx.extensions();
    Origin {
        source: extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()),
        trace_id: extensions.get::<TraceId>().map(|id| id.0.clone()),
    }
}

/// What the metadata `authorization` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown<'a> {
    /// An API key.
    Bearer(&'a str),
    /// A session token.
    Dpop(&'a str),
}

/// Exactly one value of a key, as text.
fn one<'m>(metadata: &'m HeaderMap, key: &str) -> Option<&'m str> {
    let mut values = metadata.get_all(key).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    value.to_str().ok()
}

fn shown(metadata: &HeaderMap) -> AppResult<Shown<'_>> {
    let unauthenticated = || AppError::new(Code::Unauthenticated);
    let text = one(metadata, header::AUTHORIZATION.as_str()).ok_or_else(unauthenticated)?;
    let (scheme, secret) = text.split_once(' ').ok_or_else(unauthenticated)?;
    if scheme.eq_ignore_ascii_case("dpop") {
        Ok(Shown::Dpop(secret.trim()))
    } else if scheme.eq_ignore_ascii_case("bearer") {
        Ok(Shown::Bearer(secret.trim()))
    } else {
        Err(unauthenticated())
    }
}

async fn prove(
    app: &App,
    ctx: &RequestContext,
    token: &str,
    procedure: Spec,
    opens_stream: bool,
) -> AppResult<ProvedSession> {
    let proof = one(ctx.headers(), "dpop").unwrap_or_default();
    let path = procedure.procedure;
    let machine_id = one(ctx.headers(), "x-machine-id");
    let version = one(ctx.headers(), "x-agent-version");
    let call =
        SessionCall { token, proof, method: METHOD, path, machine_id, version, opens_stream };
    app.prove_session(&origin(ctx), call).await
}

/// A refusal of a session call: it carries the nonce for the next proof, whatever it is about.
pub(super) fn with_nonce(app: &App, error: AppError) -> AppError {
    AppError { dpop_nonce: Some(app.dpop_nonce()), ..error }
}

/// Whoever calls the administration.
pub(super) async fn operator(app: &App, ctx: &RequestContext) -> AppResult<Caller> {
    match shown(ctx.headers())? {
        Shown::Bearer(key) => app.authenticate_key(&origin(ctx), key).await,
        Shown::Dpop(_) => Err(AppError::new(Code::Unauthenticated)),
    }
}

/// The agent of a session call. One that cannot sign shows its API key.
pub(super) async fn agent(app: &App, ctx: &RequestContext, procedure: Spec) -> AppResult<Caller> {
    match shown(ctx.headers())? {
        Shown::Bearer(key) => app.authenticate_key(&origin(ctx), key).await,
        Shown::Dpop(token) => Ok(prove(app, ctx, token, procedure, false).await?.into()),
    }
}

/// The session that opens a stream, and its token.
pub(super) async fn stream_session(
    app: &App,
    ctx: &RequestContext,
    procedure: Spec,
) -> AppResult<(ProvedSession, String)> {
    match shown(ctx.headers())? {
        Shown::Dpop(token) => {
            let proved = prove(app, ctx, token, procedure, true).await?;
            Ok((proved, token.to_owned()))
        }
        Shown::Bearer(key) => {
            app.authenticate_key(&origin(ctx), key).await?;
            Err(AppError::because(Code::Forbidden, "a control stream needs a session"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(values: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn exactly_one_credential_of_a_known_scheme_counts() {
        assert_eq!(shown(&metadata(&["DPoP a.b.c"])).unwrap(), Shown::Dpop("a.b.c"));
        assert_eq!(shown(&metadata(&["dpop a"])).unwrap(), Shown::Dpop("a"));
        assert_eq!(shown(&metadata(&["Bearer agent_x"])).unwrap(), Shown::Bearer("agent_x"));
        for bad in [&[][..], &["Bearer a", "Bearer a"], &["Basic a"], &["token"], &[""]] {
            assert_eq!(shown(&metadata(bad)).unwrap_err().code, Code::Unauthenticated, "{bad:?}");
        }
    }

    #[test]
    fn the_origin_is_what_the_connection_and_the_trace_say() {
        let peer: SocketAddr = "10.0.0.9:4711".parse().unwrap();
        let mut ctx = RequestContext::new(HeaderMap::new());
        assert!(origin(&ctx).source.is_none());
        ctx.extensions_mut().insert(ConnectInfo(peer));
        ctx.extensions_mut().insert(TraceId("t-1".to_owned()));
        let origin = origin(&ctx);
        assert_eq!(origin.source, Some(peer.ip()));
        assert_eq!(origin.trace_id.as_deref(), Some("t-1"));
    }
}
