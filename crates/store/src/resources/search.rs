//! Resources under conditions: in the order of an index that has them, or by what describes the stretches
//! of the list. What no outline describes (yet) is read row by row.
//!
//! *Invariant:* what is found is decided by the row; an outline only says where to look.

use std::collections::BTreeMap;

use argosy_domain::{id::OrgId, resource::ResourceStatus};

use super::{
    ORDER, ResourceFilter, Resources, TABLE,
    outline::{NUMBERS, Token, candidates, number_at, wanted},
};
use crate::{
    dialect::Dialect,
    error::StoreError,
    page::{Cursor, PageRequest, Select, contains_pattern},
    value::{Row, Value},
};

/// Stretches that are looked at together.
const STRETCHES_TOGETHER: u32 = 16;
/// Candidates that are read together.
const CANDIDATES_TOGETHER: usize = 256;
/// So many stale resources are read one after the other rather than by stretches.
const STALE_FEW: u32 = 5_000;

/// How the conditions of a filter are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Using {
    /// So that indexes serve them.
    Indexes,
    /// So that none of these does, because something else says which rows to read.
    NoIndexes,
}

impl ResourceFilter {
    /// All conditions but the status, behind those of a statement.
    fn conditions(&self, using: Using, select: Select) -> Select {
        let [account, provider, region, resource_type, roots] = match using {
            Using::Indexes => [
                "account_id = ?",
                "provider = ?",
                "region = ?",
                "resource_type = ?",
                " AND resource_type IN ('vpc', 'network', 'virtual_network')
                 AND parent_resource_id IS NULL",
            ],
            Using::NoIndexes => [
                "account_id + 0 = ?",
                "COALESCE(provider, '') = ?",
                "COALESCE(region, '') = ?",
                "COALESCE(resource_type, '') = ?",
                " AND COALESCE(resource_type, '') IN ('vpc', 'network', 'virtual_network')
                 AND parent_resource_id IS NULL",
            ],
        };
        select
            .and_if(account, self.account)
            .and_if(provider, self.provider.as_deref())
            .and_if(region, self.region.as_deref())
            .and_if(resource_type, self.resource_type.as_deref())
            .and_if(
                "(LOWER(name) LIKE ? ESCAPE '!' OR LOWER(resource_id) LIKE ? ESCAPE '!' \
                 OR LOWER(cidr) LIKE ? ESCAPE '!')",
                self.q.as_deref().map(contains_pattern),
            )
            .ending(if self.roots { roots } else { "" })
    }

    /// The status, in so many words, because the index of the stale ones holds nothing else.
    fn status_words(&self, using: Using) -> &'static str {
        match (self.status, using) {
            (None, _) => "",
            (Some(ResourceStatus::Active), _) => " AND status = 'active'",
            (Some(ResourceStatus::Stale), Using::Indexes) => " AND status = 'stale'",
            (Some(ResourceStatus::Stale), Using::NoIndexes) => {
                " AND COALESCE(status, '') = 'stale'"
            }
        }
    }

    /// Whether one index has exactly these, in the order of the list.
    fn has_an_index(&self) -> bool {
        let places = [
            self.account.is_some(),
            self.provider.is_some(),
            self.region.is_some(),
            self.resource_type.is_some(),
        ];
        let status = self.status == Some(ResourceStatus::Stale);
        self.q.is_none()
            && match places {
                [false, false, false, false] => true,
                [true, false, false, false]
                | [false, false, true, false]
                | [false, false, false, true]
                | [true, true, true, false] => !status,
                _ => false,
            }
    }
}

/// Part of the list: below one place and above another.
#[derive(Debug, Clone, Copy, Default)]
struct Between<'p> {
    below: Option<&'p Cursor>,
    up_to: Option<&'p Cursor>,
    above: Option<&'p Cursor>,
}

impl Between<'_> {
    fn bound(self, mut select: Select) -> Select {
        for (how, place) in [("<", self.below), ("<=", self.up_to), (">", self.above)] {
            if let Some(place) = place {
                select = select.beyond(ORDER, how, place);
            }
        }
        select
    }
}

/// A stretch and what is said of the tokens in it.
struct Stretch {
    number: i64,
    begins: Cursor,
    ends: Cursor,
    entries: usize,
    built: i64,
    /// Whether it describes all rows.
    whole: bool,
    parts: BTreeMap<i64, Vec<u8>>,
}

fn place(row: &Row, at: &'static str, id: &'static str) -> Result<Cursor, StoreError> {
    Ok(Cursor { at: row.get(at)?, id: row.get(id)? })
}

/// What one search is about.
struct Search<'s> {
    org: &'s OrgId,
    filter: &'s ResourceFilter,
    page: &'s PageRequest,
    tokens: Vec<Token>,
}

