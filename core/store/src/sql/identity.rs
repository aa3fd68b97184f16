//! People and their logins.

use super::{SqlStore, dialect::alone, rows};
use crate::{
    Ban, FlowKey, FlowRecord, FlowStage, IdentityStore, RefreshRecord, StoreError, UserRecord,
};
use async_trait::async_trait;
use spinor_model::{
    id::{Digest, UserName, VoName},
    time::Timestamp,
};
use sqlx::{AnyConnection, Row, any::AnyRow};

fn user(row: &AnyRow) -> Result<UserRecord, StoreError> {
    Ok(UserRecord {
        vo: rows::parsed(row, "vo")?,
        sub: row.try_get("sub")?,
        user: rows::parsed(row, "user_name")?,
        entitlements: rows::json(row, "entitlements")?,
        checked: rows::time(row, "checked")?,
        provider_token: row.try_get("provider_token")?,
        registered: rows::time(row, "registered")?,
    })
}

fn flow(row: &AnyRow) -> Result<FlowRecord, StoreError> {
    let stage: String = row.try_get("stage")?;
    let stages = [FlowStage::Begun, FlowStage::Ready, FlowStage::Used];
    let state: Option<String> = row.try_get("state")?;
    Ok(FlowRecord {
        flow: rows::parsed(row, "flow")?,
        user_code: row.try_get("user_code")?,
        state: state.and_then(|text| text.parse().ok()),
        stage: stages.into_iter().find(|s| s.as_str() == stage).unwrap_or(FlowStage::Used),
        body: row.try_get("body")?,
        expires: rows::time(row, "expires")?,
    })
}

fn refresh(row: &AnyRow) -> Result<RefreshRecord, StoreError> {
    Ok(RefreshRecord {
        jti: row.try_get("jti")?,
        vo: rows::parsed(row, "vo")?,
        sub: row.try_get("sub")?,
        scope: row.try_get("scope")?,
        revoked: row.try_get::<i64, _>("revoked")? != 0,
        expires: rows::time(row, "expires")?,
    })
}

/// What is over is still known for an hour, so that a late client is told so.
const LATE: i64 = 3600 * 1000;

/// Ends a refresh token; whether it was good until now.
async fn use_up(c: &mut AnyConnection, jti: &str) -> Result<bool, StoreError> {
    let used = sqlx::query("UPDATE refresh_tokens SET revoked = 1 WHERE jti = $1 AND revoked = 0");
    Ok(used.bind(jti).execute(c).await?.rows_affected() == 1)
}

async fn insert_refresh(c: &mut AnyConnection, token: RefreshRecord) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO refresh_tokens VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(token.jti)
        .bind(token.vo.as_str())
        .bind(token.sub)
        .bind(token.scope)
        .bind(i64::from(token.revoked))
        .bind(token.expires.0)
        .execute(c)
        .await?;
    Ok(())
}

#[async_trait]
impl IdentityStore for SqlStore {
    async fn user(&self, vo: &VoName, sub: &str) -> Result<Option<UserRecord>, StoreError> {
        let found = sqlx::query("SELECT * FROM users WHERE vo = $1 AND sub = $2");
        let found = found.bind(vo.as_str()).bind(sub).fetch_optional(&self.readers).await?;
        found.as_ref().map(user).transpose()
    }

    async fn users(&self, vo: &VoName) -> Result<Vec<UserRecord>, StoreError> {
        let found = sqlx::query("SELECT * FROM users WHERE vo = $1 ORDER BY user_name");
        found.bind(vo.as_str()).fetch_all(&self.readers).await?.iter().map(user).collect()
    }

    async fn put_user(&self, user: &UserRecord) -> Result<bool, StoreError> {
        let user = user.clone();
        let entitlements = rows::to_json(&user.entitlements)?;
        self.write(move |c| {
            Box::pin(async move {
                alone(c, &format!("users {}", user.vo)).await?;
                // Whoever is new must not come into what another has left.
                let taken = sqlx::query(
                    "SELECT 1 FROM users WHERE vo = $1 AND user_name = $2 AND sub <> $3
                     UNION ALL SELECT 1 FROM jobs WHERE vo = $1 AND owner = $2
                        AND NOT EXISTS (SELECT 1 FROM users WHERE vo = $1 AND sub = $3)
                     UNION ALL SELECT 1 FROM sandboxes WHERE vo = $1 AND owner = $2
                        AND NOT EXISTS (SELECT 1 FROM users WHERE vo = $1 AND sub = $3)
                     LIMIT 1",
                )
                .bind(user.vo.as_str())
                .bind(user.user.as_str())
                .bind(&user.sub)
                .fetch_optional(&mut *c)
                .await?;
                if taken.is_some() {
                    return Ok(false);
                }
                sqlx::query(
                    "INSERT INTO users VALUES ($1, $2, $3, $4, $5, $6, $7)
                     ON CONFLICT (vo, sub) DO UPDATE SET entitlements = excluded.entitlements,
                        checked = excluded.checked,
                        provider_token = coalesce(excluded.provider_token, users.provider_token)",
                )
                .bind(user.vo.as_str())
                .bind(user.sub)
                .bind(user.user.as_str())
                .bind(entitlements)
                .bind(user.checked.0)
                .bind(user.provider_token)
                .bind(user.registered.0)
                .execute(c)
                .await?;
                Ok(true)
            })
        })
        .await
    }

