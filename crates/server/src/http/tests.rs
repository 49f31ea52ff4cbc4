//! Every route that is served is in the document, or stands here with its reason.

use std::collections::BTreeSet;

use axum::Router;

use super::{document, router};
use crate::testing::test_app;

/// What is served beside the document: the document itself and the page that shows it.
const BESIDE: [&str; 4] = ["/api/docs", "/api/docs/", "/api/docs/{*rest}", "/api/v1/openapi.json"];

/// Under which names a router keeps its fallback.
const FALLBACK: [&str; 2] = ["/", "/{*__private__axum_fallback}"];

/// The paths of a router, as it names them itself; it has no other way to list them.
fn paths(router: &Router) -> BTreeSet<String> {
    let named = format!("{router:?}");
    let quoted = named.split('"').skip(1).step_by(2);
    let paths = quoted.filter(|text| text.starts_with('/') && !FALLBACK.contains(text));
    paths.map(str::to_owned).collect()
}

#[tokio::test]
async fn every_route_is_in_the_document() {
    let served = paths(&router(&test_app().await.app, Router::new()));
    let mut known: BTreeSet<String> = document().paths.paths.into_keys().collect();
    let mirrored: Vec<String> = known
        .iter()
        .filter_map(|path| path.strip_prefix("/api/v1"))
        .filter(|path| path.starts_with("/agents") || path.starts_with("/bootstrap-tokens"))
        .map(|path| format!("/api/v1/discovery{path}"))
        .collect();
    assert!(known.contains("/api/v1/agents/{id}"));
    known.extend(mirrored);
    known.extend(BESIDE.map(str::to_owned));
    assert_eq!(served, known);
}
