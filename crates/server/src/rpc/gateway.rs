//! The agents' service: each method reads a message, calls a use case, and answers.

use argosy_wire::{
    rest::{agents::Heartbeat, enrolment::Register},
    rpc::gateway::{
        AGENT_GATEWAY_SERVICE_CONTROL_STREAM_SPEC as CONTROL_STREAM,
        AGENT_GATEWAY_SERVICE_ROTATE_IDENTITY_KEY_SPEC as ROTATE_IDENTITY_KEY,
        AGENT_GATEWAY_SERVICE_UPLOAD_EVENTS_SPEC as UPLOAD_EVENTS,
        AGENT_GATEWAY_SERVICE_UPLOAD_HEARTBEAT_SPEC as UPLOAD_HEARTBEAT,
        AGENT_GATEWAY_SERVICE_UPLOAD_INVENTORY_SPEC as UPLOAD_INVENTORY,
        AGENT_GATEWAY_SERVICE_UPLOAD_TELEMETRY_SPEC as UPLOAD_TELEMETRY, AgentGatewayService,
        BeginAuthHandshakeRequest, BeginAuthHandshakeResponse, CompleteAuthHandshakeRequest,
        CompleteAuthHandshakeResponse, ControlStreamRequest, ControlStreamResponse,
        CosignedStatement, RegisterRequest, RegisterResponse, RotateIdentityKeyRequest,
        RotateIdentityKeyResponse, UploadEventsRequest, UploadEventsResponse,
        UploadHeartbeatRequest, UploadHeartbeatResponse, UploadInventoryRequest,
        UploadInventoryResponse, UploadTelemetryRequest, UploadTelemetryResponse,
    },
};
use connectrpc::{
    Encodable, InboundStream, RequestContext, Response, ServiceRequest, ServiceResult,
    ServiceStream,
};

use super::{
    call, control_stream, convert,
    status::{self, refuse},
    uploads::{self, Chunks, Upload},
};
use crate::app::{App, enrolment::Registered, error::AppResult};

/// The agents' service.
pub(super) struct Gateway(pub(super) App);

impl Gateway {
    /// The answer to a session call: with the nonce for the next proof, whatever it says.
    fn answer<T>(&self, outcome: AppResult<T>) -> ServiceResult<T> {
        match outcome {
            Ok(body) => Ok(self.with_nonce(Response::new(body))),
            Err(error) => Err(refuse(call::with_nonce(&self.0, error))),
        }
    }

    fn with_nonce<T>(&self, mut response: Response<T>) -> Response<T> {
        if let Ok(nonce) = self.0.dpop_nonce().parse() {
            response.headers.insert(status::NONCE, nonce);
        }
        response
    }

    /// With a token, or with a service key where there is none.
    async fn registration(
        &self,
        ctx: &RequestContext,
        request: &Register,
    ) -> AppResult<Registered> {
        let origin = call::origin(ctx);
        let shown = ctx.headers().contains_key(axum::http::header::AUTHORIZATION);
        if shown && request.bootstrap_token.is_empty() {
            let caller = call::operator(&self.0, ctx).await?;
            self.0.register_with_key(&caller, &origin, request).await
        } else {
            self.0.register(&origin, request).await
        }
    }

    async fn take_heartbeat(
        &self,
        ctx: &RequestContext,
        sent_at: &str,
        agent_id: &str,
    ) -> AppResult<UploadHeartbeatResponse> {
        let caller = call::agent(&self.0, ctx, UPLOAD_HEARTBEAT).await?;
        convert::check_time("sent_at", sent_at)?;
        let agent_id = (!agent_id.is_empty()).then(|| agent_id.to_owned());
        let heartbeat = Heartbeat { agent_id, ..Heartbeat::default() };
        let received = self.0.heartbeat(&caller, &call::origin(ctx), &heartbeat).await?;
        Ok(UploadHeartbeatResponse {
            received_at: received.at.to_string(),
            commands_pending: received.commands_pending,
            ..Default::default()
        })
    }

    async fn take_rotation(
        &self,
        ctx: &RequestContext,
        statement: Option<&CosignedStatement>,
    ) -> AppResult<RotateIdentityKeyResponse> {
        let caller = call::agent(&self.0, ctx, ROTATE_IDENTITY_KEY).await?;
        let (rotation, origin) = (convert::rotation(statement), call::origin(ctx));
        let rotated_at =
            self.0.rotate_identity_key(&caller, &origin, rotation.as_ref()).await?.to_string();
        Ok(RotateIdentityKeyResponse { rotated_at, ..Default::default() })
    }

    async fn take_reports(
        &self,
        ctx: &RequestContext,
        reports: InboundStream<UploadInventoryRequest>,
    ) -> AppResult<UploadInventoryResponse> {
        let caller = call::agent(&self.0, ctx, UPLOAD_INVENTORY).await?;
        let mut upload = Upload::new(reports);
        let mut chunks = Chunks::default();
        while let Some(message) = upload.next().await? {
            let message = message.to_owned_message();
            if uploads::is_chunk(&message) {
                chunks.take(&self.0, &caller, &message).await?;
            } else {
                self.0.take_report(&caller, convert::run(message)?).await?;
            }
            upload.count(true);
        }
        Ok(chunks.answer(upload.accepted))
    }

