//! Parametric jobs: one JDL for many, as DIRAC writes them.

use super::{Record, Value};
use crate::finding::Finding;
use serde_json::json;
use std::collections::BTreeMap;

/// The unnamed parameter, `%s` in texts.
const UNNAMED: &str = "Parameter";
/// The number of the job with leading zeros, `%n` in texts.
const NUMBER: &str = "ParameterNumber";

/// Parameters of a JDL, and values of all of them together: more are not spelled out.
const MAX_NAMES: usize = 50;
const MAX_VALUES: usize = 500_000;

/// What stands for each job.
#[derive(Debug, Default)]
pub struct Parameters {
    /// Values by name, all of one length.
    pub columns: BTreeMap<String, Vec<String>>,
}

fn wrong(field: &str, value: impl ToString, message: &str) -> Finding {
    Finding::new(field, value, message)
}

impl Parameters {
    /// Reads `Parameters`, `Parameters.x`, `ParameterStart.x`, `ParameterStep.x` and
    /// `ParameterFactor.x`.
    pub fn read(jdl: &Record, max_jobs: u32) -> Result<Self, Finding> {
        let mut columns = BTreeMap::new();
        let mut count = None;
        for (attribute, value) in &jdl.0 {
            let lower = attribute.to_ascii_lowercase();
            let Some(rest) = lower.strip_prefix("parameters") else { continue };
            let name = match rest {
                "" => UNNAMED.to_owned(),
                _ if rest.starts_with('.') => attribute["Parameters.".len()..].to_owned(),
                _ => continue,
            };
            match value {
                Value::List(items) => {
                    columns.insert(name, items.iter().map(ToString::to_string).collect());
                }
                Value::Integer(n) if rest.is_empty() => count = Some(*n),
                Value::Text(n) if rest.is_empty() => {
                    let bad =
                        || wrong(attribute, n, "must be a number of jobs or a list of values");
                    count = Some(n.parse().map_err(|_| bad())?);
                }
                other => {
                    return Err(wrong(
                        attribute,
                        other,
                        "must be a number of jobs or a list of values",
                    ));
                }
            }
        }
        // A list says how long sequences beside it are.
        let listed = columns.get(UNNAMED).map(|values: &Vec<String>| values.len() as i64);
        if let Some(count) = count.or(listed.filter(|length| *length > 0)) {
            sequences(jdl, (count, max_jobs), &mut columns)?;
        }
        let mut lengths = columns.values().map(Vec::len);
        let first = lengths.next();
        if lengths.any(|length| Some(length) != first) {
            let each =
                |(name, values): (&String, &Vec<String>)| format!("{name} has {}", values.len());
            let lengths = columns.iter().map(each).collect::<Vec<_>>().join(", ");
            return Err(wrong("Parameters", lengths, "all parameters must have as many values"));
        }
        let mut parameters = Self { columns };
        parameters.number(first.unwrap_or(0));
        Ok(parameters)
    }

    fn number(&mut self, jobs: usize) {
        if jobs > 0 {
            let width = (jobs - 1).to_string().len();
            let numbers = (0..jobs).map(|n| format!("{n:0width$}")).collect();
            self.columns.insert(NUMBER.to_owned(), numbers);
        }
    }

    /// A text of the JDL as texts are written here: its placeholders become ours, and any other `%`
    /// stands for itself.
    pub fn text(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            out.push_str(before);
            let (placeholder, length) = self.placeholder(after);
            out.push_str(&placeholder);
            rest = &after[length..];
        }
        out.push_str(rest);
        out
    }

    /// What a `%` and what follows become, and how much of that was taken.
    fn placeholder(&self, after: &str) -> (String, usize) {
        let known = |name: &str| {
            self.columns
                .keys()
                .find(|own| own.eq_ignore_ascii_case(name))
                .map(|own| format!("%({own})s"))
        };
        if after.starts_with('j') {
            return ("%j".to_owned(), 1);
        }
        if let Some(put) = after.starts_with('s').then(|| known(UNNAMED)).flatten() {
            return (put, 1);
        }
        if let Some(put) = after.starts_with('n').then(|| known(NUMBER)).flatten() {
            return (put, 1);
        }
        let named = self.columns.keys().find(|own| {
            let there = after.strip_prefix('(').and_then(|rest| rest.get(..own.len()));
            there.is_some_and(|name| name.eq_ignore_ascii_case(own))
                && after[own.len() + 1..].starts_with(")s")
        });
        if let Some(own) = named {
            return (format!("%({own})s"), own.len() + 3);
        }
        ("%%".to_owned(), 0)
    }

    /// The `parameters` of a description.
    pub fn to_json(&self) -> Option<serde_json::Value> {
        (!self.columns.is_empty()).then(|| json!(self.columns))
    }
}

/// A number as DIRAC has it: whole numbers stay whole.
#[derive(Clone, Copy)]
enum Number {
    Whole(i64),
    Real(f64),
}

impl Number {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(number) => Some(Self::Whole(*number)),
            Value::Real(number) => Some(Self::Real(*number)),
            Value::Text(text) => {
                let whole = text.parse().map(Self::Whole);
                whole.or_else(|_| text.parse().map(Self::Real)).ok()
            }
            _ => None,
        }
    }

    fn real(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Real(number) => number,
        }
    }
}

