//! Searches by the columns that DIRAC's people know. Names of columns are constants of ours; whatever
//! a client sends is a parameter.

use super::{
    SqlStore,
    dialect::{Dialect, Growing},
    logs, rows,
};
use crate::{
    Column, ColumnKind, Condition, Counted, EventRecord, Operand, Page, Rows, Search, SearchStore,
    StoreError, Table, Test,
};
use async_trait::async_trait;
use spinor_model::id::JobId;
use sqlx::{Row, any::AnyRow};
use std::sync::Arc;

/// Pilots, ours and others', with the columns that DIRAC's people know.
const PILOTS: &str = "(SELECT vo, stamp, coalesce(reference, stamp) AS reference, site AS destination_site,
        queue, site AS grid_site, 'DIRAC' AS grid_type, CAST(0 AS DOUBLE PRECISION) AS benchmark,
        status, status_reason, CAST(0 AS BIGINT) AS accounting_sent, coalesce((SELECT max(job_id)
            FROM attempts WHERE attempts.stamp = pilots.stamp AND state = 'active'), 0) AS current_job,
        submitted, coalesce(ended, last_seen, started, submitted) AS updated, pilot_id
     FROM pilots JOIN pilot_numbers USING (stamp)
     UNION ALL SELECT vo, stamp, reference, destination_site, queue, grid_site, grid_type, benchmark,
        status, status_reason, accounting_sent, current_job, submitted, updated, pilot_id
     FROM registered_pilots JOIN pilot_numbers USING (stamp)) AS found";

fn table(table: Table) -> &'static str {
    match table {
        Table::Jobs => "jobs",
        Table::Pilots => PILOTS,
    }
}

impl Dialect {
    /// Text is compared by its bytes, whatever the database's own order is.
    fn bytewise(self, column: &Column) -> String {
        match (self, column.kind) {
            (Self::Postgres, ColumnKind::Text) => format!("{} COLLATE \"C\"", column.sql),
            _ => column.sql.to_owned(),
        }
    }

    /// After what rows are sorted by: a moment that has not come is before all others.
    fn direction(self, column: &Column, descending: bool) -> &'static str {
        match (self, column.kind, descending) {
            (Self::Postgres, ColumnKind::Time, false) => " NULLS FIRST",
            (Self::Postgres, ColumnKind::Time, true) => " DESC NULLS LAST",
            (_, _, false) => "",
            (_, _, true) => " DESC",
        }
    }
}

fn operand(query: &mut Growing, value: &Operand) -> Result<(), StoreError> {
    match value {
        Operand::Number(number) => query.bind(*number)?,
        Operand::Real(number) => query.bind(*number)?,
        // SQLite plans a statement anew for each value that it may compare with the condition of a partial index, or
        // take for a limit; it does not look into casts.
        Operand::Text(text) => query.push("CAST(").bind(rows::plain(text))?.push(" AS TEXT)"),
    };
    Ok(())
}

/// Values that are parameters each; more of them are one, in JSON: databases count parameters.
const FEW: usize = 50;

/// Goes on with values in parentheses; never empty.
pub(super) fn list(
    query: &mut Growing,
    values: &[Operand],
    dialect: Dialect,
) -> Result<(), StoreError> {
    if values.len() <= FEW {
        for (i, value) in values.iter().enumerate() {
            query.push(if i == 0 { "(" } else { ", " });
            operand(query, value)?;
        }
        query.push(")");
        return Ok(());
    }
    let json = |value: &Operand| match value {
        Operand::Number(number) => serde_json::json!(number),
        Operand::Real(number) => serde_json::json!(number),
        Operand::Text(text) => serde_json::json!(rows::plain(text)),
    };
    let json: Vec<serde_json::Value> = values.iter().map(json).collect();
    query.push(match (dialect, &values[0]) {
        (Dialect::Sqlite, _) => "(SELECT value FROM json_each(",
        (Dialect::Postgres, Operand::Number(_)) => {
            "(SELECT CAST(value AS BIGINT) FROM jsonb_array_elements_text(CAST("
        }
        (Dialect::Postgres, Operand::Real(_)) => {
            "(SELECT CAST(value AS DOUBLE PRECISION) FROM jsonb_array_elements_text(CAST("
        }
        (Dialect::Postgres, Operand::Text(_)) => {
            "(SELECT value FROM jsonb_array_elements_text(CAST("
        }
    });
    query.bind(rows::to_json(&json)?)?;
    query.push(match dialect {
        Dialect::Sqlite => "))",
        Dialect::Postgres => " AS JSONB)))",
    });
    Ok(())
}

