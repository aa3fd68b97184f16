//! Usage records in each VO's order, and how far each sink is.

use super::{
    SqlStore,
    dialect::{alone, statement},
    rows::{self, to_json},
};
use crate::{
    AttemptRecord, Batch, JobRecord, SequencedUsage, SinkStatus, StoreError, UsageStore,
    UsageTotal, usage_of,
};
use async_trait::async_trait;
use spinor_model::{
    id::{SinkName, VoName},
    plan::AttemptResult,
    state::JobState,
    time::Timestamp,
    usage::{Outcome, UsageRecord},
};
use sqlx::{AnyConnection, Row, any::AnyRow};

/// Appends a record to its VO's sequence; one with the same id stays as it was.
pub async fn record_usage(c: &mut AnyConnection, record: &UsageRecord) -> Result<(), StoreError> {
    alone(c, &format!("usage {}", record.vo)).await?;
    sqlx::query(
        "INSERT INTO usage_records (vo, sequence, id, record)
         SELECT $1, coalesce(max(sequence), 0) + 1, $2, $3 FROM usage_records WHERE vo = $4
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(record.vo.as_str())
    .bind(&record.id)
    .bind(to_json(record)?)
    .bind(record.vo.as_str())
    .execute(c)
    .await?;
    Ok(())
}

/// What an attempt led to that no handler judges.
pub fn outcome_of(job: &JobRecord, attempt: &AttemptRecord) -> Outcome {
    match job.status {
        _ if job.attempt != attempt.attempt => Outcome::Rescheduled,
        JobState::Killed | JobState::Deleted => Outcome::Killed,
        JobState::Done => Outcome::Done,
        JobState::Failed => Outcome::Failed,
        _ => Outcome::Rescheduled,
    }
}

/// Records what an attempt used whose end no handler judges.
pub async fn record_unjudged(
    c: &mut AnyConnection,
    job: &JobRecord,
    attempt: AttemptRecord,
    result: AttemptResult,
    now: Timestamp,
) -> Result<(), StoreError> {
    let attempt = AttemptRecord { result: Some(result), ..attempt };
    record_usage(c, &usage_of(job, &attempt, outcome_of(job, &attempt), now)).await
}

fn sequenced(row: &AnyRow) -> Result<SequencedUsage, StoreError> {
    Ok(SequencedUsage {
        sequence: rows::count(row, "sequence")?,
        record: rows::json(row, "record")?,
    })
}

async fn next_batch(
    c: &mut AnyConnection,
    vo: VoName,
    sink: SinkName,
    limit: u32,
) -> Result<Batch, StoreError> {
    sqlx::query(
        "INSERT INTO sinks (vo, sink, delivered) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING",
    )
    .bind(vo.as_str())
    .bind(sink.as_str())
    .execute(&mut *c)
    .await?;
    let row = sqlx::query("SELECT delivered, in_flight FROM sinks WHERE vo = $1 AND sink = $2")
        .bind(vo.as_str())
        .bind(sink.as_str())
        .fetch_one(&mut *c)
        .await?;
    let (delivered, in_flight): (i64, Option<i64>) =
        (row.try_get("delivered")?, row.try_get("in_flight")?);
    let found = sqlx::query(
        "SELECT sequence, record FROM usage_records
         WHERE vo = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence LIMIT $4",
    )
    .bind(vo.as_str())
    .bind(delivered)
    .bind(in_flight.unwrap_or(i64::MAX))
    .bind(if in_flight.is_some() { i64::MAX } else { i64::from(limit) })
    .fetch_all(&mut *c)
    .await?;
    let records = found.iter().map(sequenced).collect::<Result<Vec<_>, _>>()?;
    if let (None, Some(last)) = (in_flight, records.last()) {
        sqlx::query("UPDATE sinks SET in_flight = $1 WHERE vo = $2 AND sink = $3")
            .bind(last.sequence as i64)
            .bind(vo.as_str())
            .bind(sink.as_str())
            .execute(c)
            .await?;
    }
    Ok(Batch { records })
}

#[async_trait]
impl UsageStore for SqlStore {
    async fn next_batch(
        &self,
        vo: &VoName,
        sink: &SinkName,
        limit: u32,
    ) -> Result<Batch, StoreError> {
        let waiting = sqlx::query(
            "SELECT 1 FROM usage_records WHERE vo = $1 AND sequence >
                coalesce((SELECT delivered FROM sinks WHERE vo = $2 AND sink = $3), 0) LIMIT 1",
        )
        .bind(vo.as_str())
        .bind(vo.as_str())
        .bind(sink.as_str())
        .fetch_optional(&self.readers)
        .await?;
        if waiting.is_none() {
            return Ok(Batch::default());
        }
        let (vo, sink) = (vo.clone(), sink.clone());
        self.write(move |c| Box::pin(next_batch(c, vo, sink, limit))).await
    }

    async fn delivered(
        &self,
        vo: &VoName,
        sink: &SinkName,
        sequence: u64,
        refused: &[(u64, String)],
        problem: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (vo, sink, refused) = (vo.clone(), sink.clone(), refused.to_vec());
        let problem = problem.map(str::to_owned);
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE sinks SET delivered = CASE WHEN delivered > $1 THEN delivered ELSE $1 END,
                        problem = $2,
                        in_flight = CASE WHEN in_flight <= $3 THEN NULL ELSE in_flight END
                     WHERE vo = $4 AND sink = $5",
                )
                .bind(sequence as i64)
                .bind(problem)
                .bind(sequence as i64)
                .bind(vo.as_str())
                .bind(sink.as_str())
                .execute(&mut *c)
                .await?;
                for (sequence, reason) in refused {
                    sqlx::query(
                        "INSERT INTO refused_records VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                    )
                    .bind(vo.as_str())
                    .bind(sink.as_str())
                    .bind(sequence as i64)
                    .bind(reason)
                    .bind(now.0)
                    .execute(&mut *c)
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn sink_status(&self) -> Result<Vec<SinkStatus>, StoreError> {
        let found = sqlx::query(
            "SELECT vo, sink, problem,
                (SELECT coalesce(max(sequence), 0) FROM usage_records u WHERE u.vo = s.vo)
                    - delivered AS waiting FROM sinks s
             UNION ALL
             SELECT vo, '', NULL, count(*) FROM usage_records
                WHERE vo NOT IN (SELECT vo FROM sinks) GROUP BY vo",
        );
        let status = |row| {
            Ok(SinkStatus {
                vo: rows::parsed(row, "vo")?,
                sink: Row::try_get(row, "sink")?,
                waiting: rows::count(row, "waiting")?,
                problem: Row::try_get(row, "problem")?,
            })
        };
        found.fetch_all(&self.readers).await?.iter().map(status).collect()
    }

    async fn usage_totals(&self, vo: &VoName) -> Result<Vec<UsageTotal>, StoreError> {
        let record = self.dialect.json("record");
        let number = |field| format!("CAST({record} ->> '{field}' AS DOUBLE PRECISION)");
        let (wall, cores, cpu) = (number("wall_seconds"), number("cores"), number("cpu_seconds"));
        let found = sqlx::query(statement(format!(
            "SELECT {record} ->> 'group' AS grp, {record} ->> 'site' AS site,
                {record} ->> 'status' AS status, count(*) AS attempts,
                coalesce(sum({wall} * {cores}), 0) AS core_seconds,
                coalesce(sum({cpu}), 0) AS cpu_seconds
             FROM usage_records WHERE vo = $1 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )));
        let total = |row| {
            Ok(UsageTotal {
                group: Row::try_get(row, "grp")?,
                site: Row::try_get(row, "site")?,
                status: Row::try_get(row, "status")?,
                attempts: rows::count(row, "attempts")?,
                core_seconds: Row::try_get(row, "core_seconds")?,
                cpu_seconds: Row::try_get(row, "cpu_seconds")?,
            })
        };
        found.bind(vo.as_str()).fetch_all(&self.readers).await?.iter().map(total).collect()
    }

    async fn usage(&self, vo: &VoName) -> Result<Vec<SequencedUsage>, StoreError> {
        let found = sqlx::query(
            "SELECT sequence, record FROM usage_records WHERE vo = $1 ORDER BY sequence",
        );
        found.bind(vo.as_str()).fetch_all(&self.readers).await?.iter().map(sequenced).collect()
    }
}
