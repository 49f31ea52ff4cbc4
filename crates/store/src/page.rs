//! Lists by cursor, and the statements whose conditions depend on what was asked for.
//!
//! Every list is newest first, by (time, id). *Invariant:* a page never repeats and never skips a
//! row that exists throughout, whatever is inserted or deleted between pages.

use argosy_domain::{limits::PAGE_ITEMS_MAX, time::Timestamp};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::{
    error::StoreError,
    value::{Row, Value},
};

/// Where a list goes on: after the row with this time and id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) at: Timestamp,
    pub(crate) id: String,
}

/// Characters of the id in a cursor.
const CURSOR_ID_BYTES_MAX: usize = 1_024;

/// A text that is no cursor of this store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor that this server gave out")]
pub struct InvalidCursor;

impl Cursor {
    /// Reads what [`Cursor::to_string`](ToString) wrote.
    pub fn parse(text: &str) -> Result<Self, InvalidCursor> {
        let (micros, id) = text.split_once('.').ok_or(InvalidCursor)?;
        let micros: i64 = micros.parse().map_err(|_| InvalidCursor)?;
        let at = Timestamp::from_micros(micros);
        if at.as_micros() != micros
            || id.is_empty()
            || id.len() > CURSOR_ID_BYTES_MAX
            || id.contains('\0')
        {
            return Err(InvalidCursor);
        }
        Ok(Self { at, id: id.to_owned() })
    }

    /// The end of a page of a list that has no time and is ordered by rank and name.
    pub(crate) fn ranked(rank: bool, name: String) -> Self {
        Self { at: Timestamp::from_micros(rank.into()), id: name }
    }

    /// The rank and the name of [`Self::ranked`].
    pub(crate) fn rank(&self) -> (bool, &str) {
        (self.at.as_micros() > 0, &self.id)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.at.as_micros(), self.id)
    }
}

/// How much of a list, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Items at most; held between 1 and [`PAGE_ITEMS_MAX`].
    pub limit: u32,
    /// Where the page before ended.
    pub after: Option<Cursor>,
}

impl PageRequest {
    /// The first `limit` items.
    pub fn first(limit: u32) -> Self {
        Self { limit, after: None }
    }

    pub(crate) fn items(&self) -> u32 {
        self.limit.clamp(1, PAGE_ITEMS_MAX)
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Where the list goes on, if it does.
    pub next: Option<Cursor>,
}

/// A statement that grows conditions. *Invariant:* its text is made of the program's own words;
/// whatever comes from outside is bound.
pub(crate) struct Select {
    sql: String,
    pub(crate) values: Vec<Value>,
}

impl Select {
    /// `base` ends in a condition, so that others can follow.
    pub(crate) fn new(base: &'static str, values: impl IntoIterator<Item = Value>) -> Self {
        Self { sql: base.to_owned(), values: values.into_iter().collect() }
    }

    /// A statement of the program's own words and of what [`crate::dialect`] says in between.
    pub(crate) fn dynamic<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Self {
        Self { sql: pieces.into_iter().collect(), values: Vec::new() }
    }

    /// Adds `AND condition`, in which each `?` stands for the value.
    pub(crate) fn and(mut self, condition: &'static str, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        let parameter = format!("${}", self.values.len());
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition.replace('?', &parameter));
        self
    }

    /// Adds the condition when there is a value for it.
    pub(crate) fn and_if<V: Into<Value>>(self, condition: &'static str, value: Option<V>) -> Self {
        match value {
            Some(value) => self.and(condition, value),
            None => self,
        }
    }

    /// Adds that the column is one of the values, unless there are none.
    pub(crate) fn and_any(
        mut self,
        column: &'static str,
        values: impl IntoIterator<Item = Value>,
    ) -> Self {
        let before = self.values.len();
        self.values.extend(values);
        let parameters = (before + 1..=self.values.len()).map(|n| format!("${n}"));
        let parameters = parameters.collect::<Vec<_>>().join(", ");
        if !parameters.is_empty() {
            self.sql.push_str(&format!(" AND {column} IN ({parameters})"));
        }
        self
    }

