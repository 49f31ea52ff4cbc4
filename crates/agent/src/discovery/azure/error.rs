//! What Azure refused, and what the host's owner can do about it.

use super::api::{Call, about};
use crate::discovery::{Failure, bearer::said_shortly, rest::Answer, shape};

/// As the job tells it. `of` is the subscription, if it is about one.
pub(super) fn refused(answer: &Answer, call: &Call, of: &str) -> Failure {
    let error = &answer.json()["error"];
    let code = shape::text(error, "code").unwrap_or_default();
    let said = shape::text(error, "message").map(said_shortly).unwrap_or_default();
    let mut permission = None;
    let what = match (answer.status, code) {
        (401, "ExpiredAuthenticationToken") => "the credentials have expired".to_owned(),
        (401, _) => "Azure does not accept the credentials".to_owned(),
        (403, _) => {
            permission = Some(call.permission.to_owned());
            format!("denied: allow {}", call.permission)
        }
        (404, "SubscriptionNotFound" | "InvalidSubscriptionId") => {
            "there is no such subscription, or the credentials may not see it".to_owned()
        }
        (status, _) => format!("Azure answered {status}"),
    };
    let error = about(of, format!("{what} ({code}: {said})"));
    Failure { error, call: Some(call.name.to_owned()), permission }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::NETWORKS, *};

    #[test]
    fn a_denied_call_names_what_is_missing() {
        let told = |status: u16, code: &str| {
            let text = json!({ "error": { "code": code, "message": "said" } }).to_string();
            refused(&Answer { status, text }, &NETWORKS, "one")
        };
        let failure = told(403, "AuthorizationFailed");
        let missing = "Microsoft.Network/virtualNetworks/read";
        assert_eq!(failure.permission.as_deref(), Some(missing));
        assert_eq!(failure.call.as_deref(), Some("Virtual Networks - List All"));
        let expected =
            format!("subscription one: denied: allow {missing} (AuthorizationFailed: said)");
        assert_eq!(failure.error, expected);
        for (status, code, part) in [
            (401, "ExpiredAuthenticationToken", "have expired"),
            (401, "InvalidAuthenticationToken", "does not accept"),
            (404, "SubscriptionNotFound", "no such subscription"),
            (409, "Odd", "answered 409"),
        ] {
            let failure = told(status, code);
            assert!(failure.error.contains(part) && failure.permission.is_none(), "{failure}");
        }
    }
}
