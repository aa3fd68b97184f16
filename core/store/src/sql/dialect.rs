//! Where the two databases differ. Everything else is one text for both, with parameters `$1`, `$2`.

use sqlx::{
    AnyConnection, AnyPool, Arguments, AssertSqlSafe, Encode, Type,
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
        self.arguments.add(value).map_err(sqlx::Error::Encode)?;
        self.text.push_str(&format!("${}", self.arguments.len()));
        Ok(self)
    }

    /// What the finished statement finds.
    pub async fn rows(self, pool: &AnyPool) -> Result<Vec<AnyRow>, sqlx::Error> {
        sqlx::query_with(AssertSqlSafe(self.text), self.arguments).fetch_all(pool).await
    }
}
