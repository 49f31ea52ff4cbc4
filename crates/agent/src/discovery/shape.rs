//! What resources of every cloud have in common on their way to the server.

#[cfg(any(feature = "gcp", feature = "azure"))]
use argosy_domain::{digest::Sha256, limits::NAME_CHARS_MAX};
use serde_json::{Map, Value};

/// What stays of an id that is too long, before the digest that tells it from others.
#[cfg(any(feature = "gcp", feature = "azure"))]
const ID_CHARS_KEPT: usize = 190;

/// Fields of a resource; what is not said is left out.
pub(super) fn metadata(fields: Value) -> Map<String, Value> {
    let mut map = match fields {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    map.retain(|_, value| !value.is_null());
    map
}

/// An id as the server takes it: one that is too long ends in a digest of the whole.
#[cfg(any(feature = "gcp", feature = "azure"))]
pub(super) fn id(text: &str) -> String {
    if text.chars().count() <= NAME_CHARS_MAX {
        return text.to_owned();
    }
    let kept: String = text.chars().take(ID_CHARS_KEPT).collect();
    format!("{kept}~{}", Sha256::of(text.as_bytes()).hex())
}

/// A text of an object, if it says anything.
#[cfg(any(feature = "gcp", feature = "azure"))]
pub(super) fn text<'v>(object: &'v Value, field: &str) -> Option<&'v str> {
    object[field].as_str().filter(|text| !text.is_empty())
}

/// The objects of a list.
#[cfg(any(feature = "gcp", feature = "azure"))]
pub(super) fn list<'v>(object: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    object[field].as_array().into_iter().flatten()
}

/// An address as a range of one, unless it is a range already.
#[cfg(any(feature = "gcp", feature = "azure"))]
pub(super) fn range(address: &str, prefix: Option<u64>) -> String {
    let whole = if address.contains(':') { 128 } else { 32 };
    match address.contains('/') {
        true => address.to_owned(),
        false => format!("{address}/{}", prefix.unwrap_or(whole)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_said_is_left_out() {
        let kept = metadata(json!({ "a": null, "b": false, "c": [] }));
        assert_eq!(Value::Object(kept), json!({ "b": false, "c": [] }));
    }

    #[cfg(any(feature = "gcp", feature = "azure"))]
    #[test]
    fn long_ids_fit_and_stay_different() {
        let long = |end: &str| format!("/{}{end}", "x".repeat(300));
        let (one, other) = (id(&long("a")), id(&long("b")));
        assert!(one.chars().count() <= NAME_CHARS_MAX && one != other, "{one} {other}");
        assert_eq!(id("short"), "short");
    }

    #[cfg(any(feature = "gcp", feature = "azure"))]
    #[test]
    fn an_address_is_a_range_of_one() {
        assert_eq!(range("192.0.2.1", None), "192.0.2.1/32");
        assert_eq!(range("2001:db8::1", None), "2001:db8::1/128");
        assert_eq!(range("10.9.0.0", Some(20)), "10.9.0.0/20");
        assert_eq!(range("2001:db8::/96", Some(96)), "2001:db8::/96");
    }
}
