//! Logins, as DiracX's clients make them.

use super::query::unprocessable;
use crate::{
    Guarded, Shared,
    auth::{member, whole},
    problem::Problem,
};
use axum::{
    Extension, Form, Json,
    extract::{Path, Query, State},
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use spinor_identity::{
    access::Permission,
    session::{AuthorizationRequest, SessionError, Tokens},
    subject::Subject,
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    let own = |route| guarded.route(Permission::OwnLogin, route);
    OpenApiRouter::new()
        .routes(routes!(device))
        .routes(routes!(device_page))
        .routes(routes!(device_complete))
        .routes(routes!(finished))
        .routes(routes!(authorize))
        .routes(routes!(authorize_complete))
        .routes(routes!(token))
        .routes(routes!(revoke))
        .merge(own(routes!(userinfo)))
        .merge(own(routes!(refresh_tokens)))
        .merge(own(routes!(revoke_by_number)))
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        let status = match &error {
            SessionError::Scope(_) | SessionError::Bad(_) | SessionError::Pending => {
                StatusCode::BAD_REQUEST
            }
            SessionError::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            SessionError::Forbidden(_) => StatusCode::FORBIDDEN,
            SessionError::NotFound(_) => StatusCode::NOT_FOUND,
            SessionError::Provider(spinor_identity::provider::ProviderError::Refused {
                what: "code",
                ..
            }) => return Self::new(StatusCode::UNAUTHORIZED, format!("Invalid code: {error}")),
            SessionError::Provider(_) | SessionError::Proxy(_) => StatusCode::BAD_GATEWAY,
            SessionError::Store(_) | SessionError::Token(_) => {
                tracing::error!(%error, "a login failed");
                let text = "the server has a problem of its own, which is in its log";
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, text);
            }
        };
        Self::new(status, error.to_string())
    }
}

/// Sends a browser elsewhere.
fn to(url: &str) -> Result<Response, Problem> {
    let url = HeaderValue::from_str(url)
        .map_err(|_| Problem::bad_request("the address to go back to cannot be sent"))?;
    Ok((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, url)]).into_response())
}

/// Which client asks for what.
#[derive(Debug, Deserialize, IntoParams)]
struct DeviceQuery {
    /// `myDIRACClientID`.
    client_id: String,
    /// `vo:NAME`, and `group:NAME` and `property:NAME` if need be.
    scope: String,
}

/// Begins a login on a device without a browser.
#[utoipa::path(post, path = "/api/auth/device", tag = "auth", params(DeviceQuery),
    responses((status = 200, body = Object), (status = 400, body = Problem)))]
async fn device(
    State(app): State<Shared>,
    Query(query): Query<DeviceQuery>,
) -> Result<Json<Value>, Problem> {
    let begun = app.sessions.begin_device(&query.client_id, &query.scope).await?;
    let page = format!("{}/api/auth/device", app.lifecycle.url);
    Ok(Json(json!({
        "user_code": begun.user_code,
        "device_code": begun.device_code,
        "verification_uri_complete": format!("{page}?user_code={}", begun.user_code),
        "verification_uri": page,
        "expires_in": begun.expires_in,
    })))
}

/// The code that the device shows.
#[derive(Debug, Deserialize, IntoParams)]
struct UserCode {
    /// Eight letters.
    user_code: String,
}

/// Sends a person on to their VO's provider.
#[utoipa::path(get, path = "/api/auth/device", tag = "auth", params(UserCode),
    responses((status = 307), (status = 400, body = Problem)))]
async fn device_page(
    State(app): State<Shared>,
    Query(query): Query<UserCode>,
) -> Result<Response, Problem> {
    to(&app.sessions.device_login(&query.user_code).await?)
}

/// What a provider sends people back with.
#[derive(Debug, Deserialize, IntoParams)]
struct Back {
    /// For this server to exchange.
    #[serde(default)]
    code: String,
    /// Which login it is.
    #[serde(default)]
    state: String,
    /// Which provider sends them (RFC 9207), if it says so.
    iss: Option<String>,
    /// Why there is no code.
    error: Option<String>,
    /// In words.
    error_description: Option<String>,
}

impl Back {
    fn check(&self) -> Result<(), Problem> {
        let Some(error) = &self.error else { return Ok(()) };
        let why = self.error_description.as_deref().unwrap_or_default();
        Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            format!("the identity provider says: {error} {why}"),
        ))
    }
}

/// A person comes back from the provider.
#[utoipa::path(get, path = "/api/auth/device/complete", tag = "auth", params(Back),
    responses((status = 307), (status = 400, body = Problem)))]