fn condition(
    query: &mut Growing,
    condition: &Condition,
    dialect: Dialect,
) -> Result<(), StoreError> {
    let column = condition.column;
    query.push(" AND ");
    match &condition.test {
        Test::In(values, within) if values.is_empty() => {
            let nothing = if *within { "FALSE" } else { " IS NOT NULL" };
            if !within {
                query.push_column(column.sql);
            }
            query.push(nothing);
        }
        Test::In(values, within) => {
            query.push_column(column.sql).push(if *within { " IN " } else { " NOT IN " });
            list(query, values, dialect)?;
        }
        Test::Above(value) | Test::Below(value) => {
            let above = matches!(condition.test, Test::Above(_));
            query.push_column(&dialect.bytewise(column)).push(if above { " > " } else { " < " });
            operand(query, value)?;
        }
        Test::Within(periods, within) => {
            query.push(if *within { "(FALSE" } else { "NOT (FALSE" });
            for (from, to) in periods {
                query.push(" OR (").push_column(column.sql).push(" >= ").bind(*from)?;
                query.push(" AND ").push_column(column.sql).push(" < ").bind(*to)?.push(")");
            }
            query.push(")");
            if !within {
                query.push(" AND ").push_column(column.sql).push(" IS NOT NULL");
            }
        }
        Test::Like(pattern, alike) => {
            query.push_column(column.sql).push(match (dialect, alike) {
                (Dialect::Sqlite, true) => " LIKE ",
                (Dialect::Sqlite, false) => " NOT LIKE ",
                (Dialect::Postgres, true) => " ILIKE ",
                (Dialect::Postgres, false) => " NOT ILIKE ",
            });
            query.bind(rows::plain(pattern))?;
            if dialect == Dialect::Postgres {
                query.push(" ESCAPE ''");
            }
        }
        Test::InPilots(stamps) => {
            let stamps: Vec<_> = stamps.iter().cloned().map(Operand::Text).collect();
            query.push("job_id IN (SELECT job_id FROM attempts WHERE stamp IN ");
            list(query, &stamps, dialect)?;
            query.push(")");
        }
        Test::WithJobs(jobs) => {
            let jobs: Vec<_> = jobs.iter().copied().map(Operand::Number).collect();
            query.push("stamp IN (SELECT stamp FROM attempts WHERE job_id IN ");
            list(query, &jobs, dialect)?;
            query.push(")");
        }
    }
    Ok(())
}

