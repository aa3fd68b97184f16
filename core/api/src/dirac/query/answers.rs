//! What was found, as DiracX's clients read it.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;
use spinor_model::time::Timestamp;
use spinor_store::{Column, ColumnKind, Found, Search};

/// A value as clients read it.
pub(in crate::dirac) struct Shown<'a>(pub &'a Column, pub &'a Found);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.1, self.0.kind) {
            (Found::Nothing, _) => serializer.serialize_unit(),
            (Found::Text(text), _) => serializer.serialize_str(text),
            (Found::Real(number), _) => serializer.serialize_f64(*number),
            (Found::Number(number), ColumnKind::Time) => Timestamp(*number).serialize(serializer),
            (Found::Number(number), ColumnKind::Flag) => serializer.serialize_bool(*number != 0),
            (Found::Number(number), _) => serializer.serialize_i64(*number),
        }
    }
}

/// A row as clients read it: its columns, but for those that were asked for by nobody, and more.
pub(in crate::dirac) struct Row<'a> {
    /// Its columns.
    pub columns: &'a [&'static Column],
    /// Their values.
    pub found: &'a [Found],
    /// How many of them are not shown: the first.
    pub hidden: usize,
    /// A further field.
    pub more: Option<(&'static str, Value)>,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let own = self.columns.iter().zip(self.found).skip(self.hidden);
        let mut map = serializer.serialize_map(None)?;
        for (column, found) in own {
            map.serialize_entry(column.name, &Shown(column, found))?;
        }
        self.more.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

/// Rows as clients read them.
pub(in crate::dirac) fn rows<'a>(
    columns: &'a [&'static Column],
    found: &'a [Vec<Found>],
) -> impl Iterator<Item = Row<'a>> {
    found.iter().map(move |found| Row { columns, found, hidden: 0, more: None })
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
