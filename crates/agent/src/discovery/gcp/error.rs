//! What Google Cloud refused, and what the host's owner can do about it.

use super::resources::Kind;
use crate::discovery::{Failure, bearer::said_shortly, rest::Answer, shape};

/// Why, in Google's word; the first of its errors, or what its details say.
fn reason(answer: &Answer) -> String {
    let error = &answer.json()["error"];
    let detailed = shape::list(error, "details").find_map(|detail| shape::text(detail, "reason"));
    let listed = shape::list(error, "errors").find_map(|error| shape::text(error, "reason"));
    let status = || shape::text(error, "status");
    detailed.or(listed).or_else(status).unwrap_or_default().to_owned()
}

/// Whether the same call may succeed in a moment. Quotas are refused as if they were forbidden.
pub(super) fn passes(answer: &Answer) -> bool {
    let quota = ["rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"];
    answer.asks_for_patience() || (answer.status == 403 && quota.contains(&reason(answer).as_str()))
}

/// The permission that a message names: `Required 'compute.networks.list' permission for …`.
fn required(said: &str) -> Option<&str> {
    let (_, named) = said.split_once("Required '")?;
    named.split_once('\'').map(|(name, _)| name).filter(|name| name.starts_with("compute."))
}

/// As the job tells it.
pub(super) fn refused(answer: &Answer, kind: &Kind, project: &str) -> Failure {
    let reason = reason(answer);
    let said = answer.json()["error"]["message"].as_str().map(said_shortly).unwrap_or_default();
    let mut permission = None;
    let what = match (answer.status, reason.as_str()) {
        (401, _) => "Google does not accept the credentials".to_owned(),
        (403, "accessNotConfigured" | "SERVICE_DISABLED") => {
            "the Compute Engine API is not enabled: enable compute.googleapis.com".to_owned()
        }
        (403, "insufficientPermissions" | "ACCESS_TOKEN_SCOPE_INSUFFICIENT") => {
            "the access scopes of this machine do not include compute-ro: give it that one, or \
             cloud-platform"
                .to_owned()
        }
        (403, _) => {
            let missing = required(&said).unwrap_or(kind.permission);
            permission = Some(missing.to_owned());
            format!("denied: allow {missing}")
        }
        (404, _) => "there is no such project, or the credentials may not see it".to_owned(),
        (status, _) => format!("Google answered {status}"),
    };
    let error = format!("project {project}: {what} ({reason}: {said})");
    Failure { error, call: Some(kind.call.to_owned()), permission }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::resources::KINDS, *};

    fn answer(status: u16, reason: &str) -> Answer {
        let error = json!({ "code": status, "message": "said\n so", "status": "PERMISSION_DENIED",
            "errors": [{ "reason": reason, "domain": "usageLimits" }] });
        Answer { status, text: json!({ "error": error }).to_string() }
    }

    #[test]
    fn a_denied_call_names_what_is_missing() {
        let failure = refused(&answer(403, "forbidden"), &KINDS[0], "alpha");
        assert_eq!(failure.permission.as_deref(), Some("compute.networks.list"));
        let expected = "project alpha: denied: allow compute.networks.list (forbidden: said so)";
        assert_eq!(failure.error, expected);
        for (status, reason, part) in [
            (403, "accessNotConfigured", "is not enabled"),
            (403, "insufficientPermissions", "access scopes"),
            (404, "notFound", "no such project"),
            (401, "authError", "does not accept"),
            (502, "", "answered 502"),
        ] {
            let failure = refused(&answer(status, reason), &KINDS[0], "alpha");
            assert!(failure.error.contains(part) && failure.permission.is_none(), "{failure}");
        }
    }

    #[test]
    fn the_permission_is_the_one_that_google_names() {
        let said = "Required 'compute.globalAddresses.list' permission for 'projects/alpha'";
        assert_eq!(required(said), Some("compute.globalAddresses.list"));
        assert_eq!(required("Required 'something else'"), None);
        assert_eq!(required("no"), None);
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        assert!(passes(&answer(403, "rateLimitExceeded")));
        assert!(passes(&answer(429, "")));
        assert!(passes(&answer(503, "backendError")));
        assert!(!passes(&answer(403, "forbidden")));
        assert!(!passes(&answer(404, "notFound")));
    }

    #[test]
    fn details_say_more_than_errors() {
        let text = json!({ "error": { "status": "PERMISSION_DENIED",
            "errors": [{ "reason": "forbidden" }],
            "details": [{ "@type": "x" }, { "reason": "SERVICE_DISABLED" }] } });
        let answer = Answer { status: 403, text: text.to_string() };
        assert_eq!(reason(&answer), "SERVICE_DISABLED");
    }
}
