//! Nodes: the machines that pilots are on.

use super::{SqlStore, rows};
use crate::{NodeBan, NodeEnding, NodeStore, StoreError};
use async_trait::async_trait;
use spinor_model::{
    id::{CeName, NodeName, Stamp, TemplateId, VoName},
    time::Timestamp,
};
use sqlx::{Row, any::AnyRow};

fn ending(row: &AnyRow) -> Result<NodeEnding, StoreError> {
    Ok(NodeEnding {
        template: TemplateId(row.try_get("template_id")?),
        owner: rows::parsed(row, "owner")?,
        result: rows::json(row, "result")?,
    })
}

fn ban(row: &AnyRow) -> Result<NodeBan, StoreError> {
    Ok(NodeBan {
        vo: rows::parsed(row, "vo")?,
        ce: rows::parsed(row, "ce")?,
        node: rows::parsed(row, "node")?,
        since: rows::time(row, "since")?,
        until: rows::maybe_time(row, "until")?,
        reason: row.try_get("reason")?,
    })
}

#[async_trait]
impl NodeStore for SqlStore {
    async fn endings_on(
        &self,
        vo: &VoName,
        ce: &CeName,
        node: &NodeName,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<NodeEnding>, StoreError> {
        let found = sqlx::query(
            "SELECT jobs.template_id, jobs.owner, attempts.result FROM pilots
                JOIN attempts USING (stamp) JOIN jobs USING (job_id)
             WHERE pilots.vo = $1 AND pilots.ce = $2 AND pilots.node = $3 AND pilots.node <> ''
                AND (pilots.ended IS NULL OR pilots.ended >= $4)
                AND attempts.state = 'ended' AND attempts.ended >= $4 AND attempts.result IS NOT NULL
             ORDER BY attempts.ended DESC LIMIT $5",
        );
        let found = found.bind(vo.as_str()).bind(ce.as_str()).bind(node.as_str());
        let found = found.bind(since.0).bind(i64::from(limit));
        found.fetch_all(&self.readers).await?.iter().map(ending).collect()
    }

    async fn endings_elsewhere(
        &self,
        template: TemplateId,
        ce: &CeName,
        node: &NodeName,
        limit: u32,
    ) -> Result<Vec<NodeEnding>, StoreError> {
        let found = sqlx::query(
            "SELECT jobs.template_id, jobs.owner, attempts.result FROM jobs
                JOIN attempts USING (job_id) JOIN pilots USING (stamp)
             WHERE jobs.template_id = $1 AND (pilots.ce <> $2 OR pilots.node <> $3)
                AND attempts.state = 'ended' AND attempts.result IS NOT NULL
             ORDER BY attempts.ended DESC LIMIT $4",
        );
        let found = found.bind(template.0).bind(ce.as_str()).bind(node.as_str());
        let rows = found.bind(i64::from(limit)).fetch_all(&self.readers).await?;
        rows.iter().map(ending).collect()
    }

    async fn has_other_nodes(
        &self,
        vo: &VoName,
        ce: &CeName,
        node: &NodeName,
        since: Timestamp,
    ) -> Result<bool, StoreError> {
        let found = sqlx::query(
            "SELECT 1 FROM pilots WHERE vo = $1 AND (ce <> $2 OR node <> $3) AND node <> ''
                AND (ended IS NULL OR ended >= $4) LIMIT 1",
        );
        let found = found.bind(vo.as_str()).bind(ce.as_str()).bind(node.as_str()).bind(since.0);
        Ok(found.fetch_optional(&self.readers).await?.is_some())
    }

    async fn ban_node(&self, ban: &NodeBan) -> Result<(), StoreError> {
        let ban = ban.clone();
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO node_bans (vo, ce, node, since, until, reason)
                     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (vo, ce, node) DO UPDATE SET
                        since = excluded.since, until = excluded.until, reason = excluded.reason
                     WHERE excluded.until IS NULL OR node_bans.until IS NOT NULL",
                )
                .bind(ban.vo.as_str())
                .bind(ban.ce.as_str())
                .bind(ban.node.as_str())
                .bind(ban.since.0)
                .bind(ban.until.map(|until| until.0))
                .bind(rows::plain(&ban.reason))
                .execute(c)
                .await?;
                Ok(())
            })
        })
        .await
    }

    async fn allow_node(
        &self,
        vo: &VoName,
        ce: &CeName,
        node: &NodeName,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (vo, ce, node) = (vo.clone(), ce.clone(), node.clone());
        self.write(move |c| {
            Box::pin(async move {
                let text = "UPDATE node_bans SET until = $1 WHERE vo = $2 AND ce = $3 AND node = $4
                    AND (until IS NULL OR until > $1)";
                let query = sqlx::query(text).bind(now.0).bind(vo.as_str()).bind(ce.as_str());
                Ok(query.bind(node.as_str()).execute(c).await?.rows_affected() > 0)
            })
        })
        .await
    }

    async fn node_ban(
        &self,
        vo: &VoName,
        ce: &CeName,
        node: &NodeName,
    ) -> Result<Option<NodeBan>, StoreError> {
        let found = sqlx::query("SELECT * FROM node_bans WHERE vo = $1 AND ce = $2 AND node = $3");
        let found = found.bind(vo.as_str()).bind(ce.as_str()).bind(node.as_str());
        found.fetch_optional(&self.readers).await?.as_ref().map(ban).transpose()
    }

    async fn node_bans(&self, now: Timestamp) -> Result<Vec<NodeBan>, StoreError> {
        let found = sqlx::query(
            "SELECT * FROM node_bans WHERE until IS NULL OR until > $1 ORDER BY vo, ce, node",
        );
        found.bind(now.0).fetch_all(&self.readers).await?.iter().map(ban).collect()
    }

    async fn pilots_on_banned_nodes(&self, now: Timestamp) -> Result<Vec<Stamp>, StoreError> {
        let found = sqlx::query(
            "SELECT stamp FROM node_bans JOIN pilots USING (vo, ce, node)
             WHERE (until IS NULL OR until > $1) AND pilots.node <> '' AND pilots.ended IS NULL",
        );
        let rows = found.bind(now.0).fetch_all(&self.readers).await?;
        rows.iter().map(|row| rows::parsed(row, "stamp")).collect()
    }
}
