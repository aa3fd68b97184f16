//! What is kept of policies' doings.

use super::{SqlStore, rows};
use crate::{AuditRecord, LineRecord, Observed, Placement, PolicyStore, StoreError, Unfinished};
use async_trait::async_trait;
use spinor_model::{
    id::{ClassId, VoName},
    policy::{Decider, Decision, LogLevel},
    registry::BindingPath,
    time::Timestamp,
};
use sqlx::{AnyConnection, Row, any::AnyRow};
use std::collections::BTreeSet;

async fn observe(
    c: &mut AnyConnection,
    observed: Observed,
    keep: u32,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut places = BTreeSet::new();
    for (key, decision) in observed.decisions {
        sqlx::query(
            "INSERT INTO decisions (vo, path, decision_key, decided, digest, settings, decision)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (vo, path, decision_key) DO UPDATE SET decided = excluded.decided",
        )
        .bind(decision.vo.as_str())
        .bind(decision.path.to_string())
        .bind(key.to_string())
        .bind(now.0)
        .bind(decision.decider.digest.to_string())
        .bind(decision.decider.settings.to_string())
        .bind(rows::to_json(&decision)?)
        .execute(&mut *c)
        .await?;
        places.insert((decision.vo, decision.path));
    }
    for (vo, path) in places {
        sqlx::query(
            "DELETE FROM decisions WHERE vo = $1 AND path = $2 AND decision_key IN (
                SELECT decision_key FROM decisions WHERE vo = $1 AND path = $2
                ORDER BY decided DESC, decision_key LIMIT 1000000 OFFSET $3)",
        )
        .bind(vo.as_str())
        .bind(path.to_string())
        .bind(i64::from(keep))
        .execute(&mut *c)
        .await?;
    }
    let mut vos = BTreeSet::new();
    for line in observed.lines {
        sqlx::query(
            "INSERT INTO guest_lines (vo, plugin, level, message, time) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(line.vo.as_str())
        .bind(&line.plugin)
        .bind(line.level.as_str())
        .bind(rows::plain(&line.message))
        .bind(now.0)
        .execute(&mut *c)
        .await?;
        vos.insert(line.vo);
    }
    for vo in vos {
        sqlx::query(
            "DELETE FROM guest_lines WHERE vo = $1 AND line_id < (
                SELECT min(line_id) FROM (SELECT line_id FROM guest_lines WHERE vo = $1
                    ORDER BY line_id DESC LIMIT $2) AS kept)",
        )
        .bind(vo.as_str())
        .bind(i64::from(keep))
        .execute(&mut *c)
        .await?;
    }
    Ok(())
}

fn line(row: &AnyRow) -> Result<LineRecord, StoreError> {
    let level: String = row.try_get("level")?;
    use LogLevel::{Debug, Error, Info, Warn};
    let level = [Error, Warn, Info, Debug].into_iter().find(|known| known.as_str() == level);
    Ok(LineRecord {
        id: row.try_get("line_id")?,
        vo: rows::parsed(row, "vo")?,
        plugin: row.try_get("plugin")?,
        level: level.unwrap_or(Debug),
        message: row.try_get("message")?,
        time: rows::time(row, "time")?,
    })
}

fn audit(row: &AnyRow) -> Result<AuditRecord, StoreError> {
    Ok(AuditRecord {
        time: rows::time(row, "time")?,
        who: row.try_get("who")?,
        vo: row.try_get("vo")?,
        path: row.try_get("path")?,
        action: row.try_get("action")?,
        plugin: row.try_get("plugin")?,
        detail: row.try_get("detail")?,
    })
}

fn placement(row: &AnyRow) -> Result<Placement, StoreError> {
    Ok(Placement {
        class: ClassId(row.try_get("class_id")?),
        site: rows::parsed(row, "site")?,
        ce: rows::parsed(row, "ce")?,
        attempts: rows::count(row, "n")?,
    })
}

fn planner(row: &AnyRow) -> Result<Unfinished, StoreError> {
    Ok(Unfinished::Jobs {
        vo: rows::parsed(row, "vo")?,
        job_type: rows::parsed(row, "job_type")?,
        decider: rows::json(row, "planned_by")?,
        count: rows::count(row, "n")?,
    })
}

fn sender(row: &AnyRow) -> Result<Unfinished, StoreError> {
    Ok(Unfinished::Pilots {
        vo: rows::parsed(row, "vo")?,
        ce: rows::parsed(row, "ce")?,
        decider: rows::json(row, "sent_by")?,
        count: rows::count(row, "n")?,
    })
}

