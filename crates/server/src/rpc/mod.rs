//! The RPC interface (gRPC, gRPC-Web, Connect): methods that read a message, call a use case, and
//! answer.
//!
//! *Invariant:* nothing is decided here and the store is not named here. No message, token or value
//! of metadata is ever logged. Every message, stream and queue has a limit, by name.

mod admin;
mod call;
mod control_stream;
mod convert;
mod gateway;
mod outbound;
mod status;
#[cfg(test)]
mod tests;
mod uploads;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use argosy_domain::limits::PAYLOAD_BYTES_MAX;
use argosy_wire::rpc::{
    FILE_DESCRIPTOR_SET,
    admin::{
        AGENT_ADMIN_SERVICE_CONFIRM_AGENT_SPEC as CONFIRM_AGENT,
        AGENT_ADMIN_SERVICE_CREATE_ENROLLMENT_CODE_SPEC as CREATE_ENROLLMENT_CODE,
        AGENT_ADMIN_SERVICE_LIST_AGENTS_SPEC as LIST_AGENTS,
        AGENT_ADMIN_SERVICE_LIST_ENROLLMENT_CODES_SPEC as LIST_ENROLLMENT_CODES,
        AGENT_ADMIN_SERVICE_REJECT_AGENT_SPEC as REJECT_AGENT,
        AGENT_ADMIN_SERVICE_REVOKE_AGENT_SPEC as REVOKE_AGENT,
        AGENT_ADMIN_SERVICE_REVOKE_ENROLLMENT_CODE_SPEC as REVOKE_ENROLLMENT_CODE,
        AGENT_ADMIN_SERVICE_SERVICE_NAME as ADMIN,
    },
    gateway::{
        AGENT_GATEWAY_SERVICE_BEGIN_AUTH_HANDSHAKE_SPEC as BEGIN_AUTH_HANDSHAKE,
        AGENT_GATEWAY_SERVICE_COMPLETE_AUTH_HANDSHAKE_SPEC as COMPLETE_AUTH_HANDSHAKE,
        AGENT_GATEWAY_SERVICE_CONTROL_STREAM_SPEC as CONTROL_STREAM,
        AGENT_GATEWAY_SERVICE_REGISTER_SPEC as REGISTER,
        AGENT_GATEWAY_SERVICE_ROTATE_IDENTITY_KEY_SPEC as ROTATE_IDENTITY_KEY,
        AGENT_GATEWAY_SERVICE_SERVICE_NAME as GATEWAY,
        AGENT_GATEWAY_SERVICE_UPLOAD_EVENTS_SPEC as UPLOAD_EVENTS,
        AGENT_GATEWAY_SERVICE_UPLOAD_HEARTBEAT_SPEC as UPLOAD_HEARTBEAT,
        AGENT_GATEWAY_SERVICE_UPLOAD_INVENTORY_SPEC as UPLOAD_INVENTORY,
        AGENT_GATEWAY_SERVICE_UPLOAD_TELEMETRY_SPEC as UPLOAD_TELEMETRY,
    },
};
use connectrpc::{ConnectRpcService, DeadlinePolicy, Limits, Router as Methods, Spec, StreamType};
use connectrpc_health::wire::{HEALTH_CHECK_SPEC, HEALTH_WATCH_SPEC};
use connectrpc_reflection::{
    Reflector, SERVER_REFLECTION_SERVICE_NAME, SERVER_REFLECTION_V1ALPHA_SERVICE_NAME,
};

use crate::app::App;

/// One message: a payload and what goes around it.
const MESSAGE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 64 * 1024;
/// One message of somebody who has not proved anything yet.
const UNPROVED_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Memory that one message may ask for beyond its own bytes (repeated fields, maps).
const ELEMENT_BYTES_MAX: usize = 1024 * 1024;
/// How long a call with one request and one answer may take, its arrival included.
const CALL_WITHIN: Duration = Duration::from_secs(30);

