//! Stretches of the list and the outlines that describe them, brought up behind what comes in.
//!
//! *Invariant:* whoever writes a text into a row that a stretch holds says so of the stretch, in the same
//! transaction; an outline counts only while nothing was said since its rows were read. For that, whoever
//! writes shares the organisation's row of `resource_searches` after having written, and whoever adds or
//! cuts stretches holds it.

use argosy_domain::{
    id::{OrgId, ResourceRowId},
    time::Timestamp,
};

use super::{
    ORDER, Resources, TABLE,
    outline::{ENTRIES_MAX, Entry, Outline},
};
use crate::{
    dialect::Dialect,
    error::{Cause, StoreError},
    handle::ReadWrite,
    page::{Cursor, Select},
    value::{Row, Value},
};

const SEARCHES: &str = "resource_searches";
const STRETCHES: &str = "resource_stretches";
const POSTINGS: &str = "resource_postings";
/// What no stretch was built from.
const NEVER: i64 = -1;

/// A stretch whose rows were read, on its way into the store.
#[derive(Debug)]
pub struct ReadStretch {
    number: i64,
    begins: Cursor,
    touched: i64,
    /// None where it holds more than one can describe.
    outline: Option<Outline>,
}

fn entry(row: &Row) -> Result<Entry, StoreError> {
    Ok(Entry {
        number: row.get("id")?,
        account: row.get("account_id")?,
        place: [row.get("provider")?, row.get("region")?, row.get("resource_type")?],
        texts: [
            row.get("name")?,
            row.get("resource_id")?,
            row.optional("cidr")?.unwrap_or_default(),
        ],
    })
}

impl<A> Resources<'_, A> {
    /// Reads the newest stretch that is not described, and describes it. One of more than `rows_max` is
    /// to be cut.
    pub async fn read_stretch(
        &mut self,
        org: &OrgId,
        rows_max: u32,
    ) -> Result<Option<ReadStretch>, StoreError> {
        let sql = "SELECT number, begins_at, begins_after, ends_at, ends_with, touched
            FROM resource_stretches WHERE org_id = $1 AND built <> touched
            ORDER BY number DESC LIMIT 1";
        let query = self.conn.query(STRETCHES, sql).bind(org);
        let Some(row) = query.fetch_optional().await? else { return Ok(None) };
        let place = |at, id| Ok::<_, StoreError>(Cursor { at: row.get(at)?, id: row.get(id)? });
        let (begins, ends) = (place("begins_at", "begins_after")?, place("ends_at", "ends_with")?);
        let (number, touched) = (row.get("number")?, row.get("touched")?);
        let sql = "SELECT id, account_id, provider, region, resource_type, resource_id, name, cidr
            FROM resources WHERE org_id = $1";
        let select = Select::new(sql, [org.into()]);
        let select = select.beyond(ORDER, "<=", &ends).beyond(ORDER, ">", &begins);
        let rows_max = rows_max.min(u32::try_from(ENTRIES_MAX).unwrap_or(u32::MAX));
        let select = select.ending(" ORDER BY first_seen_at, id").limit(rows_max + 1);
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        let entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        if entries.len() > usize::try_from(rows_max).unwrap_or(usize::MAX) {
            return Ok(Some(ReadStretch { number, begins, touched, outline: None }));
        }
        let outline = tokio::task::spawn_blocking(move || Outline::of(&entries)).await;
        let outline = outline.map_err(|error| StoreError::Unavailable(Cause::new(error)))?;
        Ok(Some(ReadStretch { number, begins, touched, outline: Some(outline) }))
    }

    /// Where the stretch ends that is to be added next: `rows` behind the last one, in what was first
    /// seen before `before`. None while there are fewer.
    pub async fn next_stretch(
        &mut self,
        org: &OrgId,
        rows: u32,
        before: Timestamp,
    ) -> Result<Option<(Timestamp, ResourceRowId)>, StoreError> {
        let sql = "SELECT ends_at, ends_with FROM resource_searches WHERE org_id = $1";
        let row = self.conn.query(SEARCHES, sql).bind(org).fetch_optional().await?;
        let begins = match row {
            Some(row) => Cursor { at: row.get("ends_at")?, id: row.get("ends_with")? },
            None => Cursor { at: Timestamp::from_micros(0), id: String::new() },
        };
        let base = "SELECT first_seen_at, id FROM resources WHERE org_id = $1";
        let select = Select::new(base, [org.into()]).beyond(ORDER, ">", &begins);
        let select = select.and("first_seen_at < ?", before);
        let select = select.ending(" ORDER BY first_seen_at, id").limit(1);
        let select = select.behind(rows.saturating_sub(1));
        let row = self.conn.select(TABLE, select).fetch_optional().await?;
        row.map(|row| Ok((row.get("first_seen_at")?, row.get("id")?))).transpose()
    }
}

