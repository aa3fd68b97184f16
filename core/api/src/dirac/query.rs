//! The search language of DiracX's clients: conditions that must all hold, an order, a page.

mod answers;
mod conditions;
mod period;

pub(super) use answers::{Row, paged, rows};
pub(super) use conditions::conditions;

use crate::{Shared, problem::Problem};
use axum::{body::Bytes, http::StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use spinor_model::id::VoName;
use spinor_store::{Column, Search, Table};
use utoipa::{IntoParams, ToSchema};

/// A condition as clients write it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(super) struct Spec {
    /// A column.
    parameter: String,
    /// `eq`, `neq`, `gt`, `lt`, `like`, `not like`, `regex`, `in` or `not in`.
    operator: Operator,
    /// What to compare with.
    #[schema(value_type = Object)]
    value: Option<Value>,
    /// What to compare with, for `in` and `not in`.
    #[schema(value_type = Vec<Object>)]
    values: Option<Vec<Value>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
enum Operator {
    #[serde(rename = "eq")]
    Equal,
    #[serde(rename = "neq")]
    NotEqual,
    #[serde(rename = "gt")]
    Greater,
    #[serde(rename = "lt")]
    Less,
    #[serde(rename = "like")]
    Like,
    #[serde(rename = "not like")]
    NotLike,
    #[serde(rename = "regex")]
    Regex,
    #[serde(rename = "in")]
    In,
    #[serde(rename = "not in")]
    NotIn,
}

/// An order as clients write it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(super) struct Sort {
    parameter: String,
    direction: Direction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Asc,
    Desc,
}

/// What is searched for.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(super) struct SearchBody {
    /// Columns to show; all if not given.
    pub parameters: Option<Vec<String>>,
    /// Conditions.
    #[serde(default)]
    pub search: Vec<Spec>,
    /// Order.
    #[serde(default)]
    pub sort: Vec<Sort>,
    /// Equal rows once.
    #[serde(default)]
    pub distinct: bool,
}

/// What is counted.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(super) struct SummaryBody {
    /// Columns.
    pub grouping: Vec<String>,
    /// Conditions.
    #[serde(default)]
    pub search: Vec<Spec>,
}

/// Which page.
#[derive(Debug, Clone, Deserialize, IntoParams)]
pub(super) struct PageQuery {
    /// From 1.
    #[serde(default = "first")]
    page: i64,
    /// 1 to 10000.
    #[serde(default = "hundred")]
    per_page: i64,
}

fn first() -> i64 {
    1
}

fn hundred() -> i64 {
    100
}

impl PageQuery {
    /// Rows left out at the beginning, and rows at most.
    fn window(&self) -> Result<(u64, u32), Problem> {
        let wrong = |name: &str, value: i64, range: &str| {
            unprocessable(format!("{name} is {value}: give {range}"))
        };
        let limit = u32::try_from(self.per_page).ok().filter(|n| (1..=10_000).contains(n));
        let limit = limit.ok_or_else(|| wrong("per_page", self.per_page, "1 to 10000"))?;
        let page = u64::try_from(self.page).ok().filter(|page| *page >= 1);
        let page = page.ok_or_else(|| wrong("page", self.page, "1 or more"))?;
        Ok(((page - 1).saturating_mul(limit.into()), limit))
    }
}

/// A body that does not say what it should.
pub(super) fn unprocessable(text: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text)
}

/// Reads a body.
pub(super) fn read<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| unprocessable(format!("the body: {error}")))
}

/// Reads a body; an empty one is the default.
pub(super) fn body<T: DeserializeOwned + Default>(bytes: &Bytes) -> Result<T, Problem> {
    if bytes.is_empty() {
        return Ok(T::default());
    }
    read(bytes)
}

/// What is asked for, as the store takes it.
pub(super) async fn searched(
    app: &Shared,
    vo: Option<&VoName>,
    table: Table,
    asked: &SearchBody,
    page: &PageQuery,
) -> Result<Search, Problem> {
    let (offset, limit) = page.window()?;
    let columns = columns(table, asked.parameters.as_deref())?;
    Ok(Search {
        table,
        vo: vo.cloned(),
        conditions: conditions(app, table, vo, &asked.search).await?,
        sort: order(table, &asked.sort, asked.distinct.then_some(&columns))?,
        columns,
        distinct: asked.distinct,
        offset,
        limit,
    })
}

fn known(table: Table) -> String {
    table.columns().iter().map(|c| c.name).collect::<Vec<_>>().join(", ")
}

fn column(table: Table, name: &str) -> Result<&'static Column, Problem> {
    table.column(name).ok_or_else(|| {
        Problem::bad_request(format!("Unknown column {name}: there are {}", known(table)))
    })
}

/// Columns that were asked for, in the table's order; all if none were.
fn columns(table: Table, names: Option<&[String]>) -> Result<Vec<&'static Column>, Problem> {
    let Some(names) = names.filter(|names| !names.is_empty()) else {
        return Ok(table.columns().iter().collect());
    };
    let unknown: Vec<&String> = names.iter().filter(|name| table.column(name).is_none()).collect();
    if !unknown.is_empty() {
        let known = known(table);
        let text = format!("Unrecognised parameters requested {unknown:?}: there are {known}");
        return Err(Problem::bad_request(text));
    }
    let asked = |c: &&'static Column| names.iter().any(|name| name == c.name);
    Ok(table.columns().iter().filter(asked).collect())
}

/// Columns to count by, in the order in which they were asked for; none to count all.
pub(super) fn grouping(table: Table, names: &[String]) -> Result<Vec<&'static Column>, Problem> {
    let mut columns = Vec::new();
    for name in names {
        let column = column(table, name)?;
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    Ok(columns)
}

/// The order that was asked for, ended so that no two rows are alike.
fn order(
    table: Table,
    sort: &[Sort],
    distinct: Option<&[&'static Column]>,
) -> Result<Vec<(&'static Column, bool)>, Problem> {
    let mut order = Vec::new();
    for Sort { parameter, direction } in sort {
        let unknown = || {
            let known = known(table);
            Problem::bad_request(format!("Cannot sort by {parameter}: there are {known}"))
        };
        let column = table.column(parameter).ok_or_else(unknown)?;
        if distinct.is_some_and(|shown| !shown.contains(&column)) {
            let text =
                format!("Cannot sort by {parameter}: distinct rows are sorted by what they show");
            return Err(Problem::bad_request(text));
        }
        order.push((column, *direction == Direction::Desc));
    }
    match distinct {
        Some(shown) => order.extend(shown.iter().map(|column| (*column, false))),
        None => order.push((table.key(), false)),
    }
    let mut seen = Vec::new();
    order.retain(|(column, _)| {
        !seen.contains(column) && {
            seen.push(*column);
            true
        }
    });
    Ok(order)
}
