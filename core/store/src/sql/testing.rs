//! A store of a test's own, on the database that the environment asks for.

use super::{Database, SqlStore};

/// An empty store; the folder goes with it.
pub async fn store() -> (SqlStore, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let database = match spinor_test_postgres::wanted() {
        true => Database::Postgres(spinor_test_postgres::database()),
        false => Database::Sqlite(directory.path().join("db")),
    };
    (SqlStore::open(&database).await.unwrap(), directory)
}
