//! Pilots.

use super::{
    SqlStore,
    dialect::{Dialect, Growing, statement},
    rows,
    search::list,
};
use crate::{
    NewPilot, Operand, PilotChange, PilotRecord, PilotStart, PilotStore, RegisteredPilot,
    StoreError,
};
use async_trait::async_trait;
use spinor_model::{
    id::{Digest, NodeName, Stamp, VoName},
    state::PilotState,
    time::Timestamp,
};
use sqlx::{AnyConnection, Row, any::AnyRow};

async fn start(
    c: &mut AnyConnection,
    stamp: Stamp,
    secret: Digest,
    start: Digest,
    node: Option<NodeName>,
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
            last_seen = $3, node = $4 WHERE stamp = $5",
    )
    .bind(start.to_string())
    .bind(now.0)
    .bind(now.0)
    .bind(node.map_or(String::new(), String::from))
    .bind(stamp.as_str())
    .execute(c)
    .await?;
    Ok(PilotStart::Started(Box::new(pilot)))
}

/// Characters of what others tell of a pilot.
const TEXT: usize = 255;

async fn change_pilot(
    c: &mut AnyConnection,
    change: &PilotChange,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE registered_pilots SET status = coalesce($1, status),
            status_reason = coalesce($2, status_reason), benchmark = coalesce(CAST($3 AS DOUBLE PRECISION), benchmark),
            destination_site = coalesce($4, destination_site), queue = coalesce($5, queue),
            grid_site = coalesce($6, grid_site), grid_type = coalesce($7, grid_type),
            accounting_sent = coalesce($8, accounting_sent), current_job = coalesce($9, current_job),
            updated = $10 WHERE stamp = $11",
    )
    .bind(change.status.clone())
    .bind(change.status_reason.as_deref().map(|text| rows::cut(text, TEXT)))
    // As text: the driver tells a missing number's type wrongly.
    .bind(change.benchmark.map(|number| number.to_string()))
    .bind(change.destination_site.as_deref().map(|text| rows::cut(text, TEXT)))
    .bind(change.queue.as_deref().map(|text| rows::cut(text, TEXT)))
    .bind(change.grid_site.as_deref().map(|text| rows::cut(text, TEXT)))
    .bind(change.grid_type.as_deref().map(|text| rows::cut(text, TEXT)))
    .bind(change.accounting_sent.map(i64::from))
    .bind(change.current_job)
    .bind(now.0)
    .bind(change.stamp.as_str())
    .execute(c)
    .await?;
    Ok(())
}

