//! What clients look up before they know anything: endpoints, keys, VOs.

use crate::Shared;
use axum::{Json, extract::State};
use serde_json::{Value, json};
use spinor_model::registry::VoDocument;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(openid_configuration))
        .routes(routes!(jwks))
        .routes(routes!(metadata))
        .routes(routes!(security))
}

/// The endpoints of logins.
#[utoipa::path(get, path = "/.well-known/openid-configuration", tag = "well-known",
    responses((status = 200, body = Object)))]
async fn openid_configuration(State(app): State<Shared>) -> Json<Value> {
    let url = &app.lifecycle.url;
    let mut scopes = Vec::new();
    for (vo, document) in app.lifecycle.documents().iter() {
        scopes.push(format!("vo:{vo}"));
        for (name, group) in &document.groups {
            scopes.push(format!("group:{name}"));
            scopes.extend(group.properties.iter().map(|p| format!("property:{p}")));
        }
    }
    scopes.sort();
    scopes.dedup();
    Json(json!({
        "issuer": url,
        "token_endpoint": format!("{url}/api/auth/token"),
        "userinfo_endpoint": format!("{url}/api/auth/userinfo"),
        "authorization_endpoint": format!("{url}/api/auth/authorize"),
        "device_authorization_endpoint": format!("{url}/api/auth/device"),
        "revocation_endpoint": format!("{url}/api/auth/revoke"),
        "jwks_uri": format!("{url}/.well-known/jwks.json"),
        "grant_types_supported": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code", "refresh_token", "client_credentials"],
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "token_endpoint_auth_signing_alg_values_supported": ["Ed25519"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
    }))
}

/// The public keys that check tokens.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "well-known",
    responses((status = 200, body = Object)))]
async fn jwks(State(app): State<Shared>) -> Json<Value> {
    Json(json!({"keys": app.keys.public()}))
}

/// VOs, their groups, and where their people find help.
#[utoipa::path(get, path = "/.well-known/dirac-metadata", tag = "well-known",
    responses((status = 200, body = Object)))]
async fn metadata(State(app): State<Shared>) -> Json<Value> {
    let vo = |document: &VoDocument| {
        let groups = document
            .groups
            .iter()
            .map(|(name, group)| (name.to_string(), json!({"properties": group.properties})));
        let support = &document.support;
        let message = support.message.as_deref().unwrap_or("Please contact your VO's support.");
        json!({
            "groups": groups.collect::<serde_json::Map<_, _>>(),
            "support": {"message": message, "webpage": support.webpage, "email": support.email},
            "default_group": document.default_group(),
        })
    };
    let documents = app.lifecycle.documents();
    let vos: serde_json::Map<String, Value> =
        documents.iter().map(|(name, document)| (name.to_string(), vo(document))).collect();
    Json(json!({"virtual_organizations": vos}))
}

/// To whom weaknesses are reported (RFC 9116).
#[utoipa::path(get, path = "/.well-known/security.txt", tag = "well-known",
    responses((status = 200, body = String)))]
async fn security(State(app): State<Shared>) -> Json<String> {
    const YEAR: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);
    let expires = app.lifecycle.now().plus(YEAR);
    let contact = app.security_contact.as_deref().unwrap_or("see the support contacts of your VO");
    Json(format!("Contact: {contact}\nExpires: {expires}\nPreferred-Languages: en\n"))
}