impl Resources<'_, ReadWrite> {
    /// Adds the stretch that is next, still to be described; false while there is none.
    pub async fn add_stretch(
        &mut self,
        org: &OrgId,
        rows: u32,
        before: Timestamp,
    ) -> Result<bool, StoreError> {
        self.hold_search(org, Dialect::held).await?;
        let Some((at, id)) = self.next_stretch(org, rows, before).await? else { return Ok(false) };
        let sql = "INSERT INTO resource_stretches (org_id, number, begins_at, begins_after,
            ends_at, ends_with, entries, touched, built)
            SELECT org_id, last_number + 1, ends_at, ends_with, $2, $3, 0, 0, $4
            FROM resource_searches WHERE org_id = $1";
        let query = self.conn.query(STRETCHES, sql).bind(org).bind(at).bind(&id);
        query.bind(NEVER).execute().await?;
        let sql = "UPDATE resource_searches SET last_number = last_number + 1, ends_at = $2,
            ends_with = $3 WHERE org_id = $1";
        self.conn.query(SEARCHES, sql).bind(org).bind(at).bind(&id).execute().await?;
        Ok(true)
    }

    /// Keeps the outline of a stretch. It counts unless the stretch was touched since its rows were
    /// read. One that holds too much is cut, with all that are newer, and made anew.
    pub async fn keep_stretch(
        &mut self,
        org: &OrgId,
        stretch: ReadStretch,
    ) -> Result<(), StoreError> {
        let Some(outline) = stretch.outline else {
            return self.cut_stretches(org, stretch.number, &stretch.begins).await;
        };
        let sql = "UPDATE resource_stretches SET built = $3, entries = $4
            WHERE org_id = $1 AND number = $2";
        let query = self.conn.query(STRETCHES, sql).bind(org).bind(stretch.number);
        if !query.bind(stretch.touched).bind(outline.entries).changed().await? {
            return Ok(());
        }
        let sql = "DELETE FROM resource_postings WHERE org_id = $1 AND stretch = $2";
        self.conn.query(POSTINGS, sql).bind(org).bind(stretch.number).execute().await?;
        let mut insert =
            "INSERT INTO resource_postings (org_id, stretch, bucket, postings) VALUES ".to_owned();
        let mut values: Vec<Value> = vec![org.into(), stretch.number.into()];
        for (bucket, postings) in &outline.parts {
            let n = values.len();
            let comma = if n > 2 { ", " } else { "" };
            insert.push_str(&format!("{comma}($1, $2, ${}, ${})", n + 1, n + 2));
            values.extend([(*bucket).into(), postings.as_slice().into()]);
        }
        let mut query = self.conn.select(POSTINGS, Select::dynamic([insert.as_str()]));
        for value in values {
            query = query.bind(value);
        }
        query.execute().await?;
        Ok(())
    }

    async fn cut_stretches(
        &mut self,
        org: &OrgId,
        number: i64,
        begins: &Cursor,
    ) -> Result<(), StoreError> {
        self.hold_search(org, Dialect::held).await?;
        let sql = "DELETE FROM resource_stretches WHERE org_id = $1 AND number >= $2";
        self.conn.query(STRETCHES, sql).bind(org).bind(number).execute().await?;
        let sql = "UPDATE resource_searches SET ends_at = $2, ends_with = $3 WHERE org_id = $1";
        let query = self.conn.query(SEARCHES, sql).bind(org);
        query.bind(begins.at).bind(begins.id.as_str()).execute().await?;
        Ok(())
    }

    /// Resources were written: `created` now, and others were `renamed`.
    pub(super) async fn touch_stretches(
        &mut self,
        org: &OrgId,
        now: Timestamp,
        (created, mut renamed): (Vec<String>, Vec<String>),
    ) -> Result<(), StoreError> {
        // Held where stretches are written, so that two that write several wait for each other once.
        let words = if renamed.is_empty() { Dialect::shared } else { Dialect::held };
        if now <= self.hold_search(org, words).await? {
            renamed.extend(created);
        }
        if renamed.is_empty() {
            return Ok(());
        }
        let named = self.conn.dialect().texts_of_json("$2", "n");
        let update = Select::dynamic([
            "UPDATE resource_stretches SET touched = touched + 1 WHERE org_id = $1 AND number IN (
             SELECT (SELECT s.number FROM resource_stretches AS s WHERE s.org_id = $1
                AND (s.ends_at, s.ends_with) >= (x.first_seen_at, x.id)
                ORDER BY s.ends_at, s.ends_with LIMIT 1)
             FROM ",
            &named,
            " JOIN resources AS x ON x.id = n.value)",
        ]);
        let numbers: Value = renamed.iter().map(String::as_str).collect();
        self.conn.select(STRETCHES, update).bind(org).bind(numbers).execute().await?;
        Ok(())
    }

    /// Until when the organisation's stretches reach, which stays so until the end of the transaction.
    async fn hold_search(
        &mut self,
        org: &OrgId,
        words: fn(Dialect) -> &'static str,
    ) -> Result<Timestamp, StoreError> {
        let words = words(self.conn.dialect());
        let select = "SELECT ends_at FROM resource_searches WHERE org_id = $1";
        let held = || Select::dynamic([select, words]);
        if let Some(row) = self.conn.select(SEARCHES, held()).bind(org).fetch_optional().await? {
            return row.get("ends_at");
        }
        let sql = "INSERT INTO resource_searches (org_id, last_number, ends_at, ends_with)
            VALUES ($1, 0, 0, '') ON CONFLICT (org_id) DO NOTHING";
        self.conn.query(SEARCHES, sql).bind(org).execute().await?;
        self.conn.select(SEARCHES, held()).bind(org).fetch_one().await?.get("ends_at")
    }
}
