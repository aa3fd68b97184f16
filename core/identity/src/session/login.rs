//! The way to the provider and back.

use super::{CLIENT_ID, SessionError, Sessions, bad};
use crate::{
    entitlement, jws,
    provider::{Begun, Person},
    scope::Scope,
    secret::{self, hash},
};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use spinor_model::{
    id::{Digest, UserName, VoName},
    registry::{Identity, VoDocument},
};
use spinor_store::{FlowKey, FlowRecord, FlowStage, UserRecord};
use std::time::Duration;

/// A device flow takes at most so long.
const DEVICE: Duration = Duration::from_secs(600);
/// An authorization flow takes at most so long.
const AUTHORIZATION: Duration = Duration::from_secs(300);

/// A login that a client on a device without a browser has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceLogin {
    /// What a person types.
    pub user_code: String,
    /// What the client asks with.
    pub device_code: String,
    /// Seconds until it is over.
    pub expires_in: u64,
}

/// A login that a client with a browser begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationRequest {
    /// SHA-256 of what the client will prove itself with, in base64url.
    pub challenge: String,
    /// Where the person is sent back to.
    pub redirect_uri: String,
    /// What is asked for.
    pub scope: String,
    /// What is sent back with them.
    pub state: String,
}

/// What is kept of a login under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Login {
    pub scope: String,
    pub vo: VoName,
    /// How the client proves itself, if it has a browser.
    pub client: Option<Client>,
    /// What must come back from the provider.
    pub begun: Option<Begun>,
    /// Who has logged in.
    pub sub: Option<String>,
    /// Why they get nothing.
    pub refused: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Client {
    pub challenge: String,
    pub redirect_uri: String,
    pub state: String,
}

impl Login {
    pub fn read(flow: &FlowRecord) -> Result<Self, SessionError> {
        serde_json::from_str(&flow.body)
            .or_else(|_| bad("the login cannot be read back: begin anew"))
    }

    pub fn body(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Letters that cannot be mistaken and make no words.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

fn user_code() -> String {
    let mut random = rand::rng();
    (0..8).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}

/// There is one client; DiracX's differ in what they call another.
pub(super) fn check_client(client_id: &str, otherwise: &str) -> Result<(), SessionError> {
    if client_id == CLIENT_ID { Ok(()) } else { bad(otherwise) }
}

impl Sessions {
    pub(super) fn scope(&self, text: &str) -> Result<Scope, SessionError> {
        let vos = self.documents.vos();
        let wanted = text.split_whitespace().find_map(|word| word.strip_prefix("vo:"));
        let document = wanted.and_then(|vo| self.documents.document(&vo.parse().ok()?));
        Ok(Scope::parse(text, |_| document.as_deref(), &vos)?)
    }

    fn identity<'d>(&self, document: &'d VoDocument) -> Result<&'d Identity, SessionError> {
        let Some(identity) = &document.identity else {
            return bad(format!(
                "VO {} has no identity provider: its operator adds one under `[identity]` of its document",
                document.vo
            ));
        };
        Ok(identity)
    }

    /// A client without a browser begins a login.
    pub async fn begin_device(
        &self,
        client_id: &str,
        scope: &str,
    ) -> Result<DeviceLogin, SessionError> {
        check_client(client_id, "Unrecognised client ID")?;
        let vo = self.scope(scope)?.vo;
        self.identity(&*self.document(&vo)?)?;
        let (user_code, device_code) = (user_code(), secret::fresh());
        let scope = scope.to_owned();
        let login = Login { scope, vo, client: None, begun: None, sub: None, refused: None };
        let flow = FlowRecord {
            flow: hash(&device_code),
            user_code: Some(user_code.clone()),
            state: None,
            stage: FlowStage::Begun,
            body: login.body(),
            expires: self.now().plus(DEVICE),
        };
        self.store.add_flow(&flow, self.now()).await?;
        Ok(DeviceLogin { user_code, device_code, expires_in: DEVICE.as_secs() })
    }

