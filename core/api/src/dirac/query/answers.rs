//! What was found, as DiracX's clients read it.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use spinor_model::time::Timestamp;
use spinor_store::{Column, ColumnKind, Found, Search};

/// A value as clients read it.
pub(in crate::dirac) fn shown(column: &Column, found: &Found) -> Value {
    match (found, column.kind) {
        (Found::Nothing, _) => Value::Null,
        (Found::Text(text), _) => json!(text),
        (Found::Real(number), _) => json!(number),
        (Found::Number(number), ColumnKind::Time) => json!(Timestamp(*number)),
        (Found::Number(number), ColumnKind::Flag) => json!(*number != 0),
        (Found::Number(number), _) => json!(number),
    }
}

/// A row as clients read it.
pub(in crate::dirac) fn row(
    columns: &[&'static Column],
    found: &[Found],
) -> serde_json::Map<String, Value> {
    let value = |(column, found): (&&'static Column, &Found)| {
        (column.name.to_owned(), shown(column, found))
    };
    columns.iter().zip(found).map(value).collect()
}

/// A page with its place among all rows, as clients expect both.
pub(in crate::dirac) fn paged(
    what: &str,
    search: &Search,
    total: u64,
    rows: Vec<serde_json::Map<String, Value>>,
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
