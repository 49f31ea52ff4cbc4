//! Signs of life on their way into a statement: a time for each id, as rows of JSON.

use std::collections::BTreeMap;

use argosy_domain::time::Timestamp;

use crate::dialect::JsonType;

/// The columns of [`newest_times`].
pub(crate) const TIMES: &[(&str, JsonType)] = &[("id", JsonType::Text), ("at", JsonType::Int)];

/// The newest time of each id, for [`Dialect::rows_of_json`](crate::dialect::Dialect::rows_of_json).
/// In the order of the ids, so that two servers never wait for each other.
pub(crate) fn newest_times<'i>(times: impl IntoIterator<Item = (&'i str, Timestamp)>) -> String {
    let mut newest = BTreeMap::new();
    for (id, at) in times {
        let kept = newest.entry(id).or_insert(at);
        *kept = (*kept).max(at);
    }
    let row = |(id, at): (&str, Timestamp)| serde_json::json!({ "id": id, "at": at.as_micros() });
    newest.into_iter().map(row).collect::<serde_json::Value>().to_string()
}
