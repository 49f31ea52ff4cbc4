//! Files that pages load: style, script, picture. They are in the program, and their addresses
//! change with their content, so browsers keep them.

use argosy_domain::digest::Sha256;
use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Files;

/// Digits of a digest that tell two contents apart.
const DIGITS: usize = 12;

fn tag(content: &[u8]) -> String {
    let mut digits = format!("{:?}", Sha256::of(content));
    digits.truncate(DIGITS);
    digits
}

/// The address of a file as it is now.
pub(super) fn link(name: &str) -> String {
    let tag = Files::get(name).map(|file| tag(&file.data)).unwrap_or_default();
    format!("/console/assets/{name}?v={tag}")
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

/// A file.
pub(super) async fn file(Path(name): Path<String>) -> Response {
    let Some(file) = Files::get(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let headers = [
        (header::CONTENT_TYPE, media_type(&name)),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, file.data.into_owned()).into_response()
}
