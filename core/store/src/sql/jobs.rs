//! Jobs, by those who own them.

use super::{SqlStore, admission, dialect::Growing, logs, orders, rows, search::list};
use crate::{
    Again, EventRecord, JobFilter, JobRecord, JobStore, NewTemplate, Operand, OrderAnswer,
    QueueChange, QueueKey, Room, StatusCount, StoreError, Submission,
};
use async_trait::async_trait;
use spinor_model::{
    id::{AttemptNumber, ClassId, JobId, UserName, VoName},
    policy::RequirementClass,
    time::Timestamp,
};
use sqlx::Row;
use std::sync::Arc;

#[async_trait]
impl JobStore for SqlStore {
    async fn submit(
        &self,
        templates: Vec<NewTemplate>,
        room: Room,
        now: Timestamp,
    ) -> Result<Submission, StoreError> {
        self.submissions.run(self, admission::Asked::new(templates, room, now)?).await
    }

    async fn classes(&self) -> Result<Vec<Arc<RequirementClass>>, StoreError> {
        let found = sqlx::query("SELECT * FROM classes ORDER BY class_id");
        found.fetch_all(&self.readers).await?.iter().map(rows::class).collect()
    }

    async fn queues(&self) -> Result<Vec<(QueueKey, u64)>, StoreError> {
        let found = sqlx::query(
            "SELECT class_id, owner, count(*) AS waiting FROM jobs WHERE status = 'Waiting'
             GROUP BY class_id, owner",
        );
        let rows = found.fetch_all(&self.readers).await?;
        let queue = |row| {
            let class = ClassId(Row::try_get(row, "class_id")?);
            let key = QueueKey { class, owner: rows::parsed(row, "owner")? };
            Ok((key, rows::count(row, "waiting")?))
        };
        rows.iter().map(queue).collect()
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError> {
        let found = sqlx::query("SELECT * FROM jobs WHERE job_id = $1").bind(id.0);
        found.fetch_optional(&self.readers).await?.as_ref().map(rows::job).transpose()
    }

    async fn jobs_by_id(&self, ids: &[JobId]) -> Result<Vec<JobRecord>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = ids.iter().map(|id| Operand::Number(id.0)).collect();
        let mut query = Growing::new("SELECT * FROM jobs WHERE job_id IN ");
        list(&mut query, &ids, self.dialect)?;
        query.push(" ORDER BY job_id");
        query.rows(&self.readers).await?.iter().map(rows::job).collect()
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobRecord>, StoreError> {
        let mut query = Growing::new("SELECT * FROM jobs WHERE TRUE");
        narrow(&mut query, filter)?;
        query.push(if filter.newest { " ORDER BY job_id DESC" } else { " ORDER BY job_id" });
        query.push(" LIMIT ").bind(i64::from(filter.limit))?;
        let mut found = query.rows(&self.readers).await?;
        if filter.newest {
            found.reverse();
        }
        found.iter().map(rows::job).collect()
    }

    async fn summary(&self, filter: &JobFilter) -> Result<Vec<StatusCount>, StoreError> {
        let mut query = Growing::new("SELECT status, count(*) AS n FROM jobs WHERE TRUE");
        narrow(&mut query, filter)?;
        query.push(" GROUP BY status");
        let rows = query.rows(&self.readers).await?;
        let count = |row| {
            Ok(StatusCount { status: rows::parsed(row, "status")?, count: rows::count(row, "n")? })
        };
        rows.iter().map(count).collect()
    }

    async fn events(&self, id: JobId) -> Result<Vec<EventRecord>, StoreError> {
        let log = logs::read(&self.readers, self.dialect, &[id]).await?;
        Ok(log.into_iter().map(|(_, entry)| entry).collect())
    }

    async fn class_of(&self, id: JobId) -> Result<Option<Arc<RequirementClass>>, StoreError> {
        let found = sqlx::query(
            "SELECT classes.* FROM classes JOIN jobs USING (class_id) WHERE jobs.job_id = $1",
        );
        let row = found.bind(id.0).fetch_optional(&self.readers).await?;
        row.as_ref().map(rows::class).transpose()
    }

    async fn kill(
        &self,
        vo: &VoName,
        owner: Option<&UserName>,
        ids: &[JobId],
        by: &str,
        now: Timestamp,
    ) -> Result<(Vec<OrderAnswer>, Vec<QueueChange>), StoreError> {
        let order = orders::Order::new(vo, owner, by, now);
        let ids = ids.to_vec();
        self.write(move |c| Box::pin(async move { order.kill(c, &ids).await })).await
    }

    async fn reschedule(
        &self,
        vo: &VoName,
        owner: Option<&UserName>,
        ids: &[JobId],
        again: Again,
        by: &str,
        now: Timestamp,
    ) -> Result<(Vec<OrderAnswer>, Vec<QueueChange>), StoreError> {
        let order = orders::Order::new(vo, owner, by, now);
        let ids = ids.to_vec();
        self.write(move |c| Box::pin(async move { order.reschedule(c, &ids, again).await })).await
    }

    async fn release_due(&self, now: Timestamp) -> Result<Vec<QueueChange>, StoreError> {
        self.write(move |c| Box::pin(orders::release_due(c, now))).await
    }

    async fn set_application_status(
        &self,
        id: JobId,
        attempt: AttemptNumber,
        text: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let text = rows::cut(text, 255);
        self.write(move |c| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE jobs SET application_status = $1, updated = $2
                     WHERE job_id = $3 AND attempt = $4 AND status IN ('Matched', 'Running', 'Stalled')",
                )
                .bind(text)
                .bind(now.0)
                .bind(id.0)
                .bind(i64::from(attempt.0))
                .execute(c)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }
}

fn narrow(query: &mut Growing, filter: &JobFilter) -> Result<(), StoreError> {
    if let Some(vo) = &filter.vo {
        query.push(" AND vo = ").bind(vo.to_string())?;
    }
    if let Some(owner) = &filter.owner {
        query.push(" AND owner = ").bind(owner.to_string())?;
    }
    if let Some(site) = &filter.site {
        query.push(" AND site = ").bind(site.to_string())?;
    }
    if let Some(template) = filter.template {
        query.push(" AND template_id = ").bind(template.0)?;
    }
    if let Some(after) = filter.after {
        query.push(" AND job_id > ").bind(after.0)?;
    }
    for (i, status) in filter.statuses.iter().enumerate() {
        query.push(if i == 0 { " AND status IN (" } else { ", " }).bind(status.as_str())?;
    }
    if !filter.statuses.is_empty() {
        query.push(")");
    }
    Ok(())
}
