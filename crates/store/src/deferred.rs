//! Writes whose answers nobody needs wait here, and go to the database together.

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::value::Value;

/// Statements that wait, in their order.
#[derive(Default)]
pub(crate) struct Deferred(Vec<(SqlStr, Vec<Value>)>);

impl Deferred {
    pub(crate) fn push(&mut self, sql: SqlStr, values: Vec<Value>) {
        self.0.push((sql, values));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_statements(self) -> Vec<(SqlStr, Vec<Value>)> {
        self.0
    }

    /// One text of all statements, whose parameters are counted through.
    pub(crate) fn joined(self) -> (SqlStr, Vec<Value>) {
        let mut statements = self.0;
        if statements.len() == 1
            && let Some(only) = statements.pop()
        {
            return only;
        }
        let (mut text, mut all) = (String::new(), Vec::new());
        for (sql, values) in statements {
            append(&mut text, sql.as_str(), all.len());
            all.extend(values);
        }
        (AssertSqlSafe(text).into_sql_str(), all)
    }
}

/// Adds a statement whose `$1` becomes the parameter behind the first `used`. No text in a statement
/// holds a `$` with a digit behind it.
fn append(text: &mut String, sql: &str, used: usize) {
    if !text.is_empty() {
        text.push_str("; ");
    }
    let mut parts = sql.split('$');
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = part.split_at(digits);
        // Writing to a string cannot fail.
        let _ = match number.parse::<usize>() {
            Ok(number) => write!(text, "${}{rest}", number + used),
            Err(_) => write!(text, "${part}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_through() {
        let mut deferred = Deferred::default();
        let first = "INSERT INTO a (x, y) VALUES ($1, $2)";
        deferred.push(first.into_sql_str(), vec![1_i64.into(), "y".into()]);
        let second = "UPDATE b SET z = $2, j = '$.z' WHERE id = $1 AND z < $2";
        deferred.push(second.into_sql_str(), vec![7_i64.into(), 8_i64.into()]);
        let (sql, values) = deferred.joined();
        let joined = "INSERT INTO a (x, y) VALUES ($1, $2); \
            UPDATE b SET z = $4, j = '$.z' WHERE id = $3 AND z < $4";
        assert_eq!(sql.as_str(), joined);
        assert_eq!(values.len(), 4);
    }
}
