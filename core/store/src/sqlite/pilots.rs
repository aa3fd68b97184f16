//! Pilots.

use super::{SqliteStore, rows};
use crate::{NewPilot, PilotRecord, PilotStart, PilotStore, StoreError};
use async_trait::async_trait;
use spinor_model::{
    id::{Digest, Stamp, VoName},
    state::PilotState,
    time::Timestamp,
};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

async fn start(
    c: &mut SqliteConnection,
    stamp: Stamp,
    secret: Digest,
    start: Digest,
    now: Timestamp,
) -> Result<PilotStart, StoreError> {
    let row = sqlx::query("SELECT * FROM pilots WHERE stamp = ?")
        .bind(stamp.as_str())
        .fetch_optional(&mut *c)
        .await?;
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
        "UPDATE pilots SET status = 'Running', start_hash = ?, started = coalesce(started, ?),
            last_seen = ? WHERE stamp = ?",
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
impl PilotStore for SqliteStore {
    async fn add_pilots(&self, pilots: &[NewPilot], now: Timestamp) -> Result<(), StoreError> {
        if pilots.is_empty() {
            return Ok(());
        }
        let senders = pilots.iter().map(|p| rows::to_json(&p.sent_by));
        let senders = senders.collect::<Result<Vec<_>, _>>()?;
        let pilots: Vec<_> = pilots.iter().cloned().zip(senders).collect();
        self.write(move |c| {
            Box::pin(async move {
                let mut insert = QueryBuilder::<Sqlite>::new(
                    "INSERT INTO pilots (stamp, vo, site, ce, queue, cores, status, secret_hash,
                        wall_time, submitted, sent_by) ",
                );
                insert.push_values(&pilots, |mut row, (pilot, sent_by)| {
                    row.push_bind(pilot.stamp.as_str())
                        .push_bind(pilot.vo.as_str())
                        .push_bind(pilot.site.as_str())
                        .push_bind(pilot.ce.as_str())
                        .push_bind(pilot.queue.as_str())
                        .push_bind(pilot.cores)
                        .push_bind("Submitted")
                        .push_bind(pilot.secret_hash.to_string())
                        .push_bind(pilot.wall_time as i64)
                        .push_bind(now.0)
                        .push_bind(sent_by);
                });
                insert.build().execute(c).await?;
                Ok(())
            })
        })
        .await
    }

    async fn set_pilot_reference(&self, stamp: &Stamp, reference: &str) -> Result<(), StoreError> {
        let (stamp, reference) = (stamp.clone(), reference.to_owned());
        self.write(move |c| {
            Box::pin(async move {
                let query = sqlx::query("UPDATE pilots SET reference = ? WHERE stamp = ?");
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
                    "UPDATE pilots SET status = ?, status_reason = ?,
                        ended = CASE WHEN ? THEN ? ELSE NULL END
                     WHERE stamp = ? AND status NOT IN ('Done', 'Failed', 'Deleted', 'Aborted')",
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
                    "UPDATE pilots SET last_seen = ?, jobs_run = jobs_run + ? WHERE stamp = ?",
                )
                .bind(now.0)
                .bind(jobs_claimed)
                .bind(stamp.as_str())
                .execute(c)
                .await?;
                Ok(())
            })
        })
        .await
    }

    async fn pilot(&self, stamp: &Stamp) -> Result<Option<PilotRecord>, StoreError> {
        let found = sqlx::query("SELECT * FROM pilots WHERE stamp = ?").bind(stamp.as_str());
        found.fetch_optional(&self.readers).await?.as_ref().map(rows::pilot).transpose()
    }

    async fn pilots(
        &self,
        vo: Option<&VoName>,
        ended: bool,
    ) -> Result<Vec<PilotRecord>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM pilots WHERE TRUE");
        if let Some(vo) = vo {
            query.push(" AND vo = ").push_bind(vo.to_string());
        }
        if !ended {
            query.push(" AND status IN ('Submitted', 'Waiting', 'Running', 'Unknown')");
        }
        query.push(" ORDER BY submitted, stamp LIMIT 10000");
        query.build().fetch_all(&self.readers).await?.iter().map(rows::pilot).collect()
    }

    async fn uncleaned_pilots(&self, before: Timestamp) -> Result<Vec<PilotRecord>, StoreError> {
        let found = sqlx::query(
            "SELECT * FROM pilots WHERE cleaned = 0 AND reference IS NOT NULL AND ended < ?
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
                    let query = sqlx::query("UPDATE pilots SET cleaned = 1 WHERE stamp = ?");
                    query.bind(stamp.as_str()).execute(&mut *c).await?;
                }
                Ok(())
            })
        })
        .await
    }
}