    /// A person followed the device's link: where to send them.
    pub async fn device_login(&self, user_code: &str) -> Result<String, SessionError> {
        let key = FlowKey::UserCode(user_code.to_ascii_uppercase());
        let found = self.store.flow(key).await?;
        let Some(flow) = found.filter(|flow| self.is_open(flow)) else {
            return bad(
                "No row was found when one was required: the code is unknown, used or too old; log in anew",
            );
        };
        let mut login = Login::read(&flow)?;
        let (url, state) = self.to_provider(&mut login, "/api/auth/device/complete").await?;
        let (id, body) = (flow.flow, login.body());
        let next = FlowRecord { state: Some(state), body, ..flow };
        match self.store.advance_flow(id, FlowStage::Begun, &next).await? {
            true => Ok(url),
            false => bad("the login is over already"),
        }
    }

    fn is_open(&self, flow: &FlowRecord) -> bool {
        flow.stage == FlowStage::Begun && flow.expires > self.now()
    }

    /// A client with a browser begins a login: where to send it.
    pub async fn begin_authorization(
        &self,
        client_id: &str,
        request: AuthorizationRequest,
    ) -> Result<String, SessionError> {
        check_client(client_id, "Unrecognised client_id")?;
        if !self.redirects.contains(&request.redirect_uri) {
            return bad(
                "Unrecognised redirect_uri: the server's configuration lists those that may be (`auth.redirects`)",
            );
        }
        let vo = self.scope(&request.scope)?.vo;
        let AuthorizationRequest { challenge, redirect_uri, scope, state } = request;
        let client = Some(Client { challenge, redirect_uri, state });
        let mut login = Login { scope, vo, client, begun: None, sub: None, refused: None };
        let (url, state) = self.to_provider(&mut login, "/api/auth/authorize/complete").await?;
        let flow = FlowRecord {
            // Nobody holds this: the code is made when somebody has logged in.
            flow: hash(&secret::fresh()),
            user_code: None,
            state: Some(state),
            stage: FlowStage::Begun,
            body: login.body(),
            expires: self.now().plus(AUTHORIZATION),
        };
        self.store.add_flow(&flow, self.now()).await?;
        Ok(url)
    }

    /// Where to send somebody, and the hash of what they come back with.
    async fn to_provider(
        &self,
        login: &mut Login,
        back: &str,
    ) -> Result<(String, Digest), SessionError> {
        let document = self.document(&login.vo)?;
        let state = secret::fresh();
        let redirect = format!("{}{back}", self.url);
        let (url, begun) =
            self.providers.begin(self.identity(&document)?, &redirect, &state).await?;
        login.begun = Some(begun);
        Ok((url, hash(&state)))
    }

    /// The person of a device flow came back from the provider; why they get nothing, if so.
    pub async fn finish_device(
        &self,
        code: &str,
        state: &str,
        issuer: Option<&str>,
    ) -> Result<Option<String>, SessionError> {
        let (flow, mut login) = self.came_back(code, state, issuer).await?;
        let refused = login.refused.clone();
        login.begun = None;
        let (id, body) = (flow.flow, login.body());
        let next = FlowRecord { state: None, stage: FlowStage::Ready, body, ..flow };
        match self.store.advance_flow(id, FlowStage::Begun, &next).await? {
            true => Ok(refused),
            false => bad("Invalid state"),
        }
    }

    /// The person of an authorization flow came back from the provider: where to send them.
    pub async fn finish_authorization(
        &self,
        code: &str,
        state: &str,
        issuer: Option<&str>,
    ) -> Result<String, SessionError> {
        let (flow, mut login) = self.came_back(code, state, issuer).await?;
        let Some(client) = login.client.clone() else { return bad("Invalid state") };
        login.begun = None;
        let own_code = secret::fresh();
        let (id, body) = (flow.flow, login.body());
        let (flow, stage) = (hash(&own_code), FlowStage::Ready);
        let expires = self.now().plus(AUTHORIZATION);
        let next = FlowRecord { flow, user_code: None, state: None, stage, body, expires };
        if !self.store.advance_flow(id, FlowStage::Begun, &next).await? {
            return bad("Invalid state");
        }
        // Clients' addresses may hold a fragment, which the query then stands behind.
        let joint = if client.redirect_uri.contains('?') { '&' } else { '?' };
        let state: String = url::form_urlencoded::byte_serialize(client.state.as_bytes()).collect();
        Ok(format!("{}{joint}code={own_code}&state={state}", client.redirect_uri))
    }