fn sequence(start: Number, step: Number, factor: Number, count: usize) -> Vec<String> {
    if let (Number::Whole(start), Number::Whole(step), Number::Whole(factor)) =
        (start, step, factor)
    {
        let next = |value: &i64| Some(value.saturating_mul(factor).saturating_add(step));
        return std::iter::successors(Some(start), next)
            .take(count)
            .map(|v| v.to_string())
            .collect();
    }
    let next = |value: &f64| Some(value * factor.real() + step.real());
    let values = std::iter::successors(Some(start.real()), next).take(count);
    // As Python writes them: `1.0`.
    values.map(|value| format!("{value:?}")).collect()
}

/// Sequences of a given length: each value is the one before times a factor plus a step.
fn sequences(
    jdl: &Record,
    (count, max_jobs): (i64, u32),
    columns: &mut BTreeMap<String, Vec<String>>,
) -> Result<(), Finding> {
    if !(1..=i64::from(max_jobs)).contains(&count) {
        let message = format!("must be a number of jobs from 1 to {max_jobs}, the VO's limit");
        return Err(wrong("Parameters", count, &message));
    }
    let mut names = BTreeMap::from([(String::new(), UNNAMED.to_owned())]);
    for (attribute, _) in &jdl.0 {
        let lower = attribute.to_ascii_lowercase();
        let of = ["parameterstart.", "parameterstep.", "parameterfactor."];
        if let Some(prefix) = of.iter().find(|prefix| lower.starts_with(*prefix)) {
            let name = &attribute[prefix.len()..];
            names.insert(format!(".{name}"), name.to_owned());
        }
    }
    if names.len() > MAX_NAMES || names.len() * count as usize > MAX_VALUES {
        let message = "are too many values: 50 parameters, and 500000 values of all, at most";
        return Err(wrong("Parameters", names.len(), message));
    }
    for (suffix, name) in names {
        let number = |what: &str, default: i64| {
            let field = format!("{what}{suffix}");
            let value = jdl.get(&field).cloned().unwrap_or(Value::Integer(default));
            Number::of(&value).ok_or_else(|| wrong(&field, value, "must be a number"))
        };
        let start = number("ParameterStart", 1)?;
        let (step, factor) = (number("ParameterStep", 0)?, number("ParameterFactor", 1)?);
        let values = sequence(start, step, factor, count as usize);
        columns.entry(name).or_insert(values);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jdl::parse;

    fn read(text: &str) -> Parameters {
        Parameters::read(&parse(text).unwrap(), 100).unwrap()
    }

    #[test]
    fn sequences_and_lists() {
        let p = read("Parameters = 4; ParameterStart = 1; ParameterStep = 2; ParameterFactor = 3;");
        assert_eq!(p.columns["Parameter"], ["1", "5", "17", "53"]);
        let p = read("Parameters = 3; ParameterStart = 1; ParameterFactor = 2;");
        assert_eq!(p.columns["Parameter"], ["1", "2", "4"]);
        let p = read("Parameters = 3; ParameterStep = 2;");
        assert_eq!(p.columns["Parameter"], ["1", "3", "5"]);
        let p = read("Parameters = 3; ParameterStep = 0.5;");
        assert_eq!(p.columns["Parameter"], ["1.0", "1.5", "2.0"]);
        let p = read("Parameters = {\"a\", \"b\"}; Parameters.Seed = {7, 8};");
        assert_eq!((&p.columns["Parameter"][1], &p.columns["Seed"][1]), (&"b".into(), &"8".into()));
        let p = read("Parameters = 12; ParameterStart.x = 0.5; ParameterStep.x = 0;");
        assert_eq!(p.columns["x"], vec!["0.5"; 12]);
        assert_eq!(p.columns["ParameterNumber"][3], "03");
        let p =
            read("Parameters = {\"a\", \"b\"}; ParameterStart.Seed = 100; ParameterStep.Seed = 5;");
        assert_eq!(
            (&p.columns["Seed"], &p.columns["Parameter"][1]),
            (&vec!["100".to_owned(), "105".to_owned()], &"b".into())
        );
        assert!(read("Executable = \"a\";").columns.is_empty());
    }

    #[test]
    fn placeholders_become_ours_and_other_percents_stay() {
        let p = read("Parameters = {\"a\"}; Parameters.Seed = {7};");
        let text = "%s_%(seed)s_%n_%j_%d_100%_%(other)s";
        let expected = "%(Parameter)s_%(Seed)s_%(ParameterNumber)s_%j_%%d_100%%_%%(other)s";
        assert_eq!(p.text(text), expected);
        assert_eq!(read("").text("%s %n %j"), "%%s %%n %j");
    }

    #[test]
    fn mistakes_are_named() {
        let refused =
            |text: &str| Parameters::read(&parse(text).unwrap(), 100).unwrap_err().message;
        assert!(refused("Parameters = {1}; Parameters.x = {1, 2};").contains("as many values"));
        assert!(refused("Parameters = 0;").contains("from 1 to"));
        assert!(refused("Parameters = \"many\";").contains("number of jobs"));
        assert!(refused("Parameters = 2; ParameterStep = {1};").contains("must be a number"));
    }
}
