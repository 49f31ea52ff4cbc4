//! JSON that came over a network, read so that what is wrong with it is said of its field.

use argosy_wire::problem::{Code, FieldProblem};
use serde::de::DeserializeOwned;

use super::error::{AppError, AppResult};

/// Reads one JSON value, and names the field that is not as it should be.
pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> AppResult<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let (path, inner) = (error.path().to_string(), error.inner());
        if inner.is_data() {
            let field = if path == "." { "body".to_owned() } else { path };
            let message = inner.to_string();
            let detail = format!("{field}: {message}");
            let fields = vec![FieldProblem { field, message }];
            AppError { fields, ..AppError::because(Code::Invalid, detail) }
        } else {
            AppError::because(Code::Malformed, format!("the body is not JSON: {inner}"))
        }
    })?;
    reader.end().map_err(|error| {
        AppError::because(Code::Malformed, format!("the body is not one JSON value: {error}"))
    })?;
    Ok(value)
}
