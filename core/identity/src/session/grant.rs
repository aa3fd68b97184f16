//! Tokens: granted once for a login, renewed while the VO's provider still knows the person.

use super::{
    SessionError, Sessions, bad,
    login::{Login, check_client, proves},
};
use crate::{
    entitlement,
    provider::ProviderError,
    scope::Scope,
    secret::hash,
    subject::{Member, Subject},
};
use spinor_model::{registry::VoDocument, time::Timestamp};
use spinor_store::{FlowKey, FlowRecord, FlowStage, RefreshRecord, UserRecord};
use std::{collections::BTreeSet, time::Duration};

/// An access token lives so long.
pub const ACCESS: Duration = Duration::from_secs(20 * 60);

/// What a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Shown with each request.
    pub access_token: String,
    /// Seconds that it counts.
    pub expires_in: u64,
    /// Gets the next one, once.
    pub refresh_token: String,
}

fn unauthorized<T>(text: impl Into<String>) -> Result<T, SessionError> {
    Err(SessionError::Unauthorized(text.into()))
}

impl Sessions {
    /// Tokens for the login that a device began.
    pub async fn device_tokens(
        &self,
        client_id: &str,
        device_code: &str,
    ) -> Result<Tokens, SessionError> {
        check_client(client_id, "Bad client_id")?;
        let Some(flow) = self.store.flow(FlowKey::Flow(hash(device_code))).await? else {
            return bad("the device_code is unknown: log in anew");
        };
        let login = Login::read(&flow)?;
        if login.client.is_some() {
            return bad("the device_code is unknown: log in anew");
        }
        match flow.stage {
            _ if flow.expires < self.now() && flow.stage != FlowStage::Used => {
                unauthorized("expired_token: the login took too long, begin anew")
            }
            FlowStage::Begun => Err(SessionError::Pending),
            FlowStage::Used => bad("Code was already used"),
            FlowStage::Ready => self.grant(flow, login).await,
        }
    }

    /// Tokens for the login that a browser began.
    pub async fn code_tokens(
        &self,
        client_id: &str,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
    ) -> Result<Tokens, SessionError> {
        check_client(client_id, "Bad client_id")?;
        let Some(flow) = self.store.flow(FlowKey::Flow(hash(code))).await? else {
            return unauthorized("Invalid code");
        };
        let login = Login::read(&flow)?;
        let Some(client) = &login.client else { return unauthorized("Invalid code") };
        if client.redirect_uri != redirect_uri {
            return bad("Invalid redirect_uri");
        }
        if !proves(&client.challenge, verifier) {
            return bad("Invalid code_challenge");
        }
        match flow.stage {
            FlowStage::Used => bad("Code was already used"),
            _ if flow.expires < self.now() => unauthorized("expired_token: begin anew"),
            FlowStage::Begun => unauthorized("Invalid code"),
            FlowStage::Ready => self.grant(flow, login).await,
        }
    }

    async fn grant(&self, flow: FlowRecord, login: Login) -> Result<Tokens, SessionError> {
        let id = flow.flow;
        let used = FlowRecord { stage: FlowStage::Used, ..flow };
        if !self.store.advance_flow(id, FlowStage::Ready, &used).await? {
            return bad("Code was already used");
        }
        if let Some(refused) = login.refused {
            return Err(SessionError::Forbidden(refused));
        }
        let document = self.document(&login.vo)?;
        let sub = login.sub.unwrap_or_default();
        let Some(user) = self.store.user(&login.vo, &sub).await? else {
            return unauthorized("the person is not known any more: log in anew");
        };
        let member = self.admit(&document, &user, &self.scope(&login.scope)?)?;
        let hours = document.identity.as_ref().map_or(1, |identity| identity.session_hours);
        let expires = self.now().plus(Duration::from_secs(u64::from(hours) * 3600));
        let (tokens, record) = self.made(member, login.scope, expires)?;
        self.store.add_refresh(&record, self.now()).await?;
        Ok(tokens)
    }

    /// Somebody as a member of the group that they ask for, if they are.
    fn admit(
        &self,
        document: &VoDocument,
        user: &UserRecord,
        scope: &Scope,
    ) -> Result<Member, SessionError> {
        if self.is_banned(&user.vo, &user.user) {
            return unauthorized(format!("{} is shut out of VO {}", user.user, user.vo));
        }
        let (name, sub) = (&user.user, &user.sub);
        let groups = entitlement::groups(document, sub, &user.entitlements);
        if !groups.contains(&scope.group) {
            let own: Vec<_> = groups.iter().map(ToString::to_string).collect();
            return Err(SessionError::Forbidden(format!(
                "User is not a member of the requested group ({name}, {}): their groups are {}",
                scope.group,
                own.join(", ")
            )));
        }
        let within = groups.iter().filter_map(|group| document.groups.get(group));
        let available: BTreeSet<&String> = within.flat_map(|group| &group.properties).collect();
        let beyond: Vec<_> = scope.extra.iter().filter(|p| !available.contains(p)).collect();
        if !beyond.is_empty() {
            return Err(SessionError::Forbidden(format!(
                "{beyond:?} are not valid properties for user {name}, available values: {available:?}"
            )));
        }
        Ok(Member {
            vo: user.vo.clone(),
            group: scope.group.clone(),
            user: name.clone(),
            sub: sub.clone(),
            properties: scope.properties.clone(),
        })
    }

