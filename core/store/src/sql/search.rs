//! Searches by the columns that DIRAC's people know. Names of columns are constants of ours; whatever
//! a client sends is a parameter.

use super::{
    SqlStore,
    counts::Counted,
    dialect::{Dialect, Growing},
    logs, rows,
};
use crate::{
    Column, ColumnKind, Condition, EventRecord, Found, Operand, Page, Search, SearchStore,
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

/// A column by its place: by its name it would be looked for in each row.
fn found(row: &AnyRow, place: usize, column: &Column) -> Result<Found, StoreError> {
    Ok(match column.kind {
        ColumnKind::Text => {
            row.try_get::<Option<String>, _>(place)?.map_or(Found::Nothing, Found::Text)
        }
        ColumnKind::Real => {
            row.try_get::<Option<f64>, _>(place)?.map_or(Found::Nothing, Found::Real)
        }
        ColumnKind::Number | ColumnKind::Time | ColumnKind::Flag => {
            row.try_get::<Option<i64>, _>(place)?.map_or(Found::Nothing, Found::Number)
        }
    })
}

#[async_trait]
impl SearchStore for SqlStore {
    async fn search(&self, search: &Search) -> Result<Page, StoreError> {
        // One row for all: each row, and each value of it, is dear on its way from the database.
        let [before, after] = self.dialect.gathered();
        let mut query = Growing::new("SELECT ");
        query.push(before);
        for (i, column) in search.columns.iter().enumerate() {
            query.push(if i == 0 { "" } else { ", " }).push_column(&format!("\"{}\"", column.name));
        }
        query.push(after).push(" AS page FROM (SELECT ");
        query.push(if search.distinct { "DISTINCT " } else { "" });
        columns(&mut query, &search.columns, self.dialect);
        narrowed(&mut query, search, self.dialect)?;
        for (i, (column, descending)) in search.sort.iter().enumerate() {
            query.push(if i == 0 { " ORDER BY " } else { ", " });
            match search.distinct {
                true => query.push_column(&format!("\"{}\"", column.name)),
                false => query.push_column(&self.dialect.bytewise(column)),
            };
            query.push(if *descending { " DESC" } else { "" });
        }
        // In casts, as above.
        query.push(" LIMIT CAST(").bind(i64::from(search.limit))?.push(" AS BIGINT)");
        let offset = i64::try_from(search.offset).unwrap_or(i64::MAX);
        query.push(" OFFSET CAST(").bind(offset)?.push(" AS BIGINT)) AS rows");
        let page = query.rows(&self.readers).await?;
        let mut rows: Vec<Vec<Found>> =
            page.first().map(|row| rows::json(row, "page")).transpose()?.unwrap_or_default();
        // A number without a fraction does not tell that it could have one.
        let real = |(_, column): &(usize, &&Column)| column.kind == ColumnKind::Real;
        for (i, _) in search.columns.iter().enumerate().filter(real) {
            rows.iter_mut().filter_map(|row| row.get_mut(i)).for_each(Found::widen);
        }
        // A page that is not full is the last one, and says how many there are.
        let last = rows.len() < search.limit as usize && (search.offset == 0 || !rows.is_empty());
        let total = match last {
            true => search.offset + rows.len() as u64,
            // What is remembered may be behind what is seen here.
            false if rows.is_empty() => self.counted(search).await?,
            false => self.total(search).await?.max(search.offset + rows.len() as u64),
        };
        Ok(Page { rows, total })
    }

    async fn count_by(&self, search: &Search) -> Result<Vec<(Vec<Found>, u64)>, StoreError> {
        let what = format!("{} rows by", search.limit);
        let question = question(&what, search, &search.columns);
        let counted = self.counts.get(question, self.counted_by(search)).await?;
        Ok(Arc::unwrap_or_clone(counted))
    }

    async fn logs(&self, jobs: &[JobId]) -> Result<Vec<(JobId, EventRecord)>, StoreError> {
        logs::read(&self.readers, self.dialect, jobs).await
    }
}

/// What is counted, in words that are the same for the same.
fn question(what: &str, search: &Search, columns: &[&'static Column]) -> String {
    let Search { table, vo, conditions, .. } = search;
    format!("{what} {table:?} {vo:?} {conditions:?} {columns:?}")
}

impl SqlStore {
    async fn counted_by(&self, search: &Search) -> Result<Counted, StoreError> {
        let mut query = Growing::new("SELECT ");
        columns(&mut query, &search.columns, self.dialect);
        query.push(", count(*) AS n");
        narrowed(&mut query, search, self.dialect)?;
        for clause in [" GROUP BY ", " ORDER BY "] {
            for i in 0..search.columns.len() {
                // By place: a constant cannot be grouped by itself.
                query.push(if i == 0 { clause } else { ", " }).push_column(&(i + 1).to_string());
            }
        }
        query.push(" LIMIT ").bind(i64::from(search.limit))?;
        let counted = query.rows(&self.readers).await?;
        let count = |row: &AnyRow| {
            let values = search.columns.iter().enumerate().map(|(i, column)| found(row, i, column));
            Ok((values.collect::<Result<_, StoreError>>()?, rows::count(row, "n")?))
        };
        counted.iter().map(count).collect()
    }

    async fn total(&self, search: &Search) -> Result<u64, StoreError> {
        let different: &[_] = if search.distinct { &search.columns } else { &[] };
        let question = question("all", search, different);
        let counted = async { Ok(vec![(Vec::new(), self.counted(search).await?)]) };
        let counted = self.counts.get(question, counted).await?;
        Ok(counted.iter().map(|(_, n)| n).sum())
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
