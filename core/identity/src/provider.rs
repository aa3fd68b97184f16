//! A VO's OpenID Connect provider: where people log in, and who they are there.

use crate::{entitlement, jws};
use openidconnect::{
    AdditionalProviderMetadata, AsyncHttpClient, AuthenticationFlow, AuthorizationCode, ClientId,
    ClientSecret, CsrfToken, HttpRequest, HttpResponse, IssuerUrl, Nonce, OAuth2TokenResponse,
    PkceCodeChallenge, PkceCodeVerifier, ProviderMetadata, RedirectUrl, RefreshToken,
    RequestTokenError, Scope,
    core::{
        CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod,
        CoreGrantType, CoreIdToken, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
        CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType,
        CoreSubjectIdentifierType,
    },
};
use serde::{Deserialize, Serialize};
use spinor_model::{
    finding::causes,
    registry::{ClientToken, Identity},
};
use std::{
    collections::{BTreeSet, HashMap},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Why a provider could not be made use of. Neither codes nor tokens are in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It does not answer, or not sensibly.
    #[error("the identity provider {issuer} cannot be used: {why}")]
    Unreachable {
        /// Which.
        issuer: String,
        /// Why.
        why: String,
    },
    /// It does not take the code or the token.
    #[error("the identity provider does not accept the {what}: {why}")]
    Refused {
        /// What.
        what: &'static str,
        /// Its word.
        why: String,
    },
    /// What it says of somebody cannot be trusted.
    #[error("the identity provider's token is not valid: {0}")]
    BadToken(String),
    /// It was tried just now.
    #[error("{0}")]
    Again(String),
}

/// A login that has begun: what must come back with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Begun {
    /// Ties the id token to this login.
    pub nonce: String,
    /// Proves that whoever brings the code began the login.
    pub verifier: String,
    /// Where the provider sends people back to.
    pub redirect: String,
}

/// Somebody, as their provider knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Their number there.
    pub sub: String,
    /// The name that the VO's document asks for.
    pub name: Option<String>,
    /// What they are members of.
    pub entitlements: BTreeSet<String>,
    /// Lets the provider be asked again.
    pub refresh_token: Option<String>,
}

/// What was discovered is asked for again after this.
const FRESH: Duration = Duration::from_secs(600);

/// What a provider tells beside what the standard has.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct More {
    introspection_endpoint: Option<String>,
}

impl AdditionalProviderMetadata for More {}

type Metadata = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

type Discovered = Arc<Metadata>;

/// Of a token whose provider does not say how long it is good.
const SHORT: Duration = Duration::from_secs(300);

/// All providers, with what is known of them.
pub struct Providers {
    http: Wire,
    known: Mutex<HashMap<String, (Discovered, Instant)>>,
}

/// Carries the library's exchanges.
struct Wire(reqwest::Client);

impl<'c> AsyncHttpClient<'c> for Wire {
    type Error = WireError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, WireError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let mut answer = self.0.execute(request.try_into()?).await?;
            let mut response = openidconnect::http::Response::builder().status(answer.status());
            if let Some(headers) = response.headers_mut() {
                *headers = std::mem::take(answer.headers_mut());
            }
            Ok(response.body(limited(answer).await?)?)
        })
    }
}

/// What a provider says is short.
const MAX_ANSWER: usize = 1 << 20;