    /// Tokens, and what is kept of the refresh token.
    fn made(
        &self,
        member: Member,
        scope: String,
        expires: Timestamp,
    ) -> Result<(Tokens, RefreshRecord), SessionError> {
        let now = self.now();
        let (refresh_token, jti) = self.keys.issue_refresh(expires)?;
        let (vo, sub) = (member.vo.clone(), member.sub.clone());
        let record = RefreshRecord { jti, vo, sub, scope, revoked: false, expires };
        let access_token = self.keys.issue(&Subject::Member(member), ACCESS, now)?;
        let expires_in = ACCESS.as_secs();
        Ok((Tokens { access_token, expires_in, refresh_token }, record))
    }

    /// The next tokens, for a refresh token that has not been used. One that has costs its person every
    /// session: somebody has stolen it.
    pub async fn refresh(&self, client_id: &str, token: &str) -> Result<Tokens, SessionError> {
        check_client(client_id, "Bad client_id")?;
        let Ok(jti) = self.keys.check_refresh(token) else { return unauthorized("Invalid JWT") };
        let Some(record) = self.store.refresh(&jti).await? else {
            return unauthorized("expired_token: The token is expired");
        };
        if record.revoked {
            return self.reused(&record).await;
        }
        if record.expires < self.now() {
            return unauthorized("expired_token: The token is expired");
        }
        let document = self.document(&record.vo)?;
        let user = self.asked_again(&document, &record).await?;
        let member = self.admit(&document, &user, &self.scope(&record.scope)?)?;
        let (tokens, next) = self.made(member, record.scope.clone(), record.expires)?;
        match self.store.rotate(&jti, &next).await? {
            true => Ok(tokens),
            false => self.reused(&record).await,
        }
    }

    async fn reused<T>(&self, record: &RefreshRecord) -> Result<T, SessionError> {
        self.store.revoke_all(&record.vo, &record.sub).await?;
        let (vo, sub, jti) = (&record.vo, &record.sub, &record.jti);
        tracing::warn!(target: "spinor::audit", %vo, sub, jti, "a refresh token was used again: all of the person's sessions end");
        unauthorized(
            "Revoked refresh token reused: potential attack detected. You must authenticate again",
        )
    }

    /// The person behind a session. If it is long since the provider was asked about them, it is asked
    /// again; while it does not answer, what it said last counts.
    async fn asked_again(
        &self,
        document: &VoDocument,
        record: &RefreshRecord,
    ) -> Result<UserRecord, SessionError> {
        let known = self.store.user(&record.vo, &record.sub).await?;
        let Some(user) = known else { return unauthorized("the person is not known any more") };
        let Some(identity) = &document.identity else { return Ok(user) };
        let age = self.now().since(user.checked);
        if age < Duration::from_secs(u64::from(identity.recheck_minutes) * 60) {
            return Ok(user);
        }
        let sealed = user.provider_token.as_ref();
        let Some(token) = sealed.and_then(|sealed| self.seal.unseal(sealed)) else {
            return unauthorized(
                "your provider cannot be asked whether you are still a member (it gave no refresh token, scope offline_access): log in anew",
            );
        };
        let secret = self.secret(&record.vo);
        let told = self.providers.again(identity, secret.as_deref(), &token, &user.sub).await;
        match told {
            Ok(person) => match self.register(document, person).await? {
                Ok(user) => Ok(user),
                Err(refused) => {
                    self.store.revoke_all(&record.vo, &record.sub).await?;
                    Err(SessionError::Forbidden(refused))
                }
            },
            Err(ProviderError::Unreachable { issuer, why }) => {
                tracing::warn!(issuer, why, user = %user.user, "membership could not be asked again");
                Ok(user)
            }
            Err(refused) => {
                // Another session of the same person may have been quicker with the same token.
                let now = self.store.user(&record.vo, &record.sub).await?;
                if let Some(now) = now.filter(|now| now.provider_token != user.provider_token) {
                    return Ok(now);
                }
                self.store.revoke_all(&record.vo, &record.sub).await?;
                unauthorized(format!("{refused}: log in anew"))
            }
        }
    }

    /// A refresh token counts no more. Whoever holds it may say so; what is none is as good as revoked.
    pub async fn revoke(&self, token: &str) -> Result<(), SessionError> {
        if let Ok(jti) = self.keys.check_refresh(token) {
            self.store.revoke(&jti).await?;
        }
        Ok(())
    }

    /// Refresh tokens that count: one's own, or the VO's for those who manage them.
    pub async fn refresh_tokens(
        &self,
        member: &Member,
    ) -> Result<Vec<RefreshRecord>, SessionError> {
        let own = (!manages_tokens(member)).then_some(member.sub.as_str());
        Ok(self.store.refreshes(&member.vo, own, self.now()).await?)
    }

    /// A refresh token counts no more, by its number.
    pub async fn revoke_by_number(&self, member: &Member, jti: &str) -> Result<(), SessionError> {
        let Ok(number) = uuid::Uuid::try_parse(jti) else {
            return bad(format!("`{jti}`: badly formed hexadecimal UUID string"));
        };
        let jti = number.to_string();
        let found = self.store.refresh(&jti).await?;
        let Some(record) = found.filter(|record| record.vo == member.vo) else {
            return Err(SessionError::NotFound(format!("Token {jti} not found")));
        };
        if record.sub != member.sub && !manages_tokens(member) {
            let text = "Cannot revoke a refresh token owned by someone else";
            return Err(SessionError::Forbidden(text.to_owned()));
        }
        self.store.revoke(&jti).await?;
        Ok(())
    }
}

fn manages_tokens(member: &Member) -> bool {
    member.properties.contains("ProxyManagement")
}
