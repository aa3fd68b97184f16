//! From text to attributes.

use super::{Record, Value};

/// Text that is no JDL: where, and what was expected there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("JDL syntax error in line {line}, column {column}: expected {expected}, found {found}")]
pub struct SyntaxError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What would have been right.
    pub expected: &'static str,
    /// What is there.
    pub found: String,
}

/// Lists and records in each other, at most.
const MAX_DEPTH: usize = 16;

/// Reads a JDL: attributes in brackets, which may be left out.
///
/// ```
/// let jdl = spinor_model::jdl::parse(r#"Executable = "/bin/echo"; Tags = {"a", "b"};"#).unwrap();
/// assert_eq!(jdl.get("executable").unwrap().to_string(), "/bin/echo");
/// ```
pub fn parse(text: &str) -> Result<Record, SyntaxError> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    reader.skip()?;
    let record =
        if reader.takes('[') { reader.attributes(Some(']'))? } else { reader.attributes(None)? };
    reader.skip()?;
    match reader.peek() {
        None => Ok(record),
        Some(_) => Err(reader.error("the end")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn takes(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.at += wanted.len_utf8();
        }
        there
    }

    fn error(&self, expected: &'static str) -> SyntaxError {
        self.error_at(self.at, expected)
    }

    fn error_at(&self, at: usize, expected: &'static str) -> SyntaxError {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let next: String = self.text[at..].split_whitespace().next().unwrap_or_default().into();
        let found = match next.is_empty() {
            true => "the end".to_owned(),
            false => format!("`{}`", next.chars().take(30).collect::<String>()),
        };
        SyntaxError { line, column, expected, found }
    }

    /// Skips blanks and comments.
    fn skip(&mut self) -> Result<(), SyntaxError> {
        loop {
            self.at += self.rest().len() - self.rest().trim_start().len();
            let hash = self.peek() == Some('#') && self.line_begins();
            if hash || self.rest().starts_with("//") {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else if self.rest().starts_with("/*") {
                let end =
                    self.rest().find("*/").ok_or_else(|| self.error("a comment that ends"))?;
                self.at += end + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn line_begins(&self) -> bool {
        let before = self.text[..self.at].rsplit('\n').next().unwrap_or_default();
        before.trim().is_empty()
    }

    fn attributes(&mut self, end: Option<char>) -> Result<Record, SyntaxError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("at most 16 lists and records in each other"));
        }
        let mut record = Record::default();
        loop {
            self.skip()?;
            if self.takes(';') {
                continue;
            }
            match (self.peek(), end) {
                (None, None) => break,
                (None, Some(_)) => return Err(self.error("`]`")),
                (Some(next), Some(end)) if next == end => {
                    self.at += 1;
                    break;
                }
                _ => {}
            }
            let name = self.name()?;
            self.skip()?;
            if !self.takes('=') {
                return Err(self.error("`=` after the name of an attribute"));
            }
            let value = self.value()?;
            record.0.push((name, value));
            self.skip()?;
            let ends = self.peek().is_none() || self.peek() == end;
            if !ends && !self.takes(';') {
                return Err(self.error("`;` after an attribute"));
            }
        }
        self.depth -= 1;
        Ok(record)
    }

    fn name(&mut self) -> Result<String, SyntaxError> {
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let length = self.rest().find(|c| !part(c)).unwrap_or(self.rest().len());
        if length == 0 {
            return Err(self.error("the name of an attribute"));
        }
        let name = self.rest()[..length].to_owned();
        self.at += length;
        Ok(name)
    }

    fn value(&mut self) -> Result<Value, SyntaxError> {
        self.skip()?;
        let start = self.at;
        let value = match self.peek() {
            None | Some(';' | '}' | ']' | ',') => return Err(self.error("a value")),
            Some('"') => Value::Text(self.quoted()?),
            Some('{') => Value::List(self.list()?),
            Some('[') => {
                self.at += 1;
                Value::Record(self.attributes(Some(']'))?)
            }
            Some(_) => return self.bare(),
        };
        self.skip()?;
        match self.peek() {
            None | Some(';' | '}' | ']' | ',') => Ok(value),
            // `"a" + x`: an expression that begins with a text.
            Some(_) if matches!(value, Value::Text(_)) && self.is_operator() => {
                self.at = start;
                self.bare()
            }
            Some(_) => Ok(value),
        }
    }

    fn is_operator(&self) -> bool {
        self.peek().is_some_and(|c| "+-*/%<>=!&|?".contains(c))
    }

    fn quoted(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(next) = self.peek() {
            self.at += next.len_utf8();
            match next {
                '"' => return Ok(text),
                '\\' => match self.peek() {
                    Some(escaped @ ('"' | '\\')) => {
                        self.at += 1;
                        text.push(escaped);
                    }
                    // Other backslashes stand for themselves, as in DIRAC.
                    _ => text.push('\\'),
                },
                other => text.push(other),
            }
        }
        Err(self.error_at(start, "a text that ends with `\"`"))
    }

    fn list(&mut self) -> Result<Vec<Value>, SyntaxError> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("at most 16 lists and records in each other"));
        }
        let mut items = Vec::new();
        loop {
            self.skip()?;
            if self.takes('}') {
                break;
            }
            items.push(self.value()?);
            self.skip()?;
            if !self.takes(',') && self.peek() != Some('}') {
                return Err(self.error("`,` or `}` after an item of a list"));
            }
        }
        self.depth -= 1;
        Ok(items)
    }

    /// A number, a truth value, a word, or an expression up to where it ends.
    fn bare(&mut self) -> Result<Value, SyntaxError> {
        let (start, mut brackets) = (self.at, 0u32);
        while let Some(next) = self.peek() {
            match next {
                '"' => drop(self.quoted()?),
                '(' | '[' | '{' => brackets += 1,
                ')' | ']' | '}' if brackets > 0 => brackets -= 1,
                ';' | ',' | ']' | '}' if brackets == 0 => break,
                '\n' if brackets == 0 && self.attribute_follows() => {
                    return Err(self.error_at(self.at, "`;` after an attribute"));
                }
                _ => {}
            }
            if next != '"' {
                self.at += next.len_utf8();
            }
        }
        let text = self.text[start..self.at].trim();
        let word = |c: char| c.is_alphanumeric() || "._-/:+@%*".contains(c);
        Ok(if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
            Value::Boolean(text.eq_ignore_ascii_case("true"))
        } else if let Ok(number) = text.parse() {
            Value::Integer(number)
        } else if let Ok(number) = text.parse() {
            Value::Real(number)
        } else if text.chars().all(word) {
            Value::Text(text.to_owned())
        } else {
            Value::Expression(text.to_owned())
        })
    }

    /// Whether the next line begins like an attribute: then a `;` was forgotten.
    fn attribute_follows(&self) -> bool {
        let line: String =
            self.rest().chars().skip(1).take(100).take_while(|c| *c != '\n').collect();
        let Some((name, rest)) = line.trim_start().split_once('=') else { return false };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        !name.trim().is_empty() && name.trim().chars().all(plain) && !rest.starts_with('=')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn get(text: &str, name: &str) -> Value {
        parse(text).unwrap().get(name).unwrap().clone()
    }

    #[test]
    fn reads_what_users_write() {
        let text = r#"
            # a comment
            [
              Executable = "/bin/sh"; // another
              Arguments  = "-c \"echo \\ a\"";
              CPUTime = 3600; /* and
              another */ Priority=2;
              InputSandbox = { "a.sh", "b;c", };
              Factor = 0.5;
              Flag = TRUE;
              JobType = User;
              Requirements = other.GlueCE == "x" && (a || b);
              Inner = [ a = 1; b = {2, 3} ];
              Parameters.Seed = {1, 2};
            ]"#;
        assert_eq!(get(text, "arguments"), Value::Text(r#"-c "echo \ a""#.to_owned()));
        assert_eq!(get(text, "cputime"), Value::Integer(3600));
        let items = ["a.sh", "b;c"].map(|t| Value::Text(t.to_owned())).to_vec();
        assert_eq!(get(text, "InputSandbox"), Value::List(items));
        assert_eq!(get(text, "Factor"), Value::Real(0.5));
        assert_eq!(get(text, "Flag"), Value::Boolean(true));
        assert_eq!(get(text, "JobType"), Value::Text("User".to_owned()));
        assert!(matches!(get(text, "Requirements"), Value::Expression(_)));
        let Value::Record(inner) = get(text, "Inner") else { panic!() };
        assert_eq!(inner.get("b"), Some(&Value::List(vec![Value::Integer(2), Value::Integer(3)])));
        assert!(parse("").unwrap().0.is_empty());
    }

    #[test]
    fn says_where_and_what_was_expected() {
        for (text, expected) in [
            (
                "Executable = \"a\"\nJobName = \"b\";",
                "line 2, column 1: expected `;` after an attribute, found `JobName`",
            ),
            ("CPUTime = 3\nJobName = \"b\";", "line 1, column 12: expected `;` after an attribute"),
            ("[ a = 1;", "expected `]`, found the end"),
            ("a = ;", "line 1, column 5: expected a value, found `;`"),
            ("a = \"b", "line 1, column 5: expected a text that ends with `\"`"),
            ("a = {\"x\" \"y\"};", "expected `,` or `}` after an item of a list, found `\"y\"};`"),
            ("= 3;", "expected the name of an attribute, found `=`"),
            ("a 3;", "expected `=`"),
            ("[a=1] b", "expected the end, found `b`"),
            ("/* a", "a comment that ends"),
        ] {
            let told = parse(text).map_err(|error| error.to_string());
            let told = told.expect_err(text);
            assert!(told.contains(expected), "{text}: {told}");
        }
        let deep = format!("a = {}", "{".repeat(100_000));
        assert!(parse(&deep).unwrap_err().to_string().contains("at most 16"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,60}|[\\[\\]{}=;\",a1/*#\n\\\\ ]{0,40}") {
            drop(parse(&text));
        }

        #[test]
        fn a_quoted_text_reads_back(text in "\\PC{0,30}") {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(get(&format!("a = \"{quoted}\";"), "a"), Value::Text(text));
        }
    }
}