async fn device_complete(
    State(app): State<Shared>,
    Query(back): Query<Back>,
) -> Result<Response, Problem> {
    back.check()?;
    let sessions = app.sessions.clone();
    let refused = whole(async move {
        Ok(sessions.finish_device(&back.code, &back.state, back.iss.as_deref()).await?)
    });
    match refused.await? {
        None => to(&format!("{}/api/auth/device/complete/finished", app.lifecycle.url)),
        Some(refused) => Err(Problem::new(StatusCode::FORBIDDEN, refused)),
    }
}

/// The end of a login in a browser.
#[utoipa::path(get, path = "/api/auth/device/complete/finished", tag = "auth",
    responses((status = 200, body = String, content_type = "text/html")))]
async fn finished() -> Html<&'static str> {
    Html("<h1>Please close the window</h1>")
}

/// A client with a browser asks for a login.
#[derive(Debug, Deserialize, IntoParams)]
struct AuthorizeQuery {
    /// `code`.
    response_type: String,
    /// `S256`.
    code_challenge_method: String,
    /// SHA-256 of the verifier, in base64url.
    code_challenge: String,
    /// `myDIRACClientID`.
    client_id: String,
    /// Where to go back to; the server's configuration lists those that may be.
    redirect_uri: String,
    /// As for devices.
    scope: String,
    /// Comes back with the code.
    state: String,
}

/// Sends a person on to their VO's provider, to come back to a client.
#[utoipa::path(get, path = "/api/auth/authorize", tag = "auth", params(AuthorizeQuery),
    responses((status = 307), (status = 400, body = Problem)))]
async fn authorize(
    State(app): State<Shared>,
    Query(query): Query<AuthorizeQuery>,
) -> Result<Response, Problem> {
    for (name, value, wanted) in [
        ("response_type", &query.response_type, "code"),
        ("code_challenge_method", &query.code_challenge_method, "S256"),
    ] {
        if value != wanted {
            let text = format!("{name} is `{value}`: only `{wanted}` is taken");
            return Err(unprocessable(text));
        }
    }
    let request = AuthorizationRequest {
        challenge: query.code_challenge,
        redirect_uri: query.redirect_uri,
        scope: query.scope,
        state: query.state,
    };
    to(&app.sessions.begin_authorization(&query.client_id, request).await?)
}

/// A person comes back from the provider, and goes back to the client.
#[utoipa::path(get, path = "/api/auth/authorize/complete", tag = "auth", params(Back),
    responses((status = 307), (status = 400, body = Problem)))]
async fn authorize_complete(
    State(app): State<Shared>,
    Query(back): Query<Back>,
) -> Result<Response, Problem> {
    back.check()?;
    let sessions = app.sessions.clone();
    let url = whole(async move {
        Ok(sessions.finish_authorization(&back.code, &back.state, back.iss.as_deref()).await?)
    });
    to(&url.await?)
}

/// What a client shows for tokens.
#[derive(Debug, Deserialize, ToSchema)]
struct TokenForm {
    /// `authorization_code`, `urn:ietf:params:oauth:grant-type:device_code`, `refresh_token`, or
    /// `client_credentials` of a robot.
    grant_type: String,
    /// `myDIRACClientID`.
    client_id: Option<String>,
    /// Of a device flow.
    device_code: Option<String>,
    /// Of an authorization flow.
    code: Option<String>,
    /// Of an authorization flow.
    redirect_uri: Option<String>,
    /// Of an authorization flow.
    code_verifier: Option<String>,
    /// To renew a login.
    refresh_token: Option<String>,
    /// Of a robot, whose name is the `client_id`.
    client_secret: Option<String>,
    /// Of a robot: `vo:NAME`.
    scope: Option<String>,
}