    async fn came_back(
        &self,
        code: &str,
        state: &str,
        issuer: Option<&str>,
    ) -> Result<(FlowRecord, Login), SessionError> {
        let found = self.store.flow(FlowKey::State(hash(state))).await?;
        let Some(flow) = found.filter(|flow| self.is_open(flow)) else {
            return bad("Invalid state: the login is unknown, used or too old; begin anew");
        };
        let mut login = Login::read(&flow)?;
        let document = self.document(&login.vo)?;
        let Some(begun) = &login.begun else { return bad("Invalid state") };
        let identity = self.identity(&document)?;
        if issuer.is_some_and(|issuer| issuer != identity.issuer) {
            return bad("Invalid state: another provider answers than the one that was asked");
        }
        let secret = self.secret(&login.vo);
        let person = self.providers.finish(identity, secret.as_deref(), begun, code).await?;
        match self.register(&document, person).await? {
            Ok(user) => login.sub = Some(user.sub),
            Err(refused) => login.refused = Some(refused),
        }
        Ok((flow, login))
    }

    /// Remembers somebody who is in one of the VO's groups; else says why they are not let in.
    pub(super) async fn register(
        &self,
        document: &VoDocument,
        person: Person,
    ) -> Result<Result<UserRecord, String>, SessionError> {
        let vo = &document.vo;
        let Person { sub, name, entitlements, refresh_token } = person;
        let known = self.store.user(vo, &sub).await?;
        let wanted = known
            .as_ref()
            .map_or_else(|| user_name(name.as_deref(), &sub), |k| Some(k.user.clone()));
        let Some(wanted) = wanted else {
            return Ok(Err("your name cannot be used here".to_owned()));
        };
        let (now, is_new) = (self.now(), known.is_none());
        let mut record = UserRecord {
            vo: vo.clone(),
            sub: sub.clone(),
            user: wanted.clone(),
            entitlements,
            checked: now,
            provider_token: refresh_token.and_then(|token| self.seal.seal(&token)),
            registered: known.map_or(now, |known| known.registered),
        };
        let groups = entitlement::groups(document, &sub, &record.entitlements);
        if groups.is_empty() {
            return Ok(Err(format!(
                "{wanted} ({sub}) is in no group of VO {vo}: the provider says {:?}, and the VO's document lists who is in which group",
                record.entitlements
            )));
        }
        // Names are told apart by who came first: a name is whose jobs are whose.
        let listed = |name: &UserName| {
            let local = document.groups.values().any(|group| group.users.contains(name));
            local || document.robots.contains_key(name)
        };
        for number in 1..100 {
            if number > 1 {
                record.user = format!("{wanted}-{number}").parse().map_err(|_| {
                    SessionError::Forbidden(format!("the name {wanted} is another's"))
                })?;
            }
            // Names that the document lists are those of people without a provider, and of robots.
            if is_new && listed(&record.user) {
                continue;
            }
            if self.store.put_user(&record).await? {
                return Ok(Ok(record));
            }
        }
        Ok(Err(format!("the name {wanted} is another's")))
    }
}

/// A name that can stand here for somebody.
fn user_name(name: Option<&str>, sub: &str) -> Option<UserName> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let plain = |text: &str| -> String {
        let text: String = text.chars().map(|c| if good(c) { c } else { '-' }).collect();
        text.trim_start_matches(['.', '-', '_']).chars().take(60).collect()
    };
    let named = name.map(plain).filter(|name| !name.is_empty()).and_then(|name| name.parse().ok());
    named.or_else(|| format!("user-{}", hash(sub).short()).parse().ok())
}

/// Whether somebody holds what a challenge was made from.
pub(super) fn proves(challenge: &str, verifier: &str) -> bool {
    use sha2::{Digest as _, Sha256};
    jws::to_base64(&Sha256::digest(verifier.as_bytes())) == challenge.trim_end_matches('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_plain() {
        let name = |text: &str| user_name(Some(text), "1@egi.eu").unwrap().to_string();
        assert_eq!(name("alice"), "alice");
        assert_eq!(name("Alice B@x.org"), "Alice-B-x.org");
        assert!(name("---").starts_with("user-"));
        assert!(user_name(None, "1@egi.eu").unwrap().as_str().starts_with("user-"));
    }

    #[test]
    fn a_challenge_is_proved_by_its_own_verifier() {
        // From RFC 7636, appendix B.
        let (challenge, verifier) = (
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        );
        assert!(proves(challenge, verifier));
        assert!(!proves(challenge, "another"));
    }
}
