//! The API key that an operator hands over: tried, and kept once the server has taken it.
//!
//! *Invariant:* no key is kept that no handshake has proved, wherever it came from: a wrong one
//! changes nothing. A crash before it is kept leaves everything as it was.

use std::sync::Arc;

use crate::{
    backoff::Backoff,
    config::AgentConfig,
    credentials::{Credentials, Registered, SecretText},
    deps::Deps,
    enrol::EnrolError,
    error::AgentError,
    host,
    run::{Home, Patience, link_of},
    session::{Applicant, Refusals, Verdict, handshake, judge},
    trust::TrustedCallError,
};

/// Tries a key, and keeps it together with the continuation that proved it: whoever finds the one
/// finds the other. The inner error is the server's no, or that it was not heard.
pub(crate) async fn prove(
    config: &AgentConfig,
    home: &Home,
    deps: &Deps,
    state: Credentials,
    key: SecretText,
) -> Result<Result<Registered, TrustedCallError>, AgentError> {
    let state = state.keyed(key).map_err(|_| EnrolError::Stale)?;
    let Credentials::Registered(registered) = state else {
        return Err(EnrolError::Stale.into());
    };
    let link = link_of(config, &registered)?;
    let machine_id =
        registered.machine_id.and_then(|_| host::machine_id(&registered.server_thumbprint));
    let applicant = Applicant { registered: &registered, keys: &home.keys, machine_id };
    let opened = match handshake(&link, &applicant, deps).await {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(error)),
    };
    let kept = Registered { continuation: Some(opened.continuation), ..registered };
    let kept = kept.knowing(&opened.server);
    Credentials::Registered(kept.clone()).save(&home.dir)?;
    Ok(Ok(kept))
}

/// What a failed attempt with a handed-over key is to whoever reads it.
pub(crate) fn failure(error: TrustedCallError) -> AgentError {
    match judge(&error) {
        Verdict::Wait | Verdict::Doubt | Verdict::Refused => AgentError::Refused(error),
        Verdict::Retry => AgentError::Enrol(error.into()),
    }
}

/// Brings the key that the settings name, asking for as long as the server does not take it: a no is
/// not signed, and an operator may yet approve.
pub(crate) async fn bring_key(
    config: &AgentConfig,
    home: &Home,
    deps: &Deps,
) -> Result<Registered, AgentError> {
    let key = config.api_key.clone().ok_or(EnrolError::AwaitsKey)?;
    let mut patience = Patience {
        backoff: Backoff::new(Arc::clone(&deps.entropy)),
        refusals: Refusals::new(Arc::clone(&deps.entropy)),
    };
    loop {
        let state = Credentials::load(&home.dir)?;
        let error = match prove(config, home, deps, state, key.clone()).await? {
            Ok(registered) => return Ok(registered),
            Err(error) => error,
        };
        let asked = match &error {
            TrustedCallError::Call(error) => error.retry_after(),
            TrustedCallError::Distrust(_) => None,
        };
        let error = failure(error);
        let is_refusal = matches!(error, AgentError::Refused(_));
        tokio::time::sleep(patience.delay(home, &error, is_refusal, asked)).await;
    }
}