async fn register(
    c: &mut AnyConnection,
    pilot: &RegisteredPilot,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let numbered =
        sqlx::query("INSERT INTO pilot_numbers (stamp) VALUES ($1) ON CONFLICT DO NOTHING");
    if numbered.bind(pilot.stamp.as_str()).execute(&mut *c).await?.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO registered_pilots (stamp, vo, reference, destination_site, queue, grid_site,
            grid_type, status, submitted, updated) VALUES ($1, $2, $3, $4, '', $5, $6, $7, $8, $8)",
    )
    .bind(pilot.stamp.as_str())
    .bind(pilot.vo.as_str())
    .bind(rows::cut(&pilot.reference, TEXT))
    .bind(rows::cut(&pilot.destination_site, TEXT))
    .bind(rows::cut(&pilot.grid_site, TEXT))
    .bind(rows::cut(&pilot.grid_type, TEXT))
    .bind(&pilot.status)
    .bind(now.0)
    .execute(c)
    .await?;
    Ok(true)
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
        let reason = rows::cut(reason, 255);
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

    async fn set_pilot_unknown(
        &self,
        stamp: &Stamp,
        words: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let stamp = stamp.clone();
        let is_unknown = words.is_some();
        let words = rows::cut(words.unwrap_or_default(), TEXT);
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE pilots SET status_reason = $1, unknown_since = CASE WHEN $2 THEN
                        coalesce(unknown_since, $3) ELSE NULL END
                     WHERE stamp = $4 AND status NOT IN ('Done', 'Failed', 'Deleted', 'Aborted')",
                )
                .bind(words)
                .bind(is_unknown)
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
        node: Option<&NodeName>,
        now: Timestamp,
    ) -> Result<PilotStart, StoreError> {
        let (stamp, node) = (stamp.clone(), node.cloned());
        self.write(move |c| Box::pin(start(c, stamp, secret, nonce, node, now))).await
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

    async fn pilot_secret(&self, stamp: &Stamp) -> Result<Option<Digest>, StoreError> {
        let query = sqlx::query("SELECT secret_hash FROM pilots WHERE stamp = $1");
        let row = query.bind(stamp.as_str()).fetch_optional(&self.readers).await?;
        row.map(|row| rows::parsed(&row, "secret_hash")).transpose()
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
        // The last ones, the first of them first.
        query.push(" ORDER BY submitted DESC, stamp DESC LIMIT 10000");
        let found = query.rows(&self.readers).await?;
        found.iter().rev().map(rows::pilot).collect()
    }

    async fn uncleaned_pilots(&self, before: Timestamp) -> Result<Vec<PilotRecord>, StoreError> {
        let found = sqlx::query(
            "SELECT * FROM (
                SELECT *, row_number() OVER (PARTITION BY vo, ce ORDER BY ended) AS place
                FROM pilots WHERE cleaned = 0 AND reference IS NOT NULL AND ended < $1
             ) AS old WHERE place <= 50 ORDER BY ended",
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

    async fn keep_pilot_output(
        &self,
        stamp: &Stamp,
        stream: &str,
        text: &str,
    ) -> Result<(), StoreError> {
        let (stamp, stream) = (stamp.clone(), stream.to_owned());
        // PostgreSQL's texts have no NUL.
        let text = text.replace('\0', "");
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO pilot_outputs (stamp, stream, text) VALUES ($1, $2, $3)
                     ON CONFLICT (stamp, stream) DO UPDATE SET text = excluded.text",
                )
                .bind(stamp.as_str())
                .bind(stream)
                .bind(text)
                .execute(c)
                .await?;
                Ok(())
            })
        })
        .await
    }

    async fn kept_pilot_output(
        &self,
        stamp: &Stamp,
        stream: &str,
    ) -> Result<Option<String>, StoreError> {
        let found = sqlx::query("SELECT text FROM pilot_outputs WHERE stamp = $1 AND stream = $2")
            .bind(stamp.as_str())
            .bind(stream)
            .fetch_optional(&self.readers)
            .await?;
        Ok(found.map(|row| row.try_get("text")).transpose()?)
    }

    async fn register_pilot(
        &self,
        pilot: &RegisteredPilot,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let pilot = pilot.clone();
        self.write(move |c| Box::pin(async move { register(c, &pilot, now).await })).await
    }

    async fn change_pilots(
        &self,
        changes: &[PilotChange],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let changes = changes.to_vec();
        self.write(move |c| {
            Box::pin(async move {
                for change in &changes {
                    change_pilot(c, change, now).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn vos_of_pilots(
        &self,
        stamps: &[Stamp],
    ) -> Result<Vec<(Stamp, VoName, bool)>, StoreError> {
        if stamps.is_empty() {
            return Ok(Vec::new());
        }
        let stamps: Vec<_> = stamps.iter().map(|s| Operand::Text(s.to_string())).collect();
        let mut query = Growing::new(
            "SELECT stamp, vo, own FROM (SELECT stamp, vo, CAST(0 AS BIGINT) AS own FROM registered_pilots
                UNION ALL SELECT stamp, vo, CAST(1 AS BIGINT) AS own FROM pilots) AS found WHERE stamp IN ",
        );
        list(&mut query, &stamps, self.dialect)?;
        let found = |row: &AnyRow| {
            let own: i64 = row.try_get("own")?;
            Ok((rows::parsed(row, "stamp")?, rows::parsed(row, "vo")?, own == 1))
        };
        query.rows(&self.readers).await?.iter().map(found).collect()
    }
}