#[async_trait]
impl PolicyStore for SqlStore {
    async fn observe(
        &self,
        observed: Observed,
        keep: u32,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |c| Box::pin(observe(c, observed, keep, now))).await
    }

    async fn decisions(
        &self,
        vo: &VoName,
        path: &BindingPath,
        since: Timestamp,
        in_force: Option<&Decider>,
        limit: u32,
    ) -> Result<Vec<Decision>, StoreError> {
        let (digest, settings) = in_force
            .map(|decider| (decider.digest.to_string(), decider.settings.to_string()))
            .unwrap_or_default();
        let found = sqlx::query(
            "SELECT decision FROM decisions WHERE vo = $1 AND path = $2
                AND (decided >= $3 OR (digest = $4 AND settings = $5))
             ORDER BY decided DESC, decision_key LIMIT $6",
        );
        let found = found.bind(vo.as_str()).bind(path.to_string()).bind(since.0);
        let found = found.bind(digest).bind(settings).bind(i64::from(limit));
        let rows = found.fetch_all(&self.readers).await?;
        rows.iter().map(|row| rows::json(row, "decision")).collect()
    }

    async fn guest_lines(
        &self,
        vo: &VoName,
        plugin: Option<&str>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<LineRecord>, StoreError> {
        let found = sqlx::query(
            "SELECT * FROM guest_lines WHERE vo = $1 AND line_id > $2
                AND ($3 = '' OR plugin LIKE $3 || '%') ORDER BY line_id DESC LIMIT $4",
        );
        let found = found.bind(vo.as_str()).bind(after).bind(plugin.unwrap_or_default());
        let rows = found.bind(i64::from(limit)).fetch_all(&self.readers).await?;
        rows.iter().rev().map(line).collect()
    }

    async fn audit(&self, entry: AuditRecord) -> Result<(), StoreError> {
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO audit (time, who, vo, path, action, plugin, detail)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)",
                )
                .bind(entry.time.0)
                .bind(entry.who)
                .bind(entry.vo)
                .bind(entry.path)
                .bind(entry.action)
                .bind(entry.plugin)
                .bind(rows::cut(&entry.detail, 2_000))
                .execute(c)
                .await?;
                Ok(())
            })
        })
        .await
    }

    async fn audit_entries(
        &self,
        vo: Option<&VoName>,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        let found = sqlx::query(
            "SELECT * FROM audit WHERE ($1 = '' OR vo = $1) ORDER BY entry_id DESC LIMIT $2",
        );
        let found = found.bind(vo.map_or("", VoName::as_str).to_owned()).bind(i64::from(limit));
        found.fetch_all(&self.readers).await?.iter().map(audit).collect()
    }

    async fn placements(
        &self,
        vo: &VoName,
        since: Timestamp,
    ) -> Result<Vec<Placement>, StoreError> {
        let found = sqlx::query(
            "SELECT jobs.class_id, attempts.site, attempts.ce, count(*) AS n
             FROM attempts JOIN jobs USING (job_id)
             WHERE jobs.vo = $1 AND attempts.claimed >= $2
             GROUP BY jobs.class_id, attempts.site, attempts.ce",
        );
        let rows = found.bind(vo.as_str()).bind(since.0).fetch_all(&self.readers).await?;
        rows.iter().map(placement).collect()
    }

    async fn hold_class(&self, class: ClassId, reason: Option<&str>) -> Result<(), StoreError> {
        let minor = reason.map(|reason| rows::cut(&format!("Held: {reason}"), super::moves::MINOR));
        self.write(move |c| {
            Box::pin(async move {
                let minor: Option<String> = minor;
                let query = match minor {
                    Some(minor) => sqlx::query(
                        "UPDATE jobs SET minor_status = $2 WHERE class_id = $1 AND status = 'Waiting'",
                    )
                    .bind(class.0)
                    .bind(minor),
                    None => sqlx::query(
                        "UPDATE jobs SET minor_status = $2 WHERE class_id = $1
                            AND status = 'Waiting' AND minor_status LIKE 'Held:%'",
                    )
                    .bind(class.0)
                    .bind(super::moves::WAITS.to_owned()),
                };
                query.execute(c).await?;
                Ok(())
            })
        })
        .await
    }

    async fn unfinished(&self) -> Result<Vec<Unfinished>, StoreError> {
        let jobs = sqlx::query(
            "SELECT templates.vo, templates.job_type, templates.planned_by, count(*) AS n
             FROM jobs JOIN templates USING (template_id)
             WHERE jobs.status NOT IN ('Done', 'Failed', 'Killed', 'Deleted')
             GROUP BY templates.vo, templates.job_type, templates.planned_by",
        );
        let pilots = sqlx::query(
            "SELECT vo, ce, sent_by, count(*) AS n FROM pilots
             WHERE sent_by IS NOT NULL
                AND (status IN ('Submitted', 'Waiting', 'Running', 'Unknown') OR (cleaned = 0 AND reference IS NOT NULL))
             GROUP BY vo, ce, sent_by",
        );
        let jobs = jobs.fetch_all(&self.readers).await?;
        let pilots = pilots.fetch_all(&self.readers).await?;
        jobs.iter().map(planner).chain(pilots.iter().map(sender)).collect()
    }
}