/// A short answer, whole.
pub(crate) async fn limited(mut answer: reqwest::Response) -> Result<Vec<u8>, WireError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(WireError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// How an exchange failed below the protocol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("{0}")]
    Message(#[from] openidconnect::http::Error),
    #[error("the answer has over {MAX_ANSWER} bytes")]
    TooLong,
}

fn unreachable(identity: &Identity, why: impl std::fmt::Display) -> ProviderError {
    ProviderError::Unreachable { issuer: identity.issuer.clone(), why: why.to_string() }
}

macro_rules! client {
    ($identity:expr, $secret:expr, $discovered:expr, $redirect:expr) => {{
        let id = ClientId::new($identity.client_id.clone());
        let secret = $secret.map(|secret: &str| ClientSecret::new(secret.to_owned()));
        let redirect = RedirectUrl::new($redirect).map_err(|e| unreachable($identity, e))?;
        CoreClient::from_provider_metadata(Metadata::clone($discovered), id, secret)
            .set_redirect_uri(redirect)
    }};
}

impl Providers {
    /// None is known yet.
    ///
    /// # Errors
    /// If the machine's certificates cannot be read.
    pub fn new() -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self { http: Wire(http), known: Mutex::default() })
    }

    async fn discovered(
        &self,
        identity: &Identity,
        anew: bool,
    ) -> Result<Discovered, ProviderError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known().get(&identity.issuer).cloned();
        if let Some((found, _)) = fresh.filter(|(_, since)| !anew && since.elapsed() < FRESH) {
            return Ok(found);
        }
        let issuer =
            IssuerUrl::new(identity.issuer.clone()).map_err(|e| unreachable(identity, e))?;
        let found = Metadata::discover_async(issuer, &self.http).await;
        let found = Arc::new(found.map_err(|error| unreachable(identity, causes(&error)))?);
        known().insert(identity.issuer.clone(), (found.clone(), Instant::now()));
        Ok(found)
    }

    /// Where to send somebody to log in, with `state` to come back, and what to keep until then.
    pub async fn begin(
        &self,
        identity: &Identity,
        redirect: &str,
        state: &str,
    ) -> Result<(String, Begun), ProviderError> {
        let discovered = self.discovered(identity, false).await?;
        let client = client!(identity, None::<&str>, &discovered, redirect.to_owned());
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
        let state = CsrfToken::new(state.to_owned());
        let mut request = client.authorize_url(flow, || state, Nonce::new_random);
        let known = discovered.scopes_supported();
        for scope in &identity.scopes {
            // A provider may refuse scopes that it does not know.
            let offered = known.is_none_or(|known| known.iter().any(|own| **own == **scope));
            if offered && scope != "openid" {
                request = request.add_scope(Scope::new(scope.clone()));
            }
        }
        if identity.scopes.contains("offline_access") {
            request = request.add_prompt(openidconnect::core::CoreAuthPrompt::Consent);
        }
        let (url, _, nonce) = request.set_pkce_challenge(challenge).url();
        let (nonce, verifier) = (nonce.secret().clone(), verifier.into_secret());
        Ok((url.to_string(), Begun { nonce, verifier, redirect: redirect.to_owned() }))
    }

    /// Who came back with this code.
    pub async fn finish(
        &self,
        identity: &Identity,
        secret: Option<&str>,
        begun: &Begun,
        code: &str,
    ) -> Result<Person, ProviderError> {
        let discovered = self.discovered(identity, false).await?;
        let client = client!(identity, secret, &discovered, begun.redirect.clone());
        let request = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|error| unreachable(identity, error))?
            .set_pkce_verifier(PkceCodeVerifier::new(begun.verifier.clone()));
        let answer = request.request_async(&self.http).await;
        let answer = answer.map_err(|error| refused(identity, "code", error))?;
        let token = answer.extra_fields().id_token();
        let token = token.ok_or_else(|| ProviderError::BadToken("there is none".to_owned()))?;
        let claims = self.verified(identity, secret, token, Some(&begun.nonce)).await?;
        let access_token = answer.access_token().secret();
        let told = self.told(identity, secret, &discovered, access_token).await?;
        let refresh_token = answer.refresh_token().map(|token| token.secret().clone());
        person(identity, &claims, &told, refresh_token)
    }

    /// Asks again who somebody is.
    pub async fn again(
        &self,
        identity: &Identity,
        secret: Option<&str>,
        refresh_token: &str,
        sub: &str,
    ) -> Result<Person, ProviderError> {
        let discovered = self.discovered(identity, false).await?;
        let client = client!(identity, secret, &discovered, identity.issuer.clone());
        let token = RefreshToken::new(refresh_token.to_owned());
        let request =
            client.exchange_refresh_token(&token).map_err(|error| unreachable(identity, error))?;
        let answer = request.request_async(&self.http).await;
        let answer = answer.map_err(|error| refused(identity, "refresh token", error))?;
        let claims = match answer.extra_fields().id_token() {
            Some(token) => self.verified(identity, secret, token, None).await?,
            None => serde_json::json!({"sub": sub}),
        };
        let access_token = answer.access_token().secret();
        let told = self.told(identity, secret, &discovered, access_token).await?;
        let next = answer.refresh_token().map_or(refresh_token, |token| token.secret()).to_owned();
        let person = person(identity, &claims, &told, Some(next))?;
        match person.sub == sub {
            true => Ok(person),
            false => Err(ProviderError::BadToken("it is somebody else's now".to_owned())),
        }
    }

    /// A token of this client's own, and how long it is good.
    pub async fn own_token(
        &self,
        identity: &Identity,
        secret: Option<&str>,
        wanted: &ClientToken,
    ) -> Result<(String, Duration), ProviderError> {
        let discovered = self.discovered(identity, false).await?;
        let client = client!(identity, secret, &discovered, identity.issuer.clone());
        let mut request = client
            .exchange_client_credentials()
            .map_err(|error| unreachable(identity, error))?
            .add_scopes(wanted.scopes.iter().cloned().map(Scope::new));
        if let Some(audience) = &wanted.audience {
            request = request.add_extra_param("audience", audience);
        }
        let answer = request.request_async(&self.http).await;
        let answer = answer.map_err(|error| refused(identity, "client", error))?;
        let life = answer.expires_in().unwrap_or(SHORT);
        Ok((answer.access_token().secret().clone(), life))
    }

    /// The claims of an id token: its signature, issuer, audience, times and nonce are right. Keys that
    /// are not known yet are looked for once.
    async fn verified(
        &self,
        identity: &Identity,
        secret: Option<&str>,
        token: &CoreIdToken,
        nonce: Option<&str>,
    ) -> Result<serde_json::Value, ProviderError> {
        let mut last = String::new();
        for anew in [false, true] {
            let discovered = self.discovered(identity, anew).await?;
            let client = client!(identity, secret, &discovered, identity.issuer.clone());
            let verifier = client.id_token_verifier();
            let checked = match nonce {
                Some(nonce) => token.claims(&verifier, &Nonce::new(nonce.to_owned())).map(drop),
                // A token that was refreshed has no nonce of ours.
                None => token.claims(&verifier, |_: Option<&Nonce>| Ok(())).map(drop),
            };
            match checked {
                Ok(()) => return payload(&token.to_string()),
                Err(error) => last = causes(&error),
            }
        }
        Err(ProviderError::BadToken(last))
    }

    /// What the provider says of the holder of an access token, wherever it does.
    async fn told(
        &self,
        identity: &Identity,
        secret: Option<&str>,
        discovered: &Metadata,
        access_token: &str,
    ) -> Result<Vec<serde_json::Value>, ProviderError> {
        let mut told = Vec::new();
        told.extend(self.userinfo(identity, discovered, access_token).await?);
        if identity.introspection {
            told.push(self.introspected(identity, secret, discovered, access_token).await?);
        }
        Ok(told)
    }

    /// What the provider's introspection endpoint (RFC 7662) says of a token.
    async fn introspected(
        &self,
        identity: &Identity,
        secret: Option<&str>,
        discovered: &Metadata,
        access_token: &str,
    ) -> Result<serde_json::Value, ProviderError> {
        let endpoint = &discovered.additional_metadata().introspection_endpoint;
        let endpoint = endpoint.as_ref().ok_or_else(|| {
            unreachable(identity, "it has no introspection endpoint (`identity.introspection`)")
        })?;
        let form = [("token", access_token), ("token_type_hint", "access_token")];
        let asked = self.http.0.post(endpoint).form(&form);
        let body = self.fetched(identity, asked.basic_auth(&identity.client_id, secret)).await?;
        serde_json::from_slice(&body).map_err(|error| unreachable(identity, error))
    }

    async fn fetched(
        &self,
        identity: &Identity,
        request: reqwest::RequestBuilder,
    ) -> Result<Vec<u8>, ProviderError> {
        let failed = |error: WireError| unreachable(identity, causes(&error));
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        limited(answer.map_err(|error| failed(error.without_url().into()))?).await.map_err(failed)
    }

    /// What the provider says of the holder of an access token; nothing if it has no place for that. If
    /// it does not answer there is no telling what somebody is a member of.
    async fn userinfo(
        &self,
        identity: &Identity,
        discovered: &Metadata,
        access_token: &str,
    ) -> Result<Option<serde_json::Value>, ProviderError> {
        let Some(endpoint) = discovered.userinfo_endpoint() else { return Ok(None) };
        let asked = self.http.0.get(endpoint.url().clone()).bearer_auth(access_token);
        let body = self.fetched(identity, asked).await?;
        // Some providers sign this answer; what the id token says is enough there.
        Ok(serde_json::from_slice(&body).ok())
    }
}

