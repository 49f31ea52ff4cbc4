//! What SQLite and PostgreSQL say differently. Everything else is one SQL text.

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// Type of a column that is read out of a JSON array of objects.
#[derive(Debug, Clone, Copy)]
pub(crate) enum JsonType {
    Text,
    Int,
    Real,
    /// Hexadecimal digits in the document, bytes in the row.
    Bytes,
}

impl Dialect {
    /// A table expression: the objects of the JSON array in parameter `$parameter`, as rows
    /// named `r`. One bound text carries a batch of any length, so its statement is prepared once.
    pub(crate) fn rows_of_json(
        self,
        parameter: usize,
        columns: &[(&'static str, JsonType)],
    ) -> String {
        let join = |each: &dyn Fn(&(&str, JsonType)) -> String| {
            columns.iter().map(each).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Sqlite => {
                let read = join(&|(name, json_type)| match json_type {
                    JsonType::Text | JsonType::Int | JsonType::Real => {
                        format!("json_extract(value, '$.{name}') AS {name}")
                    }
                    JsonType::Bytes => format!("unhex(json_extract(value, '$.{name}')) AS {name}"),
                });
                format!("(SELECT {read} FROM json_each(${parameter})) AS r")
            }
            Self::Postgres => {
                let typed = join(&|(name, json_type)| match json_type {
                    JsonType::Text | JsonType::Bytes => format!("{name} TEXT"),
                    JsonType::Int => format!("{name} BIGINT"),
                    JsonType::Real => format!("{name} DOUBLE PRECISION"),
                });
                let read = join(&|(name, json_type)| match json_type {
                    JsonType::Text | JsonType::Int | JsonType::Real => (*name).to_owned(),
                    JsonType::Bytes => format!("decode({name}, 'hex') AS {name}"),
                });
                let set = format!("json_to_recordset(CAST(${parameter} AS JSON))");
                format!("(SELECT {read} FROM {set} AS said ({typed})) AS r")
            }
        }
    }

    /// An expression: the database's own time, microseconds since 1970.
    pub(crate) fn now_micros(self) -> &'static str {
        match self {
            Self::Sqlite => "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
            Self::Postgres => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
        }
    }

    /// A table expression: the texts of the JSON array that is `of`, as rows `named` with the column
    /// `value`.
    pub(crate) fn texts_of_json(self, of: &str, named: &str) -> String {
        match self {
            Self::Sqlite => format!("json_each({of}) AS {named}"),
            Self::Postgres => {
                format!("json_array_elements_text(CAST({of} AS JSON)) AS {named} (value)")
            }
        }
    }

    /// Words behind a query: its row is held until the end of the transaction.
    pub(crate) fn held(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE",
        }
    }

    /// Words behind a query: its row stays as it is until the end of the transaction, and others may
    /// say the same of it.
    pub(crate) fn shared(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR SHARE",
        }
    }

    /// Words behind a column: it is one of the numbers of the JSON array that is `of`.
    pub(crate) fn one_of_numbers(self, of: &str) -> String {
        let (begin, end) = match self {
            Self::Sqlite => ("IN (", ")"),
            // An array is looked up in an index; what `IN` selects is not, in the condition of a join.
            Self::Postgres => ("= ANY(ARRAY(", "))"),
        };
        let table = self.texts_of_json(of, "j");
        [begin, "SELECT CAST(j.value AS BIGINT) FROM ", &table, end].concat()
    }

    /// A condition: the package's name is one of the JSON array in a parameter (`?`).
    pub(crate) fn package_in_list(self) -> &'static str {
        match self {
            Self::Sqlite => "u.name IN (SELECT value FROM json_each(?))",
            Self::Postgres => "u.name IN (SELECT json_array_elements_text(CAST(? AS JSON)))",
        }
    }

    /// A statement: finds an agent and holds its row until the end of the transaction. On SQLite a
    /// transaction that writes is alone anyway.
    pub(crate) fn hold_agent(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT id FROM agents WHERE id = $1",
            Self::Postgres => "SELECT id FROM agents WHERE id = $1 FOR NO KEY UPDATE",
        }
    }

    /// A condition: the agent is one of the ids of the JSON array in a parameter (`?`).
    pub(crate) fn agent_in_list(self) -> &'static str {
        match self {
            Self::Sqlite => "a.id IN (SELECT value FROM json_each(?))",
            Self::Postgres => "a.id IN (SELECT json_array_elements_text(CAST(? AS JSON)))",
        }
    }

    /// A condition: the agent carries the one label of the JSON object in a parameter (`?`).
    pub(crate) fn agent_has_label(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "EXISTS (SELECT 1 FROM json_each(?) AS wanted JOIN json_each(a.labels) AS has \
                 ON has.key = wanted.key AND has.value = wanted.value)"
            }
            Self::Postgres => "CAST(a.labels AS JSONB) @> CAST(? AS JSONB)",
        }
    }
}
