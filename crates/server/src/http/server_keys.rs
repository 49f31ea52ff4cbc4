//! The server's own keys: public parts, certificates, rotation.

use argosy_wire::{
    rest::{
        enrolment::ServerKeys,
        server_keys::{RotateKeys, ServerKey, SigningKeys},
    },
    sign::thumbprint,
    succession::Cosigned,
};
use axum::{Json as Answered, extract::State};

use super::{
    answer::{Answer, Problems},
    convert,
    extract::{By, From, Json},
};
use crate::app::{App, keyring::KeyInfo};

fn key(key: KeyInfo) -> ServerKey {
    ServerKey {
        key_use: key.key_use.as_str().to_owned(),
        serial: key.serial,
        status: key.status.as_str().to_owned(),
        thumbprint: key.public_key.map(|public| thumbprint(&public).to_string()),
        public_key: key.public_key.map(|public| public.to_string()),
        certificate: key.certificate.as_ref().map(convert::signed),
        succession: key.succession.as_ref().map(Cosigned::to_json),
        not_before: key.not_before.to_string(),
        not_after: key.not_after.map(|end| end.to_string()),
        id: key.id,
    }
}

fn keys(app: &App, keys: Vec<KeyInfo>) -> SigningKeys {
    SigningKeys {
        thumbprint: app.keyring().thumbprint().to_string(),
        keys: keys.into_iter().map(key).collect(),
    }
}

/// The server's identity key and every certificate that agents accept now.
#[utoipa::path(
    get, path = "/.well-known/argosy/keys", tag = "system",
    responses((status = 200, body = ServerKeys), Problems)
)]
pub(super) async fn well_known(State(app): State<App>) -> Answer<Answered<ServerKeys>> {
    let certified = app.certified_keys()?;
    let certificates = certified.iter().filter_map(|key| key.certificate.as_ref());
    Ok(Answered(convert::server_keys(&app.keyring(), certificates)))
}

/// The server's keys: serials, validity, public parts. Never a secret.
#[utoipa::path(
    get, path = "/security/signing", tag = "system", security(("api_key" = ["server:read"])),
    responses((status = 200, body = SigningKeys), Problems)
)]
pub(super) async fn signing(
    State(app): State<App>,
    By(caller): By,
) -> Answer<Answered<SigningKeys>> {
    let listed = app.list_server_keys(&caller)?;
    Ok(Answered(keys(&app, listed)))
}

/// Replaces keys of the server. What the old ones signed holds until its own end.
#[utoipa::path(
    post, path = "/keys/rotate", tag = "system", request_body = RotateKeys,
    security(("api_key" = ["server:rotate"])),
    responses((status = 200, body = SigningKeys), Problems)
)]
pub(super) async fn rotate(
    State(app): State<App>,
    From(origin): From,
    By(caller): By,
    Json(request): Json<RotateKeys>,
) -> Answer<Answered<SigningKeys>> {
    let now_known = app.rotate_keys(&caller, &origin, &request.uses).await?;
    Ok(Answered(keys(&app, now_known)))
}