    async fn set_ban(
        &self,
        vo: &VoName,
        user: &UserName,
        ban: Option<(&str, Timestamp)>,
    ) -> Result<(), StoreError> {
        let (vo, user) = (vo.clone(), user.clone());
        let ban = ban.map(|(reason, since)| (rows::plain(reason), since));
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query("DELETE FROM bans WHERE vo = $1 AND user_name = $2")
                    .bind(vo.as_str())
                    .bind(user.as_str())
                    .execute(&mut *c)
                    .await?;
                if let Some((reason, since)) = ban {
                    sqlx::query("INSERT INTO bans VALUES ($1, $2, $3, $4)")
                        .bind(vo.as_str())
                        .bind(user.as_str())
                        .bind(reason)
                        .bind(since.0)
                        .execute(&mut *c)
                        .await?;
                    sqlx::query(
                        "UPDATE refresh_tokens SET revoked = 1 WHERE vo = $1 AND sub IN
                            (SELECT sub FROM users WHERE vo = $1 AND user_name = $2)",
                    )
                    .bind(vo.as_str())
                    .bind(user.as_str())
                    .execute(c)
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn bans(&self) -> Result<Vec<Ban>, StoreError> {
        let found = sqlx::query("SELECT * FROM bans ORDER BY vo, user_name");
        let ban = |row: &AnyRow| {
            Ok(Ban {
                vo: rows::parsed(row, "vo")?,
                user: rows::parsed(row, "user_name")?,
                reason: row.try_get("reason")?,
                since: rows::time(row, "since")?,
            })
        };
        found.fetch_all(&self.readers).await?.iter().map(ban).collect()
    }

    async fn add_flow(&self, flow: &FlowRecord, now: Timestamp) -> Result<(), StoreError> {
        let flow = flow.clone();
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query("DELETE FROM flows WHERE expires < $1")
                    .bind(now.0 - LATE)
                    .execute(&mut *c)
                    .await?;
                sqlx::query("INSERT INTO flows VALUES ($1, $2, $3, $4, $5, $6)")
                    .bind(flow.flow.to_string())
                    .bind(flow.user_code)
                    .bind(flow.state.map(|state| state.to_string()))
                    .bind(flow.stage.as_str())
                    .bind(flow.body)
                    .bind(flow.expires.0)
                    .execute(c)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    async fn flow(&self, key: FlowKey) -> Result<Option<FlowRecord>, StoreError> {
        let found = match key {
            FlowKey::Flow(flow) => {
                sqlx::query("SELECT * FROM flows WHERE flow = $1").bind(flow.to_string())
            }
            FlowKey::UserCode(code) => {
                sqlx::query("SELECT * FROM flows WHERE user_code = $1").bind(code)
            }
            FlowKey::State(state) => {
                sqlx::query("SELECT * FROM flows WHERE state = $1").bind(state.to_string())
            }
        };
        found.fetch_optional(&self.readers).await?.as_ref().map(flow).transpose()
    }

    async fn advance_flow(
        &self,
        flow: Digest,
        from: FlowStage,
        to: &FlowRecord,
    ) -> Result<bool, StoreError> {
        let to = to.clone();
        self.write(move |c| {
            Box::pin(async move {
                let done = sqlx::query(
                    "UPDATE flows SET flow = $1, user_code = $2, state = $3, stage = $4, body = $5,
                        expires = $6 WHERE flow = $7 AND stage = $8",
                )
                .bind(to.flow.to_string())
                .bind(to.user_code)
                .bind(to.state.map(|state| state.to_string()))
                .bind(to.stage.as_str())
                .bind(to.body)
                .bind(to.expires.0)
                .bind(flow.to_string())
                .bind(from.as_str())
                .execute(c)
                .await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    async fn add_refresh(&self, token: &RefreshRecord, now: Timestamp) -> Result<(), StoreError> {
        let token = token.clone();
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query("DELETE FROM refresh_tokens WHERE expires < $1")
                    .bind(now.0 - LATE)
                    .execute(&mut *c)
                    .await?;
                insert_refresh(c, token).await?;
                Ok(())
            })
        })
        .await
    }

    async fn refresh(&self, jti: &str) -> Result<Option<RefreshRecord>, StoreError> {
        let found = sqlx::query("SELECT * FROM refresh_tokens WHERE jti = $1").bind(jti);
        found.fetch_optional(&self.readers).await?.as_ref().map(refresh).transpose()
    }

    async fn refreshes(
        &self,
        vo: &VoName,
        sub: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<RefreshRecord>, StoreError> {
        let found = sqlx::query(
            "SELECT * FROM refresh_tokens WHERE vo = $1 AND sub = coalesce($2, sub)
                AND revoked = 0 AND expires > $3 ORDER BY jti",
        );
        let found = found.bind(vo.as_str()).bind(sub.map(str::to_owned)).bind(now.0);
        found.fetch_all(&self.readers).await?.iter().map(refresh).collect()
    }

    async fn rotate(&self, jti: &str, next: &RefreshRecord) -> Result<bool, StoreError> {
        let (jti, next) = (jti.to_owned(), next.clone());
        self.write(move |c| {
            Box::pin(async move {
                if !use_up(c, &jti).await? {
                    return Ok(false);
                }
                insert_refresh(c, next).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn revoke(&self, jti: &str) -> Result<bool, StoreError> {
        let jti = jti.to_owned();
        self.write(move |c| Box::pin(async move { use_up(c, &jti).await })).await
    }

    async fn revoke_all(&self, vo: &VoName, sub: &str) -> Result<(), StoreError> {
        let (vo, sub) = (vo.clone(), sub.to_owned());
        self.write(move |c| {
            Box::pin(async move {
                sqlx::query("UPDATE refresh_tokens SET revoked = 1 WHERE vo = $1 AND sub = $2")
                    .bind(vo.as_str())
                    .bind(sub)
                    .execute(c)
                    .await?;
                Ok(())
            })
        })
        .await
    }
}
