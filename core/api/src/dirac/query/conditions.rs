//! Conditions of a search, as clients write them and as the store takes them.

use super::{Operator, Spec, column, period::period, unprocessable};
use crate::{Shared, problem::Problem};
use serde_json::{Value, value::RawValue};
use spinor_model::id::VoName;
use spinor_store::{Column, ColumnKind, Condition, Operand, Search, StoreError, Table, Test};

fn cannot_parse(column: &str, kind: ColumnKind, value: &Value) -> Problem {
    let wanted = match kind {
        ColumnKind::Text => "a text",
        ColumnKind::Number => "a whole number",
        ColumnKind::Real => "a number",
        ColumnKind::Flag => "true or false",
        ColumnKind::Time => "a date: YYYY[-MM[-DD[ HH[:MM[:SS]]]]]",
    };
    Problem::bad_request(format!("Cannot parse value={value} for {column}, which wants {wanted}"))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value as its column has it; clients of the command line send texts for everything.
fn operand(column: &Column, value: &Value) -> Result<Operand, Problem> {
    let bad = || cannot_parse(column.name, column.kind, value);
    match column.kind {
        ColumnKind::Text => Ok(Operand::Text(text(value))),
        ColumnKind::Number => text(value).trim().parse().map(Operand::Number).map_err(|_| bad()),
        ColumnKind::Real => text(value).trim().parse().map(Operand::Real).map_err(|_| bad()),
        ColumnKind::Flag => match text(value).to_lowercase().as_str() {
            "true" | "1" => Ok(Operand::Number(1)),
            "false" | "0" => Ok(Operand::Number(0)),
            _ => Err(bad()),
        },
        ColumnKind::Time => period(&text(value)).map(|p| Operand::Number(p.from)).ok_or_else(bad),
    }
}

/// Different texts that a regular expression is held against, at most.
const MAX_TEXTS: u32 = 20_000;
/// Regular expressions, and conditions, of a search.
const MAX_REGEXES: usize = 3;
const MAX_SPECS: usize = 50;
/// Dates of a list.
const MAX_DATES: usize = 200;

async fn regex(
    app: &Shared,
    (table, vo): (Table, Option<&VoName>),
    column: &'static Column,
    pattern: &str,
) -> Result<Test, Problem> {
    // Small programs over short texts: it ends soon, whatever it is.
    let size = 64 << 10;
    let regex = regex::RegexBuilder::new(pattern).size_limit(size).build();
    let regex = regex.map_err(|error| {
        Problem::bad_request(format!("Invalid regex {pattern}: {}", why(&error)))
    })?;
    if column.kind != ColumnKind::Text {
        return Err(Problem::bad_request(format!(
            "{} holds no text: regex needs one",
            column.name
        )));
    }
    let different = Search {
        table,
        vo: vo.cloned(),
        conditions: Vec::new(),
        columns: vec![column],
        sort: Vec::new(),
        distinct: true,
        offset: 0,
        limit: MAX_TEXTS + 1,
    };
    let texts = app.lifecycle.store.search(&different).await?.rows;
    if texts.count() > MAX_TEXTS as usize {
        let text = format!(
            "regex: {} has over {MAX_TEXTS} different values; narrow it with `like`",
            column.name
        );
        return Err(Problem::bad_request(text));
    }
    let matching = tokio::task::spawn_blocking(move || {
        let texts = texts.values()?;
        let text = |value: &RawValue| serde_json::from_str::<String>(value.get()).ok();
        let found = texts.into_iter().flatten().filter_map(text);
        Ok(found.filter(|text| regex.is_match(text)).map(Operand::Text).collect())
    });
    let found: Result<_, StoreError> =
        matching.await.map_err(|_| Problem::bad_request(format!("Invalid regex {pattern}")))?;
    Ok(Test::In(found?, true))
}

/// What is wrong with a regular expression, on one line.
fn why(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

fn value_of(spec: &Spec) -> Result<&Value, Problem> {
    let missing = || unprocessable(format!("search: `{}` has no `value`", spec.parameter));
    spec.value.as_ref().filter(|value| !value.is_null()).ok_or_else(missing)
}

fn values_of(spec: &Spec) -> Result<&[Value], Problem> {
    let missing = || unprocessable(format!("search: `{}` has no `values`", spec.parameter));
    spec.values.as_deref().ok_or_else(missing)
}

fn times(column: &Column, spec: &Spec) -> Result<Test, Problem> {
    let bad = |value: &Value| cannot_parse(column.name, column.kind, value);
    let read = |value: &Value| period(&text(value)).ok_or_else(|| bad(value));
    let one = || read(value_of(spec)?);
    Ok(match spec.operator {
        Operator::Equal | Operator::NotEqual => {
            let period = one()?;
            Test::Within(vec![(period.from, period.to)], spec.operator == Operator::Equal)
        }
        Operator::Greater => Test::Above(Operand::Number(one()?.to - 1)),
        Operator::Less => Test::Below(Operand::Number(one()?.from)),
        Operator::In | Operator::NotIn => {
            if values_of(spec)?.len() > MAX_DATES {
                let text = format!("{}: a list may have {MAX_DATES} dates", column.name);
                return Err(Problem::bad_request(text));
            }
            let periods: Vec<_> = values_of(spec)?.iter().map(read).collect::<Result<_, _>>()?;
            if periods.windows(2).any(|pair| pair[0].resolution != pair[1].resolution) {
                let text =
                    format!("{}: all dates of a list must be of one resolution", column.name);
                return Err(Problem::bad_request(text));
            }
            let periods = periods.iter().map(|p| (p.from, p.to)).collect();
            Test::Within(periods, spec.operator == Operator::In)
        }
        Operator::Like | Operator::NotLike | Operator::Regex => {
            let text = format!("{} holds no text: compare it with eq, gt or lt", column.name);
            return Err(Problem::bad_request(text));
        }
    })
}

async fn test(
    app: &Shared,
    of: (Table, Option<&VoName>),
    column: &'static Column,
    spec: &Spec,
) -> Result<Test, Problem> {
    if column.kind == ColumnKind::Time {
        return times(column, spec);
    }
    let like = |alike| match column.kind {
        ColumnKind::Text => Ok(Test::Like(text(value_of(spec)?), alike)),
        _ => Err(Problem::bad_request(format!("{} holds no text: like needs one", column.name))),
    };
    Ok(match spec.operator {
        Operator::Equal => Test::In(vec![operand(column, value_of(spec)?)?], true),
        Operator::NotEqual => Test::In(vec![operand(column, value_of(spec)?)?], false),
        Operator::Greater => Test::Above(operand(column, value_of(spec)?)?),
        Operator::Less => Test::Below(operand(column, value_of(spec)?)?),
        Operator::Like => like(true)?,
        Operator::NotLike => like(false)?,
        Operator::Regex => regex(app, of, column, &text(value_of(spec)?)).await?,
        Operator::In | Operator::NotIn => {
            let values = values_of(spec)?.iter().map(|value| operand(column, value));
            Test::In(values.collect::<Result<_, _>>()?, spec.operator == Operator::In)
        }
    })
}

/// Values a list may have.
const MAX_VALUES: usize = 10_000;

/// Jobs by their pilots, or pilots by their jobs: what a spec of the other table's key means.
fn across(table: Table, spec: &Spec, all: &[Spec]) -> Result<Option<Test>, Problem> {
    let (name, own) = match table {
        Table::Jobs => ("PilotStamp", "JobID"),
        Table::Pilots => ("JobID", "PilotID"),
    };
    if spec.parameter != name {
        return Ok(None);
    }
    if all.iter().any(|other| other.parameter == own) {
        let text = format!("Cannot filter by {name} and {own} at the same time");
        return Err(Problem::bad_request(text));
    }
    let values: Vec<Value> = match spec.operator {
        Operator::Equal => vec![value_of(spec)?.clone()],
        Operator::In => values_of(spec)?.to_vec(),
        _ => return Err(Problem::bad_request(format!("{name} is found by `eq` or `in` alone"))),
    };
    if values.is_empty() {
        return Ok(Some(Test::In(Vec::new(), true)));
    }
    Ok(Some(match table {
        Table::Jobs => Test::InPilots(values.iter().map(text).collect()),
        Table::Pilots => {
            let bad = |value: &Value| cannot_parse(name, ColumnKind::Number, value);
            let number = |value: &Value| text(value).parse().map_err(|_| bad(value));
            Test::WithJobs(values.iter().map(number).collect::<Result<_, _>>()?)
        }
    }))
}

/// Conditions as the store takes them.
pub(in crate::dirac) async fn conditions(
    app: &Shared,
    table: Table,
    vo: Option<&VoName>,
    specs: &[Spec],
) -> Result<Vec<Condition>, Problem> {
    let regexes = specs.iter().filter(|spec| spec.operator == Operator::Regex).count();
    if specs.len() > MAX_SPECS || regexes > MAX_REGEXES {
        let text =
            format!("a search may have {MAX_SPECS} conditions, {MAX_REGEXES} of them `regex`");
        return Err(Problem::bad_request(text));
    }
    let mut conditions = Vec::with_capacity(specs.len());
    for spec in specs {
        if spec.values.as_ref().is_some_and(|values| values.len() > MAX_VALUES) {
            let text = format!("`{}` has over {MAX_VALUES} values", spec.parameter);
            return Err(Problem::bad_request(text));
        }
        let (column, test) = match across(table, spec, specs)? {
            Some(test) => (table.key(), test),
            None => {
                let column = column(table, &spec.parameter)?;
                (column, test(app, (table, vo), column, spec).await?)
            }
        };
        conditions.push(Condition { column, test });
    }
    Ok(conditions)
}