    async fn take_telemetry(
        &self,
        ctx: &RequestContext,
        batches: InboundStream<UploadTelemetryRequest>,
    ) -> AppResult<UploadTelemetryResponse> {
        let caller = call::agent(&self.0, ctx, UPLOAD_TELEMETRY).await?;
        let mut upload = Upload::new(batches);
        while let Some(batch) = upload.next().await? {
            let batch = uploads::telemetry(batch.to_owned_message())?;
            upload.count(self.0.take_telemetry(&caller, batch).await?);
        }
        let Upload { accepted: accepted_count, duplicates, .. } = upload;
        Ok(UploadTelemetryResponse { accepted_count, duplicates, ..Default::default() })
    }

    async fn take_events(
        &self,
        ctx: &RequestContext,
        batches: InboundStream<UploadEventsRequest>,
    ) -> AppResult<UploadEventsResponse> {
        let caller = call::agent(&self.0, ctx, UPLOAD_EVENTS).await?;
        let mut upload = Upload::new(batches);
        while let Some(batch) = upload.next().await? {
            let batch = uploads::events(batch.to_owned_message())?;
            upload.count(self.0.take_events(&caller, batch).await?);
        }
        let Upload { accepted: accepted_count, duplicates, .. } = upload;
        Ok(UploadEventsResponse { accepted_count, duplicates, ..Default::default() })
    }
}

impl AgentGatewayService for Gateway {
    async fn register<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, RegisterRequest>,
    ) -> ServiceResult<impl Encodable<RegisterResponse> + Send + use<'a>> {
        let request = convert::register(request.to_owned_message());
        let registered = self
            .registration(&ctx, &request)
            .await
            .map_err(|error| refuse(status::with_field_names(error, convert::REGISTER_FIELDS)))?;
        Response::ok(convert::registered(&registered, &self.0.keyring()))
    }

    async fn begin_auth_handshake<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, BeginAuthHandshakeRequest>,
    ) -> ServiceResult<impl Encodable<BeginAuthHandshakeResponse> + Send + use<'a>> {
        let begin = convert::begin(request.to_owned_message()).map_err(refuse)?;
        let issued = self.0.begin_handshake(&call::origin(&ctx), &begin).await.map_err(refuse)?;
        Response::ok(convert::challenge(issued))
    }

    async fn complete_auth_handshake<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, CompleteAuthHandshakeRequest>,
    ) -> ServiceResult<impl Encodable<CompleteAuthHandshakeResponse> + Send + use<'a>> {
        let complete = convert::complete(request.to_owned_message()).map_err(refuse)?;
        let origin = call::origin(&ctx);
        let established = self.0.complete_handshake(&origin, &complete).await.map_err(refuse)?;
        let response = CompleteAuthHandshakeResponse {
            session_token: established.session.token,
            expires_at: established.session.expires_at.to_string(),
            continuation: established.continuation.0.to_vec(),
            dpop_nonce: self.0.dpop_nonce(),
            scope: established.session.reach.as_str().to_owned(),
            ..Default::default()
        };
        Ok(self.with_nonce(Response::new(response)))
    }

    async fn upload_heartbeat<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, UploadHeartbeatRequest>,
    ) -> ServiceResult<impl Encodable<UploadHeartbeatResponse> + Send + use<'a>> {
        self.answer(self.take_heartbeat(&ctx, request.sent_at, request.agent_id).await)
    }

    async fn upload_inventory<'a>(
        &'a self,
        ctx: RequestContext,
        requests: InboundStream<UploadInventoryRequest>,
    ) -> ServiceResult<impl Encodable<UploadInventoryResponse> + Send + use<'a>> {
        self.answer(self.take_reports(&ctx, requests).await)
    }

    async fn upload_telemetry<'a>(
        &'a self,
        ctx: RequestContext,
        requests: InboundStream<UploadTelemetryRequest>,
    ) -> ServiceResult<impl Encodable<UploadTelemetryResponse> + Send + use<'a>> {
        self.answer(self.take_telemetry(&ctx, requests).await)
    }

    async fn upload_events<'a>(
        &'a self,
        ctx: RequestContext,
        requests: InboundStream<UploadEventsRequest>,
    ) -> ServiceResult<impl Encodable<UploadEventsResponse> + Send + use<'a>> {
        self.answer(self.take_events(&ctx, requests).await)
    }

    async fn rotate_identity_key<'a>(
        &'a self,
        ctx: RequestContext,
        request: ServiceRequest<'_, RotateIdentityKeyRequest>,
    ) -> ServiceResult<impl Encodable<RotateIdentityKeyResponse> + Send + use<'a>> {
        let statement = request.to_owned_message().statement;
        self.answer(self.take_rotation(&ctx, statement.as_option()).await)
    }

    async fn control_stream(
        &self,
        ctx: RequestContext,
        requests: InboundStream<ControlStreamRequest>,
    ) -> ServiceResult<ServiceStream<impl Encodable<ControlStreamResponse> + Send + use<>>> {
        let session = call::stream_session(&self.0, &ctx, CONTROL_STREAM).await;
        let (proved, token) = session.map_err(|e| refuse(call::with_nonce(&self.0, e)))?;
        let origin = call::origin(&ctx);
        let opening = control_stream::Opening { origin, proved, token, frames: requests };
        let frames = control_stream::start(self.0.clone(), opening);
        Ok(self.with_nonce(Response::stream(frames)))
    }
}
