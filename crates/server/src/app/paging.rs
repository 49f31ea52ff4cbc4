//! Cursors as callers see them.

use argosy_domain::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use argosy_store::{Cursor, PageRequest};
use argosy_wire::bytes;

use super::error::{AppError, AppResult};

/// Which part of a list is asked for.
#[derive(Debug, Clone, Default)]
pub struct PageQuery {
    /// Items at most; 50 unless said otherwise, 500 at most.
    pub limit: Option<u32>,
    /// As given by the page before.
    pub cursor: Option<String>,
}

impl PageQuery {
    /// Checks limit and cursor.
    pub(crate) fn request(&self) -> AppResult<PageRequest> {
        let limit = self.limit.unwrap_or(PAGE_ITEMS_DEFAULT);
        if !(1..=PAGE_ITEMS_MAX).contains(&limit) {
            return Err(AppError::field("limit", format!("must be 1 to {PAGE_ITEMS_MAX}")));
        }
        let bad = || AppError::field("cursor", "is not a cursor of this list");
        let after = match &self.cursor {
            None => None,
            Some(text) => {
                let text = bytes::decode(text).map_err(|_| bad())?;
                let text = String::from_utf8(text).map_err(|_| bad())?;
                Some(Cursor::parse(&text).map_err(|_| bad())?)
            }
        };
        Ok(PageRequest { limit, after })
    }
}

/// The text form of a cursor.
pub fn cursor_text(cursor: &Cursor) -> String {
    bytes::encode(cursor.to_string().as_bytes())
}

/// A part of a list, for the transports.
pub use argosy_store::Page as AppPage;