impl Search<'_> {
    /// How many rows are missing.
    fn missing(&self, rows: &[Row]) -> u32 {
        let have = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        (self.page.items() + 1).saturating_sub(have)
    }
}

impl<A> Resources<'_, A> {
    /// The rows of a page, and one more where the list goes on.
    pub(super) async fn found(
        &mut self,
        org: &OrgId,
        filter: &ResourceFilter,
        page: &PageRequest,
    ) -> Result<Vec<Row>, StoreError> {
        let tokens = wanted(filter);
        let search = Search { org, filter, page, tokens };
        let everywhere = Between { below: page.after.as_ref(), ..Between::default() };
        if search.tokens.is_empty() || filter.has_an_index() {
            return self.walk(&search, Using::Indexes, everywhere, page.items() + 1).await;
        }
        if filter.status == Some(ResourceStatus::Stale) && self.has_few_stale(org).await? {
            let base = select!("WHERE org_id = $1 AND status = 'stale'");
            let select = filter.conditions(Using::NoIndexes, Select::new(base, [org.into()]));
            let select = everywhere.bound(select).newest(ORDER, page.items() + 1);
            return self.conn.select(TABLE, select).fetch_all().await;
        }
        self.by_stretches(&search).await
    }

    async fn has_few_stale(&mut self, org: &OrgId) -> Result<bool, StoreError> {
        let sql = "SELECT COUNT(*) AS n FROM (SELECT 1 AS one FROM resources
            WHERE org_id = $1 AND status = 'stale' LIMIT $2) AS stale";
        let query = self.conn.query(TABLE, sql).bind(org).bind(STALE_FEW + 1);
        Ok(query.fetch_one().await?.get::<u32>("n")? <= STALE_FEW)
    }

    /// Reads the list row by row.
    async fn walk(
        &mut self,
        search: &Search<'_>,
        using: Using,
        between: Between<'_>,
        rows: u32,
    ) -> Result<Vec<Row>, StoreError> {
        let select = Select::new(select!("WHERE org_id = $1"), [search.org.into()]);
        let select = search.filter.conditions(using, select);
        let select = between.bound(select.ending(search.filter.status_words(using)));
        self.conn.select(TABLE, select.newest(ORDER, rows)).fetch_all().await
    }

    /// From the newest stretch down, after what is above all of them.
    async fn by_stretches(&mut self, search: &Search<'_>) -> Result<Vec<Row>, StoreError> {
        let after = search.page.after.as_ref();
        let first = match after {
            Some(after) => self.stretch_of(search.org, after).await?,
            None => None,
        };
        let (mut rows, mut below) = (Vec::new(), first.unwrap_or(i64::MAX));
        let mut stretches = self.stretches(search, below).await?;
        if first.is_none() {
            let newest = stretches.first().map(|stretch| &stretch.ends);
            let between = Between { below: after, above: newest, ..Between::default() };
            rows = self.walk(search, Using::Indexes, between, search.missing(&[])).await?;
        }
        while search.missing(&rows) > 0 {
            let Some(lowest) = stretches.last() else { break };
            below = lowest.number - 1;
            for stretch in &stretches {
                self.look_into(search, stretch, &mut rows).await?;
                if search.missing(&rows) == 0 {
                    break;
                }
            }
            stretches = match search.missing(&rows) {
                0 => Vec::new(),
                _ => self.stretches(search, below).await?,
            };
        }
        Ok(rows)
    }

    /// The number of the stretch that a place of the list lies in.
    async fn stretch_of(&mut self, org: &OrgId, place: &Cursor) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT number FROM resource_stretches WHERE org_id = $1
            AND (ends_at, ends_with) >= ($2, $3) ORDER BY ends_at, ends_with LIMIT 1";
        let query = self.conn.query("resource_stretches", sql).bind(org);
        let row = query.bind(place.at).bind(place.id.as_str()).fetch_optional().await?;
        row.map(|row| row.get("number")).transpose()
    }

    /// The next stretches up to that number, the newest first, with what they say of the tokens: one
    /// statement, so that it is all of one moment.
    async fn stretches(
        &mut self,
        search: &Search<'_>,
        up_to: i64,
    ) -> Result<Vec<Stretch>, StoreError> {
        let buckets = self.conn.dialect().one_of_numbers("$4");
        let select = Select::dynamic([
            "SELECT s.number, s.begins_at, s.begins_after, s.ends_at, s.ends_with, s.entries,
                s.touched, s.built, p.bucket, p.postings
             FROM (SELECT number, begins_at, begins_after, ends_at, ends_with, entries, touched,
                built FROM resource_stretches WHERE org_id = $1 AND number <= $2
                ORDER BY number DESC LIMIT $3) AS s
             LEFT JOIN resource_postings AS p ON p.org_id = $1 AND p.stretch = s.number
                AND p.bucket ",
            &buckets,
            " ORDER BY s.number DESC",
        ]);
        let mut buckets: Vec<i64> = search.tokens.iter().map(|token| token.bucket()).collect();
        buckets.sort_unstable();
        buckets.dedup();
        let buckets = serde_json::Value::from(buckets).to_string();
        let query = self.conn.select("resource_stretches", select).bind(search.org).bind(up_to);
        let rows = query.bind(STRETCHES_TOGETHER).bind(buckets).fetch_all().await?;
        let mut stretches = Vec::<Stretch>::new();
        for row in &rows {
            let number = row.get("number")?;
            if stretches.last().is_none_or(|last| last.number != number) {
                let built: i64 = row.get("built")?;
                stretches.push(Stretch {
                    number,
                    begins: place(row, "begins_at", "begins_after")?,
                    ends: place(row, "ends_at", "ends_with")?,
                    entries: usize::try_from(row.get::<u32>("entries")?).unwrap_or(0),
                    built,
                    whole: row.get::<i64>("touched")? == built,
                    parts: BTreeMap::new(),
                });
            }
            if let (Some(stretch), Some(bucket)) = (stretches.last_mut(), row.optional("bucket")?) {
                stretch.parts.insert(bucket, row.get("postings")?);
            }
        }
        Ok(stretches)
    }

    /// Adds what a stretch has, until the page is full.
    async fn look_into(
        &mut self,
        search: &Search<'_>,
        stretch: &Stretch,
        rows: &mut Vec<Row>,
    ) -> Result<(), StoreError> {
        let part = |bucket: i64| stretch.parts.get(&bucket).map(Vec::as_slice);
        let places = if stretch.whole {
            candidates(stretch.entries, &search.tokens, part)
        } else {
            Vec::new()
        };
        if stretch.whole && places.is_empty() {
            return Ok(());
        }
        let numbers = match stretch.whole {
            true => self.numbers_of(search.org, stretch).await?,
            false => None,
        };
        let Some(numbers) = numbers else {
            // Not described, or described anew since.
            let between = Between {
                below: search.page.after.as_ref(),
                up_to: Some(&stretch.ends),
                above: Some(&stretch.begins),
            };
            let more = self.walk(search, Using::Indexes, between, search.missing(rows)).await?;
            rows.extend(more);
            return Ok(());
        };
        for places in places.chunks(CANDIDATES_TOGETHER) {
            let these = places.iter().filter_map(|place| number_at(&numbers, *place));
            let mut more = self.candidates(search, these.collect()).await?;
            let missing = usize::try_from(search.missing(rows)).unwrap_or(usize::MAX);
            more.truncate(missing);
            rows.extend(more);
            if search.missing(rows) == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The numbers of what a stretch describes, unless it is described anew.
    async fn numbers_of(
        &mut self,
        org: &OrgId,
        stretch: &Stretch,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let sql = "SELECT p.postings FROM resource_stretches AS s JOIN resource_postings AS p
            ON p.org_id = s.org_id AND p.stretch = s.number AND p.bucket = $3
            WHERE s.org_id = $1 AND s.number = $2 AND s.built = $4";
        let query = self.conn.query("resource_postings", sql).bind(org).bind(stretch.number);
        let row = query.bind(NUMBERS).bind(stretch.built).fetch_optional().await?;
        row.map(|row| row.get("postings")).transpose()
    }

    /// Those of the candidates that come through the filter, newest first.
    async fn candidates(
        &mut self,
        search: &Search<'_>,
        numbers: Vec<String>,
    ) -> Result<Vec<Row>, StoreError> {
        let condition = match self.conn.dialect() {
            Dialect::Sqlite => "id IN (SELECT value FROM json_each(?))",
            Dialect::Postgres => "id IN (SELECT json_array_elements_text(CAST(? AS JSON)))",
        };
        let numbers: Value = numbers.iter().map(String::as_str).collect();
        let base = select!("WHERE org_id = $1");
        let select = Select::new(base, [search.org.into()]).and(condition, numbers);
        let select = search.filter.conditions(Using::NoIndexes, select);
        let mut select = select.ending(search.filter.status_words(Using::NoIndexes));
        if let Some(after) = &search.page.after {
            select = select.beyond(("first_seen_at + 0", "id"), "<", after);
        }
        let rows = self.conn.select(TABLE, select).fetch_all().await?;
        // Sorted here: a database might walk the list rather than look these few up.
        let key = |row: Row| Ok((row.get::<i64>(ORDER.0)?, row.get::<String>(ORDER.1)?, row));
        let mut rows: Vec<_> = rows.into_iter().map(key).collect::<Result<_, StoreError>>()?;
        rows.sort_by(|one, other| (other.0, &other.1).cmp(&(one.0, &one.1)));
        Ok(rows.into_iter().map(|(_, _, row)| row).collect())
    }
}
