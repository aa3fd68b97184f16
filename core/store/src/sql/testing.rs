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

/// Jobs that wait since 5, from number 1 on, of these owners in the VO `vo`.
pub async fn waiting(store: &SqlStore, owners: &[&str]) {
    let owners: Vec<String> = owners.iter().map(|owner| (*owner).to_owned()).collect();
    let write = store.write(move |c| {
        Box::pin(async move {
            for (n, owner) in (1_i64..).zip(owners) {
                let job = sqlx::query(
                    "INSERT INTO jobs (job_id, template_id, row_number, parameters, class_id, vo, grp, owner,
                        job_type, name, priority, status, minor_status, submitted, updated)
                     VALUES ($1, 1, 0, '{}', 1, 'vo', 'g', $2, 'User', '', 1, 'Waiting', '', 5, 5)",
                );
                job.bind(n).bind(owner).execute(&mut *c).await?;
            }
            Ok(())
        })
    });
    write.await.unwrap();
}