fn refused<
    E: std::error::Error + 'static,
    T: openidconnect::ErrorResponse + std::fmt::Display + 'static,
>(
    identity: &Identity,
    what: &'static str,
    error: RequestTokenError<E, T>,
) -> ProviderError {
    match error {
        RequestTokenError::ServerResponse(answer)
            if answer.to_string().contains("invalid_grant") =>
        {
            ProviderError::Refused { what, why: answer.to_string() }
        }
        RequestTokenError::ServerResponse(answer) => unreachable(identity, answer),
        other => unreachable(identity, causes(&other)),
    }
}

/// The claims of a token that was verified.
fn payload(token: &str) -> Result<serde_json::Value, ProviderError> {
    let claims = token.split('.').nth(1).and_then(jws::from_base64);
    let claims = claims.and_then(|claims| serde_json::from_slice(&claims).ok());
    claims.ok_or_else(|| ProviderError::BadToken("its claims are no JSON".to_owned()))
}

/// Memberships of somebody that are kept.
const MAX_ENTITLEMENTS: usize = 1_000;

fn person(
    identity: &Identity,
    claims: &serde_json::Value,
    told: &[serde_json::Value],
    refresh_token: Option<String>,
) -> Result<Person, ProviderError> {
    let sub = claims["sub"].as_str().unwrap_or_default().to_owned();
    if sub.is_empty() {
        return Err(ProviderError::BadToken("it does not say whose it is".to_owned()));
    }
    // An answer about somebody else must not be mixed in.
    let told = || told.iter().filter(|told| told["sub"].as_str() == Some(&sub));
    let mut entitlements = entitlement::of_claims(claims);
    entitlements.extend(told().flat_map(entitlement::of_claims));
    let short = entitlements.into_iter().filter(|entitlement| entitlement.len() <= 512);
    let entitlements = short.take(MAX_ENTITLEMENTS).collect();
    let name =
        |claims: &serde_json::Value| claims[&identity.username_claim].as_str().map(str::to_owned);
    let name = name(claims).or_else(|| told().find_map(name));
    Ok(Person { sub, name, entitlements, refresh_token })
}
