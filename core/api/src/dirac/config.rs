//! The VO's set-up, in the shape of DIRAC's configuration: the caller's VO alone.

use crate::{Guarded, Shared, auth::vo_of, problem::Problem};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use spinor_identity::{access::Permission, subject::Subject};
use spinor_model::{
    id::{Digest, VoName},
    registry::VoDocument,
    requirement::MAX_WORK,
    time::Timestamp,
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new().merge(guarded.route(Permission::ReadVo, routes!(config)))
}

/// The set-up of one's VO.
#[utoipa::path(get, path = "/api/config/", tag = "config", responses((status = 200, body = Object), (status = 304)))]
async fn config(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let vo = vo_of(&subject, None)?;
    let document = app.lifecycle.document(&vo)?;
    cached(&app, &headers, &vo, &configuration(&document))
}

fn configuration(document: &VoDocument) -> Value {
    let vo = document.vo.to_string();
    let group = |group: &spinor_model::registry::Group| json!({"Properties": group.properties, "Users": group.subs, "JobShare": group.share});
    let groups: Map<String, Value> =
        document.groups.iter().map(|(name, found)| (name.to_string(), group(found))).collect();
    let identity = document.identity.as_ref();
    let support = &document.support;
    let registry = json!({
        "IdP": {
            "URL": identity.map(|identity| &identity.issuer),
            "ClientID": identity.map(|identity| &identity.client_id),
        },
        "Support": {"Email": support.email, "Webpage": support.webpage, "Message": support.message},
        "DefaultGroup": document.default_group(),
        "Users": {},
        "Groups": groups,
    });
    let job_types: Vec<String> = document.handling.keys().map(ToString::to_string).collect();
    let operations = json!({
        "JobDescription": {
            "DefaultCPUTime": 86_400, "MinCPUTime": 1, "MaxCPUTime": MAX_WORK,
            "DefaultPriority": 1, "MinPriority": 0, "MaxPriority": 10,
            "AllowedJobTypes": job_types,
        },
        "Services": {
            "JobMonitoring": {"GlobalJobsInfo": true},
            "JobScheduling": {"MaxRescheduling": document.limits.max_reschedules},
        },
    });
    let one = |value: Value| Value::Object(Map::from_iter([(vo.clone(), value)]));
    json!({
        "Registry": one(registry),
        "Operations": one(operations),
        "Resources": {"Computing": {}},
        "DIRAC": {"NoSetup": true},
    })
}

/// Answers with what clients need to ask again only if something changed.
pub(super) fn cached(
    app: &Shared,
    headers: &HeaderMap,
    vo: &VoName,
    body: &Value,
) -> Result<Response, Problem> {
    let text = body.to_string();
    let etag = Digest::of(format!("{vo} {text}").as_bytes()).to_string();
    let modified = app.lifecycle.document_since(vo);
    let http_date = http_date(modified);
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    // Clients send the tag as they got it, or in quotes as the standard has it.
    let same = |tag: &str| {
        let tag = tag.trim().trim_start_matches("W/").trim_matches('"');
        tag == etag || tag == "*"
    };
    let unchanged = match header(header::IF_NONE_MATCH) {
        Some(tags) => tags.split(',').any(same),
        None => header(header::IF_MODIFIED_SINCE)
            .and_then(parse_http_date)
            .is_some_and(|since| since.0 / 1000 > modified.0 / 1000),
    };
    let tags = [
        (header::ETAG, etag),
        (header::LAST_MODIFIED, http_date),
        (header::VARY, "Authorization".to_owned()),
    ];
    Ok(match unchanged {
        true => (StatusCode::NOT_MODIFIED, tags).into_response(),
        false => (tags, Json(body)).into_response(),
    })
}

const HTTP_DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

fn http_date(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(time.0).unwrap_or_default();
    time.strftime(HTTP_DATE).to_string()
}

fn parse_http_date(text: &str) -> Option<Timestamp> {
    let time = jiff::fmt::strtime::parse(HTTP_DATE, text).ok()?.to_datetime().ok()?;
    let time = jiff::tz::TimeZone::UTC.to_timestamp(time).ok()?;
    Some(Timestamp(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_read_back() {
        let time = Timestamp(1_795_000_000_000);
        assert_eq!(http_date(time), "Wed, 18 Nov 2026 11:06:40 GMT");
        assert_eq!(parse_http_date(&http_date(time)), Some(time));
        assert_eq!(parse_http_date("yesterday"), None);
    }
}
