//! What AWS refused, and what the host's owner can do about it.

use super::super::Failure;

/// What is told of a message.
const MESSAGE_CHARS_MAX: usize = 512;

/// A refusal, as AWS names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
}

impl Refusal {
    /// Whether the same call may succeed in a moment, as AWS recommends.
    pub(super) fn passes(&self) -> bool {
        self.status >= 500
            || self.status == 429
            || [
                "RequestLimitExceeded",
                "Throttling",
                "ThrottlingException",
                "ThrottledException",
                "TooManyRequestsException",
                "RequestThrottled",
                "SlowDown",
                "EC2ThrottledException",
            ]
            .contains(&self.code.as_str())
    }

    /// As the job tells it. `permission` is what the call needs.
    pub(super) fn told(self, call: &str, permission: &str) -> Failure {
        let denied = ["UnauthorizedOperation", "AccessDenied", "AccessDeniedException"];
        let expired = ["ExpiredToken", "ExpiredTokenException", "RequestExpired"];
        let unknown = [
            "AuthFailure",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "SignatureDoesNotMatch",
        ];
        let said: String = self.message.chars().take(MESSAGE_CHARS_MAX).collect();
        let code = self.code.as_str();
        let (error, permission) = if denied.contains(&code) {
            (format!("denied: allow {permission} ({code}: {said})"), Some(permission.to_owned()))
        } else if expired.contains(&code) {
            (format!("the credentials have expired ({code}: {said})"), None)
        } else if unknown.contains(&code) {
            let why = "AWS does not accept the credentials, or the region is not enabled for them";
            (format!("{why} ({code}: {said})"), None)
        } else {
            (format!("AWS answered {} {code}: {said}", self.status), None)
        };
        Failure { error, call: Some(call.to_owned()), permission }
    }
}

/// There is nothing to sign with.
pub(super) fn no_credentials(why: &str) -> Failure {
    let error = if why.is_empty() {
        "no AWS credentials were found on this host".to_owned()
    } else {
        format!("no AWS credentials were found on this host: {why}")
    };
    Failure { error, call: Some("credentials".to_owned()), permission: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str) -> Refusal {
        Refusal { status, code: code.to_owned(), message: "said".to_owned() }
    }

    #[test]
    fn a_denied_call_names_what_is_missing() {
        let told = refusal(403, "UnauthorizedOperation").told("DescribeVpcs", "ec2:DescribeVpcs");
        assert_eq!(told.permission.as_deref(), Some("ec2:DescribeVpcs"));
        assert_eq!(told.call.as_deref(), Some("DescribeVpcs"));
        let told = refusal(400, "RequestExpired").told("DescribeVpcs", "ec2:DescribeVpcs");
        assert!(told.error.contains("expired") && told.permission.is_none(), "{told}");
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        assert!(refusal(503, "Unavailable").passes());
        assert!(refusal(400, "Throttling").passes());
        assert!(refusal(503, "RequestLimitExceeded").passes());
        assert!(!refusal(403, "AccessDenied").passes());
    }
}