fn columns(query: &mut Growing, columns: &[&'static Column], dialect: Dialect) {
    for (i, column) in columns.iter().enumerate() {
        query.push(if i == 0 { "" } else { ", " }).push_column(&dialect.bytewise(column));
        query.push(" AS ").push_column(&format!("\"{}\"", column.name));
    }
}

fn narrowed(query: &mut Growing, search: &Search, dialect: Dialect) -> Result<(), StoreError> {
    query.push(" FROM ").push(table(search.table)).push(" WHERE TRUE");
    if let Some(vo) = &search.vo {
        query.push(" AND vo = ").bind(vo.to_string())?;
    }
    search.conditions.iter().try_for_each(|one| condition(query, one, dialect))
}

/// Begins a statement whose one row are all rows of a subquery, as JSON, and their number: each row, and each
/// value of it, is dear on its way from the database.
fn gathering(names: &[&'static str], dialect: Dialect) -> Growing {
    let [before, after] = dialect.gathered();
    let mut query = Growing::new("SELECT ");
    query.push(before);
    for (i, name) in names.iter().enumerate() {
        query.push(if i == 0 { "" } else { ", " }).push_column(&format!("\"{name}\""));
    }
    query.push(after).push(" AS page, count(*) AS rows");
    query
}

fn gathered(row: &AnyRow) -> Result<Rows, StoreError> {
    Ok(Rows::new(row.try_get("page")?, rows::count(row, "rows")?))
}

fn names(columns: &[&'static Column]) -> Vec<&'static str> {
    columns.iter().map(|column| column.name).collect()
}

#[async_trait]
impl SearchStore for SqlStore {
    async fn search(&self, search: &Search) -> Result<Page, StoreError> {
        let mut query = gathering(&names(&search.columns), self.dialect);
        query.push(if search.distinct { " FROM (SELECT DISTINCT " } else { " FROM (SELECT " });
        columns(&mut query, &search.columns, self.dialect);
        narrowed(&mut query, search, self.dialect)?;
        for (i, (column, descending)) in search.sort.iter().enumerate() {
            query.push(if i == 0 { " ORDER BY " } else { ", " });
            match search.distinct {
                true => query.push_column(&format!("\"{}\"", column.name)),
                false => query.push_column(&self.dialect.bytewise(column)),
            };
            query.push(self.dialect.direction(column, *descending));
        }
        // In casts, as above.
        query.push(" LIMIT CAST(").bind(i64::from(search.limit))?.push(" AS BIGINT)");
        let offset = i64::try_from(search.offset).unwrap_or(i64::MAX);
        query.push(" OFFSET CAST(").bind(offset)?.push(" AS BIGINT)) AS found");
        let page = query.rows(&self.readers).await?;
        let rows = page.first().map(gathered).transpose()?.unwrap_or_default();
        let seen = search.offset + rows.count() as u64;
        // A page that is not full is the last one, and says how many there are.
        let total = match rows.count() {
            // What is remembered may be behind what is seen here.
            0 if search.offset > 0 || search.limit == 0 => self.counted(search).await?,
            full if full == search.limit as usize => self.total(search).await?.max(seen),
            _ => seen,
        };
        Ok(Page { rows, total })
    }

    async fn count_by(&self, search: &Search) -> Result<Arc<Counted>, StoreError> {
        let what = format!("{} rows by", search.limit);
        let question = question(&what, search, &search.columns);
        let (store, search) = (self.clone(), search.clone());
        self.counts.get(question, async move { store.counted_by(&search).await }).await
    }

    async fn logs(&self, jobs: &[JobId]) -> Result<Vec<(JobId, EventRecord)>, StoreError> {
        logs::read(&self.readers, self.dialect, jobs).await
    }
}

/// What a combination's number is called.
const NUMBER: &str = "number_of_them";

/// What is counted, in words that are the same for the same.
fn question(what: &str, search: &Search, columns: &[&'static Column]) -> String {
    let Search { table, vo, conditions, .. } = search;
    format!("{what} {table:?} {vo:?} {conditions:?} {columns:?}")
}

impl SqlStore {
    async fn counted_by(&self, search: &Search) -> Result<Counted, StoreError> {
        let with_number = [names(&search.columns), vec![NUMBER]].concat();
        let mut query = gathering(&with_number, self.dialect);
        query
            .push(", CAST(coalesce(sum(")
            .push(NUMBER)
            .push("), 0) AS BIGINT) AS total FROM (SELECT ");
        columns(&mut query, &search.columns, self.dialect);
        query.push(if search.columns.is_empty() { "" } else { ", " });
        query.push("count(*) AS ").push(NUMBER);
        narrowed(&mut query, search, self.dialect)?;
        // By place: a constant cannot be grouped by itself.
        for i in 0..search.columns.len() {
            query.push(if i == 0 { " GROUP BY " } else { ", " }).push_column(&(i + 1).to_string());
        }
        for (i, column) in search.columns.iter().enumerate() {
            query.push(if i == 0 { " ORDER BY " } else { ", " }).push_column(&(i + 1).to_string());
            query.push(self.dialect.direction(column, false));
        }
        query.push(" LIMIT CAST(").bind(i64::from(search.limit))?.push(" AS BIGINT)) AS found");
        let made =
            |row: &AnyRow| Ok(Counted { rows: gathered(row)?, total: rows::count(row, "total")? });
        let counted = query.rows(&self.readers).await?;
        counted.first().map_or_else(|| Ok(Counted::default()), made)
    }

    async fn total(&self, search: &Search) -> Result<u64, StoreError> {
        let different: &[_] = if search.distinct { &search.columns } else { &[] };
        let question = question("all", search, different);
        let (store, search) = (self.clone(), search.clone());
        let counted = async move {
            Ok(Counted { total: store.counted(&search).await?, ..Counted::default() })
        };
        Ok(self.counts.get(question, counted).await?.total)
    }

    async fn counted(&self, search: &Search) -> Result<u64, StoreError> {
        let mut query = Growing::new("SELECT count(*) AS n");
        if search.distinct {
            query.push(" FROM (SELECT DISTINCT ");
            columns(&mut query, &search.columns, self.dialect);
        }
        narrowed(&mut query, search, self.dialect)?;
        if search.distinct {
            query.push(") AS different");
        }
        query.rows(&self.readers).await?.first().map_or(Ok(0), |row| rows::count(row, "n"))
    }
}

#[cfg(test)]
mod tests;
