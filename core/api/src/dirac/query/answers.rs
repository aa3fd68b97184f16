//! What was found, as DiracX's clients read it.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{
    Serialize, Serializer,
    ser::{self, SerializeMap},
};
use serde_json::{Value, value::RawValue};
use spinor_model::time::Timestamp;
use spinor_store::{Column, ColumnKind, Rows, Search, StoreError};
use std::{fmt::Display, str::FromStr};

/// A value as clients read it.
pub(in crate::dirac) struct Shown<'a>(pub &'a Column, pub &'a RawValue);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(column, value) = self;
        match (column.kind, value.get()) {
            (_, "null") | (ColumnKind::Number | ColumnKind::Text, _) => value.serialize(serializer),
            (ColumnKind::Flag, value) => serializer.serialize_bool(value != "0"),
            (ColumnKind::Time, value) => Timestamp(number(value)?).serialize(serializer),
            // One without a fraction does not tell that it could have one.
            (ColumnKind::Real, value) => serializer.serialize_f64(number(value)?),
        }
    }
}

fn number<T: FromStr<Err: Display>, E: ser::Error>(text: &str) -> Result<T, E> {
    text.parse().map_err(E::custom)
}

/// A row as clients read it: its columns, but for those that were asked for by nobody, and more.
pub(in crate::dirac) struct Row<'a> {
    /// Its columns.
    pub columns: &'a [&'static Column],
    /// Their values.
    pub values: Vec<&'a RawValue>,
    /// How many of them are not shown: the first.
    pub hidden: usize,
    /// A further field.
    pub more: Option<(&'static str, Value)>,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let own = self.columns.iter().zip(&self.values).skip(self.hidden);
        let mut map = serializer.serialize_map(None)?;
        for (column, value) in own {
            map.serialize_entry(column.name, &Shown(column, value))?;
        }
        self.more.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

/// Rows as clients read them.
pub(in crate::dirac) fn rows<'a>(
    columns: &'a [&'static Column],
    found: &'a Rows,
) -> Result<Vec<Row<'a>>, StoreError> {
    let row = |values| Row { columns, values, hidden: 0, more: None };
    Ok(found.values()?.into_iter().map(row).collect())
}

/// A page with its place among all rows, as clients expect both.
pub(in crate::dirac) fn paged(
    what: &str,
    search: &Search,
    total: u64,
    rows: Vec<Row<'_>>,
) -> Response {
    let range = |text: String| {
        let value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        [(header::CONTENT_RANGE, value)]
    };
    if search.offset > 0 && search.offset >= total {
        let range = range(format!("{what} */{total}"));
        return (StatusCode::RANGE_NOT_SATISFIABLE, range, Json(rows)).into_response();
    }
    if rows.len() as u64 == total {
        return Json(rows).into_response();
    }
    let last = search.offset + rows.len() as u64 - u64::from(!rows.is_empty());
    let range = range(format!("{what} {}-{last}/{total}", search.offset));
    (StatusCode::PARTIAL_CONTENT, range, Json(rows)).into_response()
}