/// The methods of our own services.
const OWN: [Spec; 16] = [
    REGISTER,
    BEGIN_AUTH_HANDSHAKE,
    COMPLETE_AUTH_HANDSHAKE,
    UPLOAD_HEARTBEAT,
    UPLOAD_INVENTORY,
    UPLOAD_TELEMETRY,
    UPLOAD_EVENTS,
    ROTATE_IDENTITY_KEY,
    CONTROL_STREAM,
    CREATE_ENROLLMENT_CODE,
    LIST_ENROLLMENT_CODES,
    REVOKE_ENROLLMENT_CODE,
    LIST_AGENTS,
    CONFIRM_AGENT,
    REJECT_AGENT,
    REVOKE_AGENT,
];

/// The methods that everybody may call and that touch no use case.
const PUBLIC: [Spec; 4] = [
    HEALTH_CHECK_SPEC,
    HEALTH_WATCH_SPEC,
    connectrpc_reflection::wire::v1::SERVER_REFLECTION_SERVER_REFLECTION_INFO_SPEC,
    connectrpc_reflection::wire::v1alpha::SERVER_REFLECTION_SERVER_REFLECTION_INFO_SPEC,
];

/// Every procedure that is served, as its path: `/package.Service/Method`.
pub fn procedures() -> Vec<String> {
    OWN.iter().chain(&PUBLIC).map(|spec| spec.procedure.to_owned()).collect()
}

fn limits(message_bytes_max: usize) -> Limits {
    Limits::default()
        .with_max_message_size(message_bytes_max)
        .with_max_request_body_size(message_bytes_max)
        .with_element_memory_limit(ELEMENT_BYTES_MAX)
}

/// All methods with their own limits.
fn methods(app: &App) -> Methods {
    let (methods, _always_serving) =
        connectrpc_health::install_static(Methods::new(), [GATEWAY, ADMIN]);
    let reflector = Reflector::from_descriptor_set_bytes(FILE_DESCRIPTOR_SET)
        .expect(
            "the committed contract is a descriptor set: a test of wire holds it equal to proto/",
        )
        .with_services([
            GATEWAY,
            ADMIN,
            SERVER_REFLECTION_SERVICE_NAME,
            SERVER_REFLECTION_V1ALPHA_SERVICE_NAME,
        ]);
    let mut methods = connectrpc_reflection::install(methods, reflector)
        .add_service(Arc::new(gateway::Gateway(app.clone())))
        .add_service(Arc::new(admin::Admin(app.clone())));
    for unproved in [REGISTER, BEGIN_AUTH_HANDSHAKE, COMPLETE_AUTH_HANDSHAKE] {
        let limits = limits(UNPROVED_MESSAGE_BYTES_MAX);
        methods = methods.with_route_limits(unproved.procedure, limits);
    }
    methods
}

/// Both services, health and reflection, to be merged beside REST. Expects the peer's address as
/// `ConnectInfo<SocketAddr>` and the trace id as [`TraceId`](crate::app::TraceId) among the
/// extensions of a request.
pub fn router(app: &App) -> axum::Router {
    let streams = ConnectRpcService::new(methods(app)).with_limits(limits(MESSAGE_BYTES_MAX));
    let deadline = DeadlinePolicy::new().with_max(CALL_WITHIN).with_default_timeout(CALL_WITHIN);
    let calls = streams.clone().with_deadline_policy(deadline.clone());
    // Whoever has proved nothing keeps no stream open: health and reflection answer and end.
    let public = streams.clone().with_deadline_policy(deadline.with_enforce_on_streams(true));
    let mut router = axum::Router::new();
    let mut services = BTreeSet::new();
    for spec in OWN.iter().chain(&PUBLIC) {
        let service = match spec.stream_type {
            _ if PUBLIC.iter().any(|open| open.procedure == spec.procedure) => public.clone(),
            StreamType::Unary => calls.clone(),
            StreamType::ClientStream | StreamType::ServerStream | StreamType::BidiStream => {
                streams.clone()
            }
        };
        router = router.route_service(spec.procedure, service);
        services.extend(spec.procedure.rsplit_once('/').map(|(service, _)| service));
    }
    // Another method of a known service is UNIMPLEMENTED, in the caller's own protocol.
    services.into_iter().fold(router, |router, service| {
        router.route_service(&format!("{service}/{{method}}"), calls.clone())
    })
}
