//! Facts, and what else steers pilots.

use super::{SqlStore, rows};
use crate::{FactRecord, FactStore, StoreError};
use async_trait::async_trait;
use spinor_model::{
    id::{CeName, QueueName, VoName},
    policy::Fact,
    time::Timestamp,
};
use sqlx::{Row, any::AnyRow};

fn fact(row: &AnyRow) -> Result<FactRecord, StoreError> {
    let (name, subject) = (row.try_get("name")?, row.try_get("subject")?);
    let fact = Fact { name, subject, value: row.try_get("value")? };
    Ok(FactRecord { fact, told: rows::time(row, "told")?, until: rows::time(row, "until")? })
}

#[async_trait]
impl FactStore for SqlStore {
    async fn tell_facts(&self, vo: &VoName, facts: &[FactRecord]) -> Result<(), StoreError> {
        let (vo, facts) = (vo.clone(), facts.to_vec());
        self.write(move |c| {
            Box::pin(async move {
                if let Some(now) = facts.first().map(|fact| fact.told) {
                    let over = sqlx::query("DELETE FROM facts WHERE vo = $1 AND until <= $2");
                    over.bind(vo.as_str()).bind(now.0).execute(&mut *c).await?;
                }
                for FactRecord { fact, told, until } in facts {
                    sqlx::query(
                        "INSERT INTO facts (vo, name, subject, value, told, until)
                         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (vo, name, subject) DO UPDATE
                         SET value = excluded.value, told = excluded.told, until = excluded.until",
                    )
                    .bind(vo.as_str())
                    .bind(fact.name)
                    .bind(fact.subject)
                    .bind(fact.value)
                    .bind(told.0)
                    .bind(until.0)
                    .execute(&mut *c)
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn facts(&self, vo: &VoName, now: Timestamp) -> Result<Vec<FactRecord>, StoreError> {
        let found =
            sqlx::query("SELECT * FROM facts WHERE vo = $1 AND until > $2 ORDER BY name, subject");
        let rows = found.bind(vo.as_str()).bind(now.0).fetch_all(&self.readers).await?;
        rows.iter().map(fact).collect()
    }

    async fn empty_pilots(
        &self,
        vo: &VoName,
        since: Timestamp,
    ) -> Result<Vec<(CeName, QueueName, u32)>, StoreError> {
        let found = sqlx::query(
            "SELECT ce, queue, COUNT(*) AS pilots FROM pilots
             WHERE vo = $1 AND ended >= $2 AND jobs_run = 0 GROUP BY ce, queue",
        );
        let rows = found.bind(vo.as_str()).bind(since.0).fetch_all(&self.readers).await?;
        let one = |row: &AnyRow| {
            let (ce, queue) = (rows::parsed(row, "ce")?, rows::parsed(row, "queue")?);
            Ok((ce, queue, rows::count(row, "pilots")?))
        };
        rows.iter().map(one).collect()
    }
}
