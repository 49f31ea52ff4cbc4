//! Errors as every client sees them: RFC 9457 problem details, one table of codes.
//!
//! *Invariant:* a code has one HTTP status and one RPC status, and both stand in [`Code::parts`].
//! Internal detail never enters a problem.

use serde::{Deserialize, Serialize};

/// gRPC status codes, as numbered by the gRPC specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RpcStatus {
    /// The request is invalid whatever the state.
    InvalidArgument = 3,
    /// No such thing.
    NotFound = 5,
    /// The caller is known and may not.
    PermissionDenied = 7,
    /// A quota or rate is used up.
    ResourceExhausted = 8,
    /// Not in the present state.
    FailedPrecondition = 9,
    /// No such operation.
    Unimplemented = 12,
    /// A fault of the server.
    Internal = 13,
    /// Try again.
    Unavailable = 14,
    /// The caller is not known.
    Unauthenticated = 16,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $http:literal, $rpc:ident, $title:literal;)*) => {
        /// A stable error code. A new one begins here, with its statuses and its sentence.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Name, HTTP status, RPC status, title.
            pub const fn parts(self) -> (&'static str, u16, RpcStatus, &'static str) {
                match self { $(Self::$name => ($text, $http, RpcStatus::$rpc, $title),)* }
            }
        }
    };
}

codes! {
    /// The body or query is not what the route reads.
    Malformed = "malformed", 400, InvalidArgument, "The request could not be read";
    /// Missing or bad credentials. Says nothing about which.
    Unauthenticated = "unauthenticated", 401, Unauthenticated, "Not authenticated";
    /// An enrolment token that admits nobody. Says nothing about why.
    InvalidToken = "invalid_token", 401, Unauthenticated, "The enrolment token was not accepted";
    /// A bare secret of somebody who has proved a key.
    ProofRequired = "proof_required", 401, Unauthenticated, "This agent has keys: a handshake and DPoP are required";
    /// The proof lacks the server's fresh nonce; the answer carries it (RFC 9449, section 8).
    UseDpopNonce = "use_dpop_nonce", 401, Unauthenticated, "The proof needs the nonce of this answer";
    /// The proof does not fit the request, the token or the key.
    InvalidProof = "invalid_dpop_proof", 401, Unauthenticated, "The proof was not accepted";
    /// The session is over, unknown or void.
    InvalidSession = "invalid_session", 401, Unauthenticated, "The session is not valid";
    /// The handshake did not prove the agent.
    HandshakeRefused = "handshake_refused", 401, Unauthenticated, "The handshake was not accepted";
    /// Known, and not allowed.
    Forbidden = "forbidden", 403, PermissionDenied, "Not allowed";
    /// The user has a password that somebody else knows and must choose another one first.
    PasswordChangeRequired = "password_change_required", 403, FailedPrecondition, "Choose a new password first";
    /// A call with a cookie came without what shows that the user sent it.
    CsrfRefused = "csrf_refused", 403, PermissionDenied, "The request does not show that it comes from the console";
    /// The agent waits for approval.
    NotApproved = "not_approved", 403, FailedPrecondition, "The agent is not approved yet";
    /// The agent is quarantined: nothing is handed out to it.
    Quarantined = "quarantined", 403, FailedPrecondition, "The agent is quarantined";
    /// The token belongs to another account.
    AccountMismatch = "account_mismatch", 403, PermissionDenied, "The token is for another account";
    /// The machine is not the one that enrolled.
    MachineMismatch = "machine_mismatch", 403, PermissionDenied, "The machine is not the one that enrolled";
    /// The agent came back with an older version than the recorded one.
    Downgrade = "downgrade", 403, PermissionDenied, "The agent is older than it was";
    /// The installation admits no agents without keys.
    ApiKeyAgentsForbidden = "api_key_agents_forbidden", 403, PermissionDenied, "Agents without keys are not admitted here";
    /// Unknown, or not the caller's.
    NotFound = "not_found", 404, NotFound, "Not found";
    /// The route has no such method.
    MethodNotAllowed = "method_not_allowed", 405, Unimplemented, "The method is not allowed here";
    /// Not possible in the present state.
    WrongState = "wrong_state", 409, FailedPrecondition, "Not possible in the present state";
    /// No package is approved for any of the agents.
    NothingApproved = "nothing_approved", 409, FailedPrecondition, "Nothing is approved to be installed there";
    /// What is to be installed was not tried on some agent.
    DryRunFirst = "dry_run_first", 409, FailedPrecondition, "Try it first, with a dry run";
    /// A live agent has this name.
    DuplicateName = "duplicate_name", 409, FailedPrecondition, "The name is taken by a live agent";
    /// A live agent has this identity key.
    DuplicateKey = "duplicate_key", 409, FailedPrecondition, "The identity key is taken by a live agent";
    /// The fingerprint that was compared is not the agent's.
    FingerprintMismatch = "fingerprint_mismatch", 409, FailedPrecondition, "The fingerprint differs: do not approve";
    /// The same idempotency key with another request.
    IdempotencyConflict = "idempotency_conflict", 409, FailedPrecondition, "The idempotency key was used for another request";
    /// A write with this idempotency key is being carried out.
    IdempotencyInProgress = "idempotency_in_progress", 409, FailedPrecondition, "A request with this idempotency key is being carried out";
    /// A write with this idempotency key was carried out, and what was answered is not kept.
    IdempotencyAnswerLost = "idempotency_answer_lost", 409, FailedPrecondition, "The request was carried out, and its answer is not kept";
    /// Larger than the limit of the route.
    TooLarge = "too_large", 413, ResourceExhausted, "The request is too large";
    /// Not JSON.
    UnsupportedMediaType = "unsupported_media_type", 415, InvalidArgument, "The media type is not supported";
    /// Readable, and a field is not acceptable.
    Invalid = "invalid", 422, InvalidArgument, "A field is not valid";
    /// A write with the idempotency key of another one.
    IdempotencyKeyReused = "idempotency_key_reused", 422, InvalidArgument, "The idempotency key was used for another request";
    /// The agent is older than this server admits.
    UpgradeRequired = "upgrade_required", 426, FailedPrecondition, "The agent is too old";
    /// Too many failed attempts or too many requests.
    RateLimited = "rate_limited", 429, ResourceExhausted, "Too many attempts";
    /// The queue of the agent is full.
    QueueFull = "queue_full", 429, ResourceExhausted, "The queue is full";
    /// A fault of the server. The log knows more, under the trace id.
    Internal = "internal", 500, Internal, "The server failed";
    /// Not now: the store or the server is busy or away.
    Unavailable = "unavailable", 503, Unavailable, "Not available now";
}

impl Code {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        self.parts().0
    }

    /// The HTTP status.
    pub fn http(self) -> u16 {
        self.parts().1
    }

    /// The gRPC status.
    pub fn rpc(self) -> RpcStatus {
        self.parts().2
    }

    /// One short sentence for people.
    pub fn title(self) -> &'static str {
        self.parts().3
    }
}

/// A field that was not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldProblem {
    /// Its name, with dots and indexes inside: `keys[0].public_key`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// Problem details (RFC 9457) as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `urn:argosy:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's sentence; the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This occurrence, in a sentence.
    pub detail: String,
    /// The same sentence, for simple clients.
    pub error: String,
    /// The stable code.
    pub code: String,
    /// Finds this request in the server's log.
    pub trace_id: String,
    /// Field by field, where fields are the problem.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

/// The media type of [`Problem`].
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_code_has_its_own_name_and_an_error_status() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| (400..=599).contains(&code.http())));
    }
}
