//! Pilots.

use super::{
    SqlStore,
    dialect::{Dialect, Growing, statement},
    rows,
};
use crate::{NewPilot, PilotRecord, PilotStart, PilotStore, StoreError};
use async_trait::async_trait;
use spinor_model::{
    id::{Digest, Stamp, VoName},
    state::PilotState,
    time::Timestamp,
};
use sqlx::{AnyConnection, Row};

async fn start(
    c: &mut AnyConnection,
    stamp: Stamp,
    secret: Digest,
    start: Digest,
    now: Timestamp,
) -> Result<PilotStart, StoreError> {
    let text = format!("SELECT * FROM pilots WHERE stamp = $1{}", Dialect::of(c).for_update());
    let row = sqlx::query(statement(text)).bind(stamp.as_str()).fetch_optional(&mut *c).await?;
    let Some(row) = row else { return Ok(PilotStart::WrongSecret) };
    let pilot = rows::pilot(&row)?;
    if row.try_get::<String, _>("secret_hash")? != secret.to_string() {
        return Ok(PilotStart::WrongSecret);
    }
    if pilot.status.is_final() {
        return Ok(PilotStart::Ended(pilot.status));
    }
    let used: Option<String> = row.try_get("start_hash")?;
    if used.is_some_and(|used| used != start.to_string()) {
        return Ok(PilotStart::UsedSecret);
    }
    sqlx::query(
        "UPDATE pilots SET status = 'Running', start_hash = $1, started = coalesce(started, $2),
            last_seen = $3 WHERE stamp = $4",
    )
    .bind(start.to_string())
    .bind(now.0)
    .bind(now.0)
    .bind(stamp.as_str())
    .execute(c)
    .await?;
    Ok(PilotStart::Started(Box::new(pilot)))
}

#[async_trait]
impl PilotStore for SqlStore {
    async fn add_pilots(&self, pilots: &[NewPilot], now: Timestamp) -> Result<(), StoreError> {
        if pilots.is_empty() {
            return Ok(());
        }
        let items = rows::to_json(&pilots)?;
        self.write(move |c| {
            Box::pin(async move {
                let text = format!(
                    "INSERT INTO pilots (stamp, vo, site, ce, queue, cores, status, secret_hash,
                        wall_time, submitted, sent_by)
                     SELECT value ->> 'stamp', value ->> 'vo', value ->> 'site', value ->> 'ce',
                        value ->> 'queue', CAST(value ->> 'cores' AS BIGINT), 'Submitted',
                        value ->> 'secret_hash', CAST(value ->> 'wall_time' AS BIGINT), $2,
                        value ->> 'sent_by'
                     FROM {}",
                    Dialect::of(c).items("$1")
                );
                sqlx::query(statement(text)).bind(&items).bind(now.0).execute(&mut *c).await?;
                let numbers = format!(
                    "INSERT INTO pilot_numbers (stamp) SELECT value ->> 'stamp' FROM {}",
                    Dialect::of(c).items("$1")
                );
                sqlx::query(statement(numbers)).bind(items).execute(c).await?;
                Ok(())
            })
        })
        .await
    }

    async fn set_pilot_reference(&self, stamp: &Stamp, reference: &str) -> Result<(), StoreError> {
        let (stamp, reference) = (stamp.clone(), reference.to_owned());
        self.write(move |c| {
            Box::pin(async move {
                let query = sqlx::query("UPDATE pilots SET reference = $1 WHERE stamp = $2");
                query.bind(reference).bind(stamp.as_str()).execute(c).await?;
                Ok(())
            })
        })
        .await
    }

    async fn set_pilot_state(
        &self,
        stamp: &Stamp,
        state: PilotState,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let stamp = stamp.clone();
        let reason: String = reason.chars().take(255).collect();
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE pilots SET status = $1, status_reason = $2,
                        ended = CASE WHEN $3 THEN $4 ELSE NULL END
                     WHERE stamp = $5 AND status NOT IN ('Done', 'Failed', 'Deleted', 'Aborted')
                        AND ($1 <> 'Waiting' OR status = 'Submitted')",
                )
                .bind(state.as_str())
                .bind(reason)
                .bind(state.is_final())
                .bind(now.0)
                .bind(stamp.as_str())
                .execute(c)
                .await?;
                Ok(())
            })
        })
        .await
    }

    async fn start_pilot(
        &self,
        stamp: &Stamp,
        secret: Digest,
        nonce: Digest,
        now: Timestamp,
    ) -> Result<PilotStart, StoreError> {
        let stamp = stamp.clone();
        self.write(move |c| Box::pin(start(c, stamp, secret, nonce, now))).await
    }

    async fn pilot_seen(
        &self,
        stamp: &Stamp,
        jobs_claimed: u32,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let stamp = stamp.clone();
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE pilots SET last_seen = $1, jobs_run = jobs_run + $2 WHERE stamp = $3",
                )
                .bind(now.0)
                .bind(i64::from(jobs_claimed))
                .bind(stamp.as_str())
                .execute(c)
                .await?;
                Ok(())
            })
        })
        .await
    }

    async fn pilot(&self, stamp: &Stamp) -> Result<Option<PilotRecord>, StoreError> {
        let found = sqlx::query("SELECT * FROM pilots WHERE stamp = $1").bind(stamp.as_str());
        found.fetch_optional(&self.readers).await?.as_ref().map(rows::pilot).transpose()
    }

    async fn pilots(
        &self,
        vo: Option<&VoName>,
        ended: bool,
    ) -> Result<Vec<PilotRecord>, StoreError> {
        let mut query = Growing::new("SELECT * FROM pilots WHERE TRUE");
        if let Some(vo) = vo {
            query.push(" AND vo = ").bind(vo.to_string())?;
        }
        if !ended {
            query.push(" AND status IN ('Submitted', 'Waiting', 'Running', 'Unknown')");
        }
        query.push(" ORDER BY submitted, stamp LIMIT 10000");
        let (text, arguments) = query.finish();
        let found = sqlx::query_with(text, arguments).fetch_all(&self.readers).await?;
        found.iter().map(rows::pilot).collect()
    }

    async fn uncleaned_pilots(&self, before: Timestamp) -> Result<Vec<PilotRecord>, StoreError> {
        let found = sqlx::query(
            "SELECT * FROM pilots WHERE cleaned = 0 AND reference IS NOT NULL AND ended < $1
             ORDER BY ended LIMIT 100",
        );
        let rows = found.bind(before.0).fetch_all(&self.readers).await?;
        rows.iter().map(rows::pilot).collect()
    }

    async fn set_cleaned(&self, stamps: &[Stamp]) -> Result<(), StoreError> {
        let stamps = stamps.to_vec();
        self.write(move |c| {
            Box::pin(async move {
                for stamp in stamps {
                    let query = sqlx::query("UPDATE pilots SET cleaned = 1 WHERE stamp = $1");
                    query.bind(stamp.as_str()).execute(&mut *c).await?;
                }
                Ok(())
            })
        })
        .await
    }
}
