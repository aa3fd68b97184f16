//! Tag expressions: `cvmfs & (os:el8 | os:el9) & ~slow`.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// A boolean expression over tags with `&`, `|`, `~` and parentheses; `&` binds tighter than `|`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TagExpression {
    /// The tag is there.
    Tag(String),
    /// It does not hold.
    Not(Box<Self>),
    /// All hold.
    And(Vec<Self>),
    /// One holds.
    Or(Vec<Self>),
}

/// Text that is no tag expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tag expression `{text}`: expected {expected} at character {position}")]
pub struct BadTagExpression {
    text: String,
    expected: &'static str,
    position: usize,
}

impl TagExpression {
    /// Whether it holds for these tags.
    ///
    /// ```
    /// use spinor_model::tags::TagExpression;
    /// let tags = ["cvmfs", "os:el9"].map(str::to_owned).into();
    /// let expression: TagExpression = "cvmfs & ~(os:el7 | slow)".parse().unwrap();
    /// assert!(expression.holds(&tags));
    /// ```
    pub fn holds(&self, tags: &BTreeSet<String>) -> bool {
        match self {
            Self::Tag(tag) => tags.contains(tag),
            Self::Not(inner) => !inner.holds(tags),
            Self::And(all) => all.iter().all(|e| e.holds(tags)),
            Self::Or(any) => any.iter().any(|e| e.holds(tags)),
        }
    }
}

impl fmt::Display for TagExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |parts: &[Self], by: &str| {
            parts.iter().map(|p| p.to_string()).collect::<Vec<_>>().join(by)
        };
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Not(inner) => write!(f, "~{inner}"),
            Self::And(all) => write!(f, "({})", joined(all, " & ")),
            Self::Or(any) => write!(f, "({})", joined(any, " | ")),
        }
    }
}

impl From<TagExpression> for String {
    fn from(expression: TagExpression) -> String {
        expression.to_string()
    }
}

impl TryFrom<String> for TagExpression {
    type Error = BadTagExpression;
    fn try_from(text: String) -> Result<Self, BadTagExpression> {
        text.parse()
    }
}

impl FromStr for TagExpression {
    type Err = BadTagExpression;
    fn from_str(text: &str) -> Result<Self, BadTagExpression> {
        let mut parser = Parser { text, position: 0, depth: 0 };
        let expression = parser.alternatives()?;
        match parser.peek() {
            None => Ok(expression),
            Some(_) => Err(parser.expected("`&`, `|` or the end")),
        }
    }
}

const MAX_DEPTH: u32 = 64;

struct Parser<'a> {
    text: &'a str,
    position: usize,
    depth: u32,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.position..];
        self.position += rest.len() - rest.trim_start().len();
        self.text[self.position..].chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.position += wanted.len_utf8();
        }
        found
    }

    fn expected(&self, expected: &'static str) -> BadTagExpression {
        let position = self.text[..self.position].chars().count() + 1;
        BadTagExpression { text: self.text.chars().take(200).collect(), expected, position }
    }

    fn alternatives(&mut self) -> Result<TagExpression, BadTagExpression> {
        let mut parts = vec![self.conjunction()?];
        while self.take('|') {
            parts.push(self.conjunction()?);
        }
        Ok(single_or(parts, TagExpression::Or))
    }

    fn conjunction(&mut self) -> Result<TagExpression, BadTagExpression> {
        let mut parts = vec![self.term()?];
        while self.take('&') {
            parts.push(self.term()?);
        }
        Ok(single_or(parts, TagExpression::And))
    }

    fn term(&mut self) -> Result<TagExpression, BadTagExpression> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.expected("fewer than 64 levels of nesting"));
        }
        let term = if self.take('~') {
            TagExpression::Not(Box::new(self.term()?))
        } else if self.take('(') {
            let inner = self.alternatives()?;
            if !self.take(')') {
                return Err(self.expected("`)`"));
            }
            inner
        } else {
            self.tag()?
        };
        self.depth -= 1;
        Ok(term)
    }

    fn tag(&mut self) -> Result<TagExpression, BadTagExpression> {
        self.peek();
        let rest = &self.text[self.position..];
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || ":._-+/".contains(c)))
            .unwrap_or(rest.len());
        if end == 0 {
            return Err(self.expected("a tag, `~` or `(`"));
        }
        self.position += end;
        Ok(TagExpression::Tag(rest[..end].to_owned()))
    }
}

fn single_or(
    mut parts: Vec<TagExpression>,
    many: fn(Vec<TagExpression>) -> TagExpression,
) -> TagExpression {
    if parts.len() == 1 { parts.remove(0) } else { many(parts) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn expression() -> impl Strategy<Value = TagExpression> {
        let tag = prop::sample::select(vec!["a", "b", "os:el9"]);
        tag.prop_map(|t| TagExpression::Tag(t.to_owned())).prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|e| TagExpression::Not(Box::new(e))),
                prop::collection::vec(inner.clone(), 2..4).prop_map(TagExpression::And),
                prop::collection::vec(inner, 2..4).prop_map(TagExpression::Or),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_what_it_shows(expression in expression()) {
            prop_assert_eq!(expression.to_string().parse::<TagExpression>().unwrap(), expression);
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<TagExpression>();
        }
    }

    #[test]
    fn says_where_it_is_wrong() {
        let error = "cvmfs & ".parse::<TagExpression>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "tag expression `cvmfs & `: expected a tag, `~` or `(` at character 9"
        );
        assert!("a b".parse::<TagExpression>().is_err());
        assert!("~".repeat(100).parse::<TagExpression>().is_err());
    }
}
