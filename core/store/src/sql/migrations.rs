//! The schema, step by step. A step that a server has ever run stays as it was: its text is remembered in the
//! database, which is not opened where it differs.

use super::dialect::{Dialect, statement};
use crate::StoreError;
use sqlx::{
    AnyPool, SqlSafeStr, SqlStr,
    migrate::{Migration, MigrationType, Migrator},
};
use std::borrow::Cow;

/// The files are SQLite's.
const STEPS: [(&str, &str); 9] = [
    ("init", include_str!("../../migrations/0001_init.sql")),
    ("policies", include_str!("../../migrations/0002_policies.sql")),
    ("servers", include_str!("../../migrations/0003_servers.sql")),
    ("people", include_str!("../../migrations/0004_people.sql")),
    ("admission", include_str!("../../migrations/0005_admission.sql")),
    ("pilot outputs", include_str!("../../migrations/0006_pilot_outputs.sql")),
    ("nodes", include_str!("../../migrations/0007_nodes.sql")),
    ("facts", include_str!("../../migrations/0008_facts.sql")),
    ("outputs", include_str!("../../migrations/0009_outputs.sql")),
];

/// Brings a database up to date.
pub async fn run(pool: &AnyPool, dialect: Dialect) -> Result<(), StoreError> {
    Ok(migrator(dialect, STEPS.len()).run(pool).await?)
}

fn migrator(dialect: Dialect, steps: usize) -> Migrator {
    let migration = |(version, (name, text)): (i64, &(&'static str, &'static str))| {
        let text = match dialect {
            Dialect::Sqlite => SqlStr::from_static(text),
            Dialect::Postgres => statement(postgres(text)).into_sql_str(),
        };
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, text, false)
    };
    let migrations = (1..).zip(&STEPS).take(steps).map(migration).collect();
    Migrator { migrations: Cow::Owned(migrations), ..Migrator::DEFAULT }
}

/// A step as PostgreSQL takes it: what numbers rows by itself has another name, and so has what finds a text;
/// an entry of an index has less room than a long requirement takes.
fn postgres(text: &str) -> String {
    text.replace(" AUTOINCREMENT", "")
        .replace("INTEGER PRIMARY KEY", "BIGSERIAL PRIMARY KEY")
        .replace("instr(", "strpos(")
        .replace(
            ",\n    UNIQUE (vo, grp, job_type, requirement)\n);",
            ");\nCREATE UNIQUE INDEX ON classes (vo, grp, job_type, md5(requirement));",
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ReportStore, SandboxKind, SandboxStore,
        sql::{Database, SqlStore},
    };
    use spinor_model::id::JobId;
    use sqlx::{Executor, any::AnyPoolOptions};

    #[test]
    fn steps_that_servers_have_run_are_not_touched() {
        let known = |dialect| {
            let sums = |m: &Migration| m.checksum[..4].iter().map(|b| format!("{b:02x}")).collect();
            migrator(dialect, STEPS.len()).migrations.iter().map(sums).collect::<Vec<String>>()
        };
        assert_eq!(
            known(Dialect::Sqlite),
            [
                "4f980fea", "cd972d82", "e19cb227", "09dd3e1f", "af6ba6e5", "d6067f24", "6759692a",
                "163f41a9", "0deb2717"
            ]
        );
        assert_eq!(
            known(Dialect::Postgres),
            [
                "b87cd93e", "5c6b8213", "e19cb227", "07dc2647", "1b947e94", "d6067f24", "6759692a",
                "163f41a9", "0deb2717"
            ]
        );
    }

    const OLD: &str = "INSERT INTO job_sandboxes VALUES (7, 'Output',
        'SB:SandboxSE|/S3/spinor/vo/g/ada/sha256:0101010101010101010101010101010101010101010101010101010101010101.tar.gz');
        INSERT INTO job_parameters VALUES (7, 'Mood', '\"good\"', 1)";

    #[tokio::test]
    async fn a_database_of_the_server_before_is_taken_up() {
        sqlx::any::install_default_drivers();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("db");
        let (database, url, dialect) = match spinor_test_postgres::wanted() {
            true => {
                let url = spinor_test_postgres::database();
                (Database::Postgres(url.clone()), url, Dialect::Postgres)
            }
            false => {
                let url = format!("sqlite://{}?mode=rwc", file.display());
                (Database::Sqlite(file), url, Dialect::Sqlite)
            }
        };
        let pool = AnyPoolOptions::new().connect(&url).await.unwrap();
        migrator(dialect, 4).run(&pool).await.unwrap();
        pool.execute(OLD).await.unwrap();
        pool.close().await;
        let store = SqlStore::open(&database).await.unwrap();
        let left = store.job_sandboxes(JobId(7)).await.unwrap();
        assert!(left.len() == 1 && left[0].0 == SandboxKind::Output, "{left:?}");
        let row = sqlx::query("SELECT 1 FROM job_sandboxes WHERE digest = $1");
        let found = row.bind("01".repeat(32)).fetch_optional(&store.readers).await.unwrap();
        assert!(found.is_some());
        assert_eq!(store.parameters(JobId(7)).await.unwrap()["Mood"], "good");
    }
}
