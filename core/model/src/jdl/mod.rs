//! JDL, in which DIRAC's users describe jobs: the subset of ClassAds that they write, and what it
//! means here.

mod describe;
mod parameters;
mod parse;

pub use describe::{Described, describe, is_local};
pub use parse::{SyntaxError, parse};

/// What stands after `=`.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `"text"`, or a word without quotes.
    Text(String),
    /// `7`, `-1`.
    Integer(i64),
    /// `0.5`.
    Real(f64),
    /// `true`, `false`.
    Boolean(bool),
    /// `{ …, … }`.
    List(Vec<Value>),
    /// `[ …; … ]`.
    Record(Record),
    /// Anything else: an expression, as it stands.
    Expression(String),
}

/// Attributes in the order in which they stand; their names count without regard to case.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record(pub Vec<(String, Value)>);

impl Record {
    /// What an attribute is set to; the last time counts.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().rev().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    /// Items of a list; one text may stand for a list of one, or name several, separated by commas.
    pub fn list(&self, name: &str) -> Vec<String> {
        let items = match self.get(name) {
            None => Vec::new(),
            Some(Value::List(items)) => items.iter().map(ToString::to_string).collect(),
            Some(one) => one.to_string().split(',').map(|item| item.trim().to_owned()).collect(),
        };
        items.into_iter().filter(|item| !item.is_empty()).collect()
    }
}

impl Record {
    fn written(value: &Value) -> String {
        match value {
            Value::Text(text) => {
                format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
            }
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(Self::written).collect();
                format!("{{{}}}", items.join(", "))
            }
            Value::Record(record) => record.to_string(),
            other => other.to_string(),
        }
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "[")?;
        for (name, value) in &self.0 {
            writeln!(f, "  {name} = {};", Self::written(value))?;
        }
        write!(f, "]")
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) | Self::Expression(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Real(number) => number.fmt(f),
            Self::Boolean(value) => value.fmt(f),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(ToString::to_string).collect();
                f.write_str(&items.join(", "))
            }
            Self::Record(_) => f.write_str("[ … ]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let text = r#"a = "x \"y\" \\ z"; b = {1, "c", [d = 2;]}; e = other.f > 3; g = true;"#;
        let record = parse(text).unwrap();
        assert_eq!(parse(&record.to_string()).unwrap(), record);
    }
}