/// Exchanges a code or a refresh token for tokens.
#[utoipa::path(post, path = "/api/auth/token", tag = "auth",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = Object), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn token(
    State(app): State<Shared>,
    Form(form): Form<TokenForm>,
) -> Result<Response, Problem> {
    let given = |name: &str, value: &Option<String>| {
        let missing = || {
            unprocessable(format!("{name} is missing: the grant type {} needs it", form.grant_type))
        };
        value.clone().ok_or_else(missing)
    };
    let client =
        form.client_id.clone().unwrap_or_else(|| spinor_identity::session::CLIENT_ID.to_owned());
    let exchange = match form.grant_type.as_str() {
        "urn:ietf:params:oauth:grant-type:device_code" => {
            Exchange::Device(given("device_code", &form.device_code)?)
        }
        "authorization_code" => Exchange::Code {
            code: given("code", &form.code)?,
            redirect: given("redirect_uri", &form.redirect_uri)?,
            verifier: given("code_verifier", &form.code_verifier)?,
        },
        "client_credentials" => Exchange::Robot {
            secret: given("client_secret", &form.client_secret)?,
            scope: given("scope", &form.scope)?,
        },
        "refresh_token" => Exchange::Refresh(given("refresh_token", &form.refresh_token)?),
        other => return Err(unprocessable(format!("Grant type {other} is not supported"))),
    };
    let sessions = app.sessions.clone();
    // What is shown is used up and tokens are made, even if the client hangs up half way.
    whole(async move {
        let granted = match exchange {
            Exchange::Device(code) => sessions.device_tokens(&client, &code).await,
            Exchange::Code { code, redirect, verifier } => {
                sessions.code_tokens(&client, &code, &redirect, &verifier).await
            }
            Exchange::Refresh(token) => sessions.refresh(&client, &token).await,
            Exchange::Robot { secret, scope } => {
                let (token, seconds) = sessions.robot_token(&client, &secret, &scope).await?;
                return Ok(answer(token, seconds, None));
            }
        };
        match granted {
            Ok(Tokens { access_token, expires_in, refresh_token }) => {
                Ok(answer(access_token, expires_in, Some(refresh_token)))
            }
            // Clients look for this very body while they wait.
            Err(SessionError::Pending) => {
                let body = Json(json!({"error": "authorization_pending"}));
                Ok((StatusCode::BAD_REQUEST, body).into_response())
            }
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// What is exchanged for tokens.
enum Exchange {
    Device(String),
    Code { code: String, redirect: String, verifier: String },
    Refresh(String),
    Robot { secret: String, scope: String },
}

fn answer(access_token: String, expires_in: u64, refresh_token: Option<String>) -> Response {
    let mut body = json!({
        "access_token": access_token,
        "expires_in": expires_in,
        "token_type": "Bearer",
    });
    if let Some(token) = refresh_token {
        body["refresh_token"] = Value::String(token);
    }
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// Who calls.
#[utoipa::path(get, path = "/api/auth/userinfo", tag = "auth", responses((status = 200, body = Object)))]
async fn userinfo(Extension(subject): Extension<Subject>) -> Result<Json<Value>, Problem> {
    let member = member(&subject)?;
    Ok(Json(json!({
        "sub": format!("{}:{}", member.vo, member.sub),
        "vo": member.vo,
        "dirac_group": member.group,
        "policies": {},
        "properties": member.properties,
        "preferred_username": member.user,
    })))
}

/// One's refresh tokens that count; those of the VO for holders of `ProxyManagement`.
#[utoipa::path(get, path = "/api/auth/refresh-tokens", tag = "auth", responses((status = 200, body = Vec<Object>)))]
async fn refresh_tokens(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
) -> Result<Json<Vec<Value>>, Problem> {
    let tokens = app.sessions.refresh_tokens(member(&subject)?).await?;
    let view = |token: spinor_store::RefreshRecord| {
        json!({
            "JTI": token.jti,
            "Status": if token.revoked { 2 } else { 1 },
            "Scope": token.scope,
            "Sub": format!("{}:{}", token.vo, token.sub),
        })
    };
    Ok(Json(tokens.into_iter().map(view).collect()))
}

const REVOKED: &str = "Refresh token revoked";

/// A refresh token counts no more.
#[utoipa::path(delete, path = "/api/auth/refresh-tokens/{jti}", tag = "auth",
    responses((status = 200, body = String), (status = 403, body = Problem)))]
async fn revoke_by_number(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    Path(jti): Path<String>,
) -> Result<Json<&'static str>, Problem> {
    app.sessions.revoke_by_number(member(&subject)?, &jti).await?;
    Ok(Json(REVOKED))
}

/// A token to revoke (RFC 7009).
#[derive(Debug, Deserialize, ToSchema)]
struct RevokeForm {
    /// It.
    token: String,
    /// `refresh_token`.
    token_type_hint: Option<String>,
    /// `myDIRACClientID`.
    client_id: Option<String>,
}

/// A refresh token counts no more; whoever holds it may say so.
#[utoipa::path(post, path = "/api/auth/revoke", tag = "auth",
    request_body(content = RevokeForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = String), (status = 401, body = Problem)))]
async fn revoke(
    State(app): State<Shared>,
    Form(form): Form<RevokeForm>,
) -> Result<Json<&'static str>, Problem> {
    if form.token_type_hint.as_deref() == Some("access_token") {
        let text = "unsupported_token_type: access tokens end by themselves after 20 minutes";
        return Err(Problem::bad_request(text));
    }
    if form.client_id.as_deref().is_some_and(|id| id != spinor_identity::session::CLIENT_ID) {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "Unrecognised client_id"));
    }
    app.sessions.revoke(&form.token).await?;
    Ok(Json(REVOKED))
}
