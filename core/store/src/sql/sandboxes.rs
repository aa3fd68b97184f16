//! Who may use which sandbox.

use super::{SqlStore, rows};
use crate::{JobRecord, NewSandbox, SandboxKind, SandboxStore, StoreError};
use async_trait::async_trait;
use spinor_model::{
    id::{AttemptNumber, Digest, JobId, UserName, VoName},
    sandbox::SandboxName,
    time::Timestamp,
};
use sqlx::{AnyConnection, Row};

/// How many owners of sandboxes were forgotten, and what nobody owns any more.
async fn expire(
    c: &mut AnyConnection,
    vo: &VoName,
    before: Timestamp,
    limit: u32,
) -> Result<(u64, Vec<Digest>), StoreError> {
    // Jobs that are deleted have nothing any more.
    // What pilots brought goes with the owner's: as long as nobody owns it, a job may still be given it.
    let unused = sqlx::query(
        "SELECT digest, owner FROM sandboxes WHERE vo = $1 AND uploaded < $2
            AND (owner <> '' OR EXISTS (SELECT 1 FROM sandboxes AS owned WHERE owned.vo = sandboxes.vo
                AND owned.digest = sandboxes.digest AND owned.owner <> ''))
            AND NOT EXISTS (SELECT 1 FROM template_sandboxes AS used JOIN jobs USING (template_id)
                WHERE used.digest = sandboxes.digest AND jobs.status <> 'Deleted')
            AND NOT EXISTS (SELECT 1 FROM job_sandboxes AS given JOIN jobs USING (job_id)
                WHERE given.digest = sandboxes.digest AND jobs.status <> 'Deleted')
         ORDER BY digest, owner LIMIT $3",
    );
    let unused =
        unused.bind(vo.as_str()).bind(before.0).bind(i64::from(limit)).fetch_all(&mut *c).await?;
    let mut gone = Vec::new();
    for row in &unused {
        let digest: Digest = rows::parsed(row, "digest")?;
        sqlx::query("DELETE FROM sandboxes WHERE vo = $1 AND digest = $2 AND owner = $3")
            .bind(vo.as_str())
            .bind(digest.to_string())
            .bind(row.try_get::<String, _>("owner")?)
            .execute(&mut *c)
            .await?;
        let left = sqlx::query("SELECT 1 FROM sandboxes WHERE digest = $1 LIMIT 1");
        if left.bind(digest.to_string()).fetch_optional(&mut *c).await?.is_none() {
            gone.push(digest);
        }
    }
    Ok((unused.len() as u64, gone))
}

