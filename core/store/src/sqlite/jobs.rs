//! Jobs, by those who own them.

use super::{SqliteStore, admission, orders, rows};
use crate::{
    EventRecord, JobFilter, JobRecord, JobStore, NewTemplate, OrderAnswer, QueueChange, QueueKey,
    StatusCount, StoreError, Submission,
};
use async_trait::async_trait;
use spinor_model::{
    id::{AttemptNumber, ClassId, JobId, UserName, VoName},
    policy::RequirementClass,
    time::Timestamp,
};
use sqlx::{QueryBuilder, Row, Sqlite};
use std::sync::Arc;

#[async_trait]
impl JobStore for SqliteStore {
    async fn submit(
        &self,
        template: NewTemplate,
        max_waiting: u64,
        now: Timestamp,
    ) -> Result<Submission, StoreError> {
        self.write(move |c| Box::pin(admission::submit(c, template, max_waiting, now))).await
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
        let found = sqlx::query("SELECT * FROM jobs WHERE job_id = ?").bind(id.0);
        found.fetch_optional(&self.readers).await?.as_ref().map(rows::job).transpose()
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<JobRecord>, StoreError> {
        let mut query = QueryBuilder::new("SELECT * FROM jobs WHERE TRUE");
        narrow(&mut query, filter);
        query.push(" ORDER BY job_id LIMIT ").push_bind(filter.limit);
        query.build().fetch_all(&self.readers).await?.iter().map(rows::job).collect()
    }

    async fn summary(&self, filter: &JobFilter) -> Result<Vec<StatusCount>, StoreError> {
        let mut query = QueryBuilder::new("SELECT status, count(*) AS n FROM jobs WHERE TRUE");
        narrow(&mut query, filter);
        query.push(" GROUP BY status");
        let rows = query.build().fetch_all(&self.readers).await?;
        let count = |row| {
            Ok(StatusCount { status: rows::parsed(row, "status")?, count: rows::count(row, "n")? })
        };
        rows.iter().map(count).collect()
    }

    async fn events(&self, id: JobId) -> Result<Vec<EventRecord>, StoreError> {
        let found =
            sqlx::query("SELECT * FROM events WHERE job_id = ? ORDER BY event_id").bind(id.0);
        found.fetch_all(&self.readers).await?.iter().map(rows::event).collect()
    }

    async fn class_of(&self, id: JobId) -> Result<Option<Arc<RequirementClass>>, StoreError> {
        let found = sqlx::query(
            "SELECT classes.* FROM classes JOIN jobs USING (class_id) WHERE jobs.job_id = ?",
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
        by: &str,
        now: Timestamp,
    ) -> Result<(Vec<OrderAnswer>, Vec<QueueChange>), StoreError> {
        let order = orders::Order::new(vo, owner, by, now);
        let ids = ids.to_vec();
        self.write(move |c| Box::pin(async move { order.reschedule(c, &ids).await })).await
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
        let text: String = text.chars().take(255).collect();
        self.write(move |c| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE jobs SET application_status = ?, updated = ?
                     WHERE job_id = ? AND attempt = ? AND status IN ('Matched', 'Running', 'Stalled')",
                )
                .bind(text)
                .bind(now.0)
                .bind(id.0)
                .bind(attempt.0)
                .execute(c)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }
}

fn narrow(query: &mut QueryBuilder<Sqlite>, filter: &JobFilter) {
    if let Some(vo) = &filter.vo {
        query.push(" AND vo = ").push_bind(vo.to_string());
    }
    if let Some(owner) = &filter.owner {
        query.push(" AND owner = ").push_bind(owner.to_string());
    }
    if let Some(site) = &filter.site {
        query.push(" AND site = ").push_bind(site.to_string());
    }
    if let Some(template) = filter.template {
        query.push(" AND template_id = ").push_bind(template.0);
    }
    if let Some(after) = filter.after {
        query.push(" AND job_id > ").push_bind(after.0);
    }
    if !filter.statuses.is_empty() {
        query.push(" AND status IN (");
        let mut list = query.separated(", ");
        for status in &filter.statuses {
            list.push_bind(status.as_str());
        }
        query.push(")");
    }
}