    /// Orders by two columns, newest first, and asks for one row more than the page holds.
    pub(crate) fn page(mut self, order: (&'static str, &'static str), page: &PageRequest) -> Self {
        if let Some(cursor) = &page.after {
            self = self.beyond(order, "<", cursor);
        }
        self.newest(order, page.items() + 1)
    }

    /// Adds that rows stand below (`<`) or above (`>`) a place of a list; with `=`, or there.
    pub(crate) fn beyond(
        mut self,
        (at, id): (&'static str, &'static str),
        how: &'static str,
        place: &Cursor,
    ) -> Self {
        let n = self.values.len();
        self.values.extend([place.at.into(), place.id.as_str().into()]);
        self.sql.push_str(&format!(" AND ({at}, {id}) {how} (${}, ${})", n + 1, n + 2));
        self
    }

    /// Orders by two columns, newest first, and asks for so many rows.
    pub(crate) fn newest(mut self, (at, id): (&'static str, &'static str), rows: u32) -> Self {
        self.sql.push_str(&format!(" ORDER BY {at} DESC, {id} DESC"));
        self.limit(rows)
    }

    /// Adds the program's own words behind the conditions.
    pub(crate) fn ending(mut self, words: &'static str) -> Self {
        self.sql.push_str(words);
        self
    }

    /// Adds that the three columns come behind these texts, in the order of the columns.
    pub(crate) fn after(mut self, columns: &'static str, texts: [&str; 3]) -> Self {
        let n = self.values.len();
        self.values.extend(texts.map(Value::from));
        let words = format!(" AND {columns} > (${}, ${}, ${})", n + 1, n + 2, n + 3);
        self.sql.push_str(&words);
        self
    }

    /// Adds a limit on the rows.
    pub(crate) fn limit(mut self, rows: u32) -> Self {
        self.values.push(rows.into());
        let limit = self.values.len();
        self.sql.push_str(&format!(" LIMIT ${limit}"));
        self
    }

    /// Passes over so many rows, behind [`Self::limit`].
    pub(crate) fn behind(mut self, rows: u32) -> Self {
        self.values.push(rows.into());
        let offset = self.values.len();
        self.sql.push_str(&format!(" OFFSET ${offset}"));
        self
    }

    pub(crate) fn into_parts(self) -> (SqlStr, Vec<Value>) {
        (AssertSqlSafe(self.sql).into_sql_str(), self.values)
    }
}

/// Makes a page of rows that [`Select::page`] asked for.
pub(crate) fn page_of<T>(
    rows: Vec<Row>,
    request: &PageRequest,
    (at, id): (&'static str, &'static str),
    parse: impl Fn(&Row) -> Result<T, StoreError>,
) -> Result<Page<T>, StoreError> {
    let limit = usize::try_from(request.items()).unwrap_or(usize::MAX);
    let next = match rows.get(limit.saturating_sub(1)) {
        Some(last) if rows.len() > limit => Some(Cursor { at: last.get(at)?, id: last.get(id)? }),
        Some(_) | None => None,
    };
    let items = rows.iter().take(limit).map(parse).collect::<Result<_, _>>()?;
    Ok(Page { items, next })
}

/// A pattern for `LIKE … ESCAPE '!'` that finds `text` anywhere, in lower case.
pub(crate) fn contains_pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_survives_its_text(micros in 0i64..253_402_300_799_999_999, id in "[A-Za-z0-9._:-]{1,128}") {
            let cursor = Cursor { at: Timestamp::from_micros(micros), id };
            prop_assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        }

        #[test]
        fn no_text_breaks_the_cursor(text in "\\PC{0,60}") {
            if let Ok(cursor) = Cursor::parse(&text) {
                prop_assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
            }
        }
    }

    #[test]
    fn a_search_text_has_no_wildcards() {
        assert_eq!(contains_pattern("50%_A!"), "%50!%!_a!!%");
    }
}
