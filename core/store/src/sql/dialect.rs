//! Where the two databases differ. Everything else is one text for both, with parameters `$1`, `$2`.

use sqlx::{
    AnyConnection, Arguments, AssertSqlSafe, Encode, Executor, Type,
    any::{Any, AnyArguments, AnyRow},
};

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// One file, one writer.
    Sqlite,
    /// A server, many writers.
    Postgres,
}

impl Dialect {
    /// The database at the other end of a connection.
    pub fn of(c: &AnyConnection) -> Self {
        match c.backend_name() {
            "PostgreSQL" => Self::Postgres,
            _ => Self::Sqlite,
        }
    }

    /// After a SELECT of rows that this transaction will change: others wait for them.
    pub fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE",
        }
    }

    /// After a SELECT of whichever rows nobody else is changing.
    pub fn skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE SKIP LOCKED",
        }
    }

    /// The items of a JSON array as rows with a column `value`.
    pub fn items(self, parameter: &str) -> String {
        match self {
            Self::Sqlite => format!("json_each({parameter})"),
            Self::Postgres => format!("jsonb_array_elements({parameter}::jsonb)"),
        }
    }

    /// The numbers of a JSON array, in parentheses.
    pub fn numbers(self, parameter: &str) -> String {
        let items = self.items(parameter);
        format!("(SELECT CAST(CAST(value AS TEXT) AS BIGINT) FROM {items})")
    }

    /// What comes before and after a list of values, to make one row of all rows: a JSON array of arrays. The
    /// rows come from a subquery, in its order.
    pub fn gathered(self) -> [&'static str; 2] {
        match self {
            Self::Sqlite => ["json_group_array(json_array(", "))"],
            Self::Postgres => ["CAST(coalesce(json_agg(json_build_array(", ")), '[]') AS TEXT)"],
        }
    }

    /// A text column as JSON, so that `->>` takes fields out of it.
    pub fn json(self, column: &str) -> String {
        match self {
            Self::Sqlite => column.to_owned(),
            Self::Postgres => format!("({column}::jsonb)"),
        }
    }
}

/// A statement whose text was put together here, from constants alone.
pub fn statement(text: String) -> AssertSqlSafe<String> {
    AssertSqlSafe(text)
}

/// Lets this transaction alone do what is counted under a name, until it ends. SQLite's one writer is
/// alone anyway.
pub async fn alone(c: &mut AnyConnection, name: &str) -> Result<(), sqlx::Error> {
    if Dialect::of(c) == Dialect::Postgres {
        let query = sqlx::query("SELECT CAST(pg_advisory_xact_lock(hashtext($1)) AS TEXT)");
        query.bind(name.to_owned()).execute(c).await?;
    }
    Ok(())
}

/// A statement that grows by conditions, each with its parameter.
pub struct Growing {
    text: String,
    arguments: AnyArguments,
}

impl Growing {
    /// Begins with a constant.
    pub fn new(text: &'static str) -> Self {
        Self { text: text.to_owned(), arguments: AnyArguments::default() }
    }

    /// Goes on with a constant.
    pub fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Goes on with what a column is in the database, a constant of ours.
    pub fn push_column(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Goes on with a parameter.
    pub fn bind<'t, T: Encode<'t, Any> + Type<Any> + 't>(
        &mut self,
        value: T,
    ) -> Result<&mut Self, sqlx::Error> {
        self.hold(value)?;
        self.text.push_str(&format!("${}", self.arguments.len()));
        Ok(self)
    }

    /// Has one parameter more, which constants may name by its number.
    pub fn hold<'t, T: Encode<'t, Any> + Type<Any> + 't>(
        &mut self,
        value: T,
    ) -> Result<&mut Self, sqlx::Error> {
        self.arguments.add(value).map_err(sqlx::Error::Encode)?;
        Ok(self)
    }

    /// Goes on with a row of values, the first or another: parameters, and constants behind them.
    pub fn row<const N: usize>(
        &mut self,
        values: [Value; N],
        constants: &'static str,
    ) -> Result<&mut Self, sqlx::Error> {
        self.push(if self.text.ends_with(')') { ", (" } else { " (" });
        for (n, value) in values.into_iter().enumerate() {
            self.push(if n == 0 { "" } else { ", " });
            match value {
                Value::Number(number) => self.bind(number)?,
                Value::Text(text) => self.bind(text)?,
            };
        }
        Ok(self.push(constants).push(")"))
    }

    /// Does what the finished statement says.
    pub async fn execute<'c>(
        self,
        database: impl Executor<'c, Database = Any>,
    ) -> Result<(), sqlx::Error> {
        sqlx::query_with(AssertSqlSafe(self.text), self.arguments).execute(database).await?;
        Ok(())
    }

    /// What the finished statement finds, or gives back of what it changed.
    pub async fn rows<'c>(
        self,
        database: impl Executor<'c, Database = Any>,
    ) -> Result<Vec<AnyRow>, sqlx::Error> {
        sqlx::query_with(AssertSqlSafe(self.text), self.arguments).fetch_all(database).await
    }
}

/// A value of a row.
pub enum Value {
    /// A number, or none.
    Number(Option<i64>),
    /// A text, or none.
    Text(Option<String>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

/// Rows that one statement inserts at most. SQLite's driver looks each parameter's name up among all of them.
const MOST_ROWS: usize = 16;

/// A list in parts, of few different lengths: a statement is prepared for each.
pub fn parts<T>(mut all: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = 1 << all.len().checked_ilog2()?;
        let (part, rest) = all.split_at(MOST_ROWS.min(length));
        all = rest;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_all_of_it_in_order() {
        for length in [0, 1, 3, 16, 17, 100] {
            let all: Vec<usize> = (0..length).collect();
            let lengths: Vec<usize> = parts(&all).map(<[_]>::len).collect();
            assert!(lengths.iter().all(|length| length.is_power_of_two() && *length <= MOST_ROWS));
            assert_eq!(parts(&all).flatten().copied().collect::<Vec<_>>(), all);
        }
    }
}