/// Gives a job what an attempt leaves, in the place of what earlier ones left; whether it did not have it.
async fn assign(
    c: &mut AnyConnection,
    job: JobId,
    attempt: AttemptNumber,
    name: &SandboxName,
) -> Result<bool, StoreError> {
    sqlx::query("DELETE FROM job_sandboxes WHERE job_id = $1 AND attempt < $2")
        .bind(job.0)
        .bind(i64::from(attempt.0))
        .execute(&mut *c)
        .await?;
    let given = sqlx::query(
        "INSERT INTO job_sandboxes (job_id, name, digest, attempt) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    );
    let given = given.bind(job.0).bind(name.to_string()).bind(name.digest.to_string());
    Ok(given.bind(i64::from(attempt.0)).execute(c).await?.rows_affected() == 1)
}

/// Takes what it left away from a job.
pub async fn unassign(c: &mut AnyConnection, job: JobId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM job_sandboxes WHERE job_id = $1").bind(job.0).execute(c).await?;
    Ok(())
}

/// What a pilot brings of a job is its owner's.
pub async fn hand_over(
    c: &mut AnyConnection,
    job: &JobRecord,
    output: Option<Digest>,
) -> Result<(), StoreError> {
    let Some(digest) = output else { return Ok(()) };
    sqlx::query(
        "INSERT INTO sandboxes (vo, digest, size, owner, uploaded, grp, format)
         SELECT vo, digest, size, $1, uploaded, $2, format FROM sandboxes
         WHERE vo = $3 AND digest = $4 AND owner = ''
         ON CONFLICT (vo, digest, owner) DO UPDATE SET uploaded = excluded.uploaded",
    )
    .bind(job.owner.as_str())
    .bind(job.group.as_str())
    .bind(job.vo.as_str())
    .bind(digest.to_string())
    .execute(&mut *c)
    .await?;
    let found =
        sqlx::query("SELECT format FROM sandboxes WHERE vo = $1 AND digest = $2 AND owner = $3");
    let found = found.bind(job.vo.as_str()).bind(digest.to_string()).bind(job.owner.as_str());
    let Some(row) = found.fetch_optional(&mut *c).await? else { return Ok(()) };
    let name = SandboxName {
        vo: job.vo.clone(),
        group: job.group.clone(),
        user: job.owner.clone(),
        digest,
        format: rows::parsed(&row, "format")?,
    };
    assign(c, job.id, job.attempt, &name).await?;
    Ok(())
}

#[async_trait]
impl SandboxStore for SqlStore {
    async fn add_sandbox(&self, new: NewSandbox, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO sandboxes (vo, digest, size, owner, uploaded, grp, format)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)
                     ON CONFLICT (vo, digest, owner) DO UPDATE SET uploaded = excluded.uploaded",
                )
                .bind(new.vo.as_str())
                .bind(new.digest.to_string())
                .bind(new.size as i64)
                .bind(new.owner.map_or(String::new(), |owner| owner.to_string()))
                .bind(now.0)
                .bind(new.group.map_or(String::new(), |group| group.to_string()))
                .bind(new.format.as_str())
                .execute(c)
                .await?;
                Ok(())
            })
        })
        .await
    }

    async fn has_sandbox(
        &self,
        vo: &VoName,
        owner: Option<&UserName>,
        digest: Digest,
    ) -> Result<bool, StoreError> {
        let owner = owner.map(ToString::to_string);
        let found = sqlx::query(
            "SELECT 1 FROM sandboxes WHERE vo = $1 AND digest = $2 AND owner = coalesce($3, owner)",
        );
        let found = found.bind(vo.as_str()).bind(digest.to_string()).bind(owner);
        Ok(found.fetch_optional(&self.readers).await?.is_some())
    }

    async fn sandbox_bytes(&self, vo: &VoName) -> Result<u64, StoreError> {
        let sum =
            "SELECT CAST(coalesce(sum(size), 0) AS BIGINT) AS bytes FROM sandboxes WHERE vo = $1";
        let row = sqlx::query(sum).bind(vo.as_str()).fetch_one(&self.readers).await?;
        Ok(row.try_get::<i64, _>("bytes")?.unsigned_abs())
    }

    async fn expire_sandboxes(
        &self,
        vo: &VoName,
        before: Timestamp,
        limit: u32,
    ) -> Result<(u64, Vec<Digest>), StoreError> {
        let vo = vo.clone();
        self.write(move |c| Box::pin(async move { expire(c, &vo, before, limit).await })).await
    }

    async fn assign_sandbox(
        &self,
        job: JobId,
        attempt: AttemptNumber,
        name: &SandboxName,
    ) -> Result<bool, StoreError> {
        let name = name.clone();
        self.write(move |c| Box::pin(async move { assign(c, job, attempt, &name).await })).await
    }

    async fn unassign_sandboxes(&self, jobs: &[JobId]) -> Result<(), StoreError> {
        let jobs = jobs.to_vec();
        self.write(move |c| {
            Box::pin(async move {
                for job in jobs {
                    unassign(c, job).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn job_sandboxes(&self, job: JobId) -> Result<Vec<(SandboxKind, String)>, StoreError> {
        let submitted = sqlx::query(
            "SELECT sandboxes.vo, sandboxes.grp, sandboxes.owner, sandboxes.digest, sandboxes.format,
                templates.grp AS job_grp
             FROM jobs JOIN templates USING (template_id) JOIN template_sandboxes USING (template_id)
                JOIN sandboxes ON sandboxes.digest = template_sandboxes.digest
                    AND sandboxes.vo = templates.vo AND sandboxes.owner = templates.owner
             WHERE jobs.job_id = $1 ORDER BY sandboxes.digest",
        );
        let submitted = submitted.bind(job.0).fetch_all(&self.readers).await?;
        let mut found = Vec::new();
        for row in &submitted {
            let group: String = row.try_get("grp")?;
            let group = if group.is_empty() { "job_grp" } else { "grp" };
            let name = SandboxName {
                vo: rows::parsed(row, "vo")?,
                group: rows::parsed(row, group)?,
                user: rows::parsed(row, "owner")?,
                digest: rows::parsed(row, "digest")?,
                format: rows::parsed(row, "format")?,
            };
            found.push((SandboxKind::Input, name.to_string()));
        }
        let left = sqlx::query("SELECT name FROM job_sandboxes WHERE job_id = $1 ORDER BY name");
        for row in left.bind(job.0).fetch_all(&self.readers).await? {
            found.push((SandboxKind::Output, row.try_get("name")?));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::testing::{store, waiting};
    use spinor_model::sandbox::SandboxFormat;

    fn sandbox(content: &[u8], owner: Option<&str>) -> NewSandbox {
        NewSandbox {
            vo: "vo".parse().unwrap(),
            owner: owner.map(|owner| owner.parse().unwrap()),
            group: owner.map(|_| "g".parse().unwrap()),
            digest: Digest::of(content),
            size: 1,
            format: SandboxFormat::Zstd,
        }
    }

    #[tokio::test]
    async fn what_no_job_has_is_forgotten_in_time() {
        let (store, _directory) = store().await;
        let vo: VoName = "vo".parse().unwrap();
        let (old, new) = (Timestamp(1), Timestamp(1_000));
        for (content, owner, time) in [
            (&b"old"[..], Some("ada"), old),
            (b"shared", Some("ada"), old),
            (b"shared", Some("eve"), new),
            (b"new", Some("ada"), new),
            (b"given", Some("ada"), old),
            (b"brought", None, old),
        ] {
            store.add_sandbox(sandbox(content, owner), time).await.unwrap();
        }
        // Whoever gives it to a job may be in another group, and call it something else.
        let name = SandboxName {
            vo: vo.clone(),
            group: "other".parse().unwrap(),
            user: "ada".parse().unwrap(),
            digest: Digest::of(b"given"),
            format: SandboxFormat::Bzip2,
        };
        waiting(&store, &["ada", "ada"]).await;
        let (job, other) = (JobId(1), JobId(2));
        assert!(store.assign_sandbox(job, AttemptNumber(0), &name).await.unwrap());
        assert_eq!(store.sandbox_bytes(&vo).await.unwrap(), 6);
        let expire = || store.expire_sandboxes(&vo, Timestamp(500), 100);
        assert_eq!(expire().await.unwrap(), (2, vec![Digest::of(b"old")]));
        let has = |content: &'static [u8], owner: &'static str| {
            let (store, vo, owner) = (&store, &vo, owner.parse().unwrap());
            async move { store.has_sandbox(vo, Some(&owner), Digest::of(content)).await.unwrap() }
        };
        assert!(!has(b"shared", "ada").await && has(b"shared", "eve").await);
        assert!(has(b"new", "ada").await && has(b"given", "ada").await);
        assert_eq!(expire().await.unwrap(), (0, Vec::new()));
        store.unassign_sandboxes(&[job]).await.unwrap();
        assert_eq!(expire().await.unwrap(), (1, vec![Digest::of(b"given")]));
        assert!(store.has_sandbox(&vo, None, Digest::of(b"brought")).await.unwrap());

        // What jobs of one template were given is there until the last of them is deleted.
        store.add_sandbox(sandbox(b"input", Some("ada")), old).await.unwrap();
        let change = |statement: String| {
            store.write(move |c| {
                Box::pin(async move {
                    sqlx::query(crate::sql::dialect::statement(statement)).execute(c).await?;
                    Ok(())
                })
            })
        };
        let digest = Digest::of(b"input");
        change(format!("INSERT INTO template_sandboxes VALUES (1, '{digest}')")).await.unwrap();
        for (job, gone) in [(job, 0), (other, 1)] {
            change(format!("UPDATE jobs SET status = 'Deleted' WHERE job_id = {job}"))
                .await
                .unwrap();
            assert_eq!(expire().await.unwrap().0, gone, "{job}");
        }
    }

    #[tokio::test]
    async fn an_attempts_outputs_take_the_place_of_those_before() {
        let (store, _directory) = store().await;
        waiting(&store, &["ada"]).await;
        let id = JobId(1);
        let sent = |attempt: u32, content: &'static [u8]| {
            let name = SandboxName {
                vo: "vo".parse().unwrap(),
                group: "g".parse().unwrap(),
                user: "ada".parse().unwrap(),
                digest: Digest::of(content),
                format: SandboxFormat::Zstd,
            };
            let store = &store;
            async move { store.assign_sandbox(id, AttemptNumber(attempt), &name).await.unwrap() }
        };
        let brings = |attempt: u32, content: &'static [u8]| {
            let (new, store) = (sandbox(content, None), &store);
            async move {
                store.add_sandbox(new, Timestamp(1)).await.unwrap();
                let write = store.write(move |c| {
                    Box::pin(async move {
                        let mut job = crate::sql::moves::job(c, id).await?.unwrap();
                        job.attempt = AttemptNumber(attempt);
                        hand_over(c, &job, Some(Digest::of(content))).await
                    })
                });
                write.await.unwrap();
            }
        };
        let left = || async { store.job_sandboxes(id).await.unwrap().len() };
        assert!(sent(1, b"early").await && !sent(1, b"early").await);
        brings(1, b"output").await;
        assert_eq!(left().await, 2, "what the payload sent, and what its pilot brought");
        assert!(sent(2, b"early").await, "it is the same, and of the next");
        assert_eq!(left().await, 1);
        brings(2, b"output").await;
        assert_eq!(left().await, 2);
    }
}
