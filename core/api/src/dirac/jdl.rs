//! Submission of JDLs.

use super::{query::unprocessable, sandboxes::settle};
use crate::{
    Guarded, Shared,
    auth::{member, person, whole},
    problem::Problem,
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spinor_identity::{
    access::Permission,
    subject::{Member, Subject},
};
use spinor_lifecycle::admission::{Beside, Refusal, Request};
use spinor_model::{
    finding::Finding,
    id::{CeName, JobId},
    jdl::{self, Described},
    registry::{Ce, VoDocument},
    sandbox::SandboxName,
};
use std::collections::{BTreeSet, HashMap};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new().merge(guarded.route(Permission::SubmitJobs, routes!(submit)))
}

/// A job that was taken on.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct InsertedJob {
    /// Its number.
    #[serde(rename = "JobID")]
    pub job_id: i64,
    /// Its state.
    #[serde(rename = "Status")]
    pub status: String,
    /// More on that.
    #[serde(rename = "MinorStatus")]
    pub minor_status: String,
    /// RFC 3339.
    #[serde(rename = "TimeStamp")]
    pub time_stamp: String,
}

/// JDLs in one request.
const MAX_JDLS: usize = 5_000;
/// Bytes of a JDL.
const MAX_JDL: usize = 256 << 10;

/// Bytes of a request that are read at once; to send more to another thread takes less than to read it.
const SHORT: usize = 16 << 10;

/// Submits jobs by their JDLs: all of them, or none.
///
/// A request that is sent again with the same `x-ms-client-request-id`, as clients do when they get no
/// answer, is the same submission.
#[utoipa::path(post, path = "/api/jobs/jdl", tag = "jobs", request_body = Vec<String>,
    responses((status = 201, body = Vec<InsertedJob>), (status = 400, body = Problem)))]
async fn submit(
    State(app): State<Shared>,
    Extension(subject): Extension<Subject>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Vec<InsertedJob>>), Problem> {
    let member = member(&subject)?;
    let jdls: Vec<String> = serde_json::from_slice(&body)
        .map_err(|error| unprocessable(format!("the body is no JSON list of JDLs: {error}")))?;
    if jdls.len() > MAX_JDLS {
        let text = format!("{} JDLs: send {MAX_JDLS} at most", jdls.len());
        return Err(Problem::bad_request(text));
    }
    let document = app.lifecycle.document(&member.vo)?;
    let id = headers.get("x-ms-client-request-id").and_then(|id| id.to_str().ok());
    let (who, id) = (member.clone(), id.map(str::to_owned));
    let person = person(&app, member, &headers)?;
    let read = move || requests(&jdls, (&who, &person), &document, id.as_deref());
    let read = match body.len() <= SHORT {
        true => tokio::spawn(async move { read() }).await,
        false => tokio::task::spawn_blocking(read).await,
    };
    let Asked { requests, places, sandboxes } = read.map_err(|error| {
        tracing::error!(%error, "a JDL broke its reader");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the JDL cannot be read")
    })??;
    if places.len() > 1
        && requests.iter().any(|request| request.description.get("parameters").is_some())
    {
        let text = "You cannot submit parametric jobs in a bulk fashion: send each in a request of its own";
        return Err(Problem::bad_request(text));
    }
    if app.blobs.takes_forms() {
        let own = |name: &&SandboxName| name.vo == member.vo && name.user == member.user;
        for name in sandboxes.iter().filter(own) {
            settle(&app, name).await?;
        }
    }
    let lifecycle = app.lifecycle.clone();
    let submitted = whole(async move {
        let refused = |refusal| match refusal {
            Refusal::Findings(all) => Refusal::Findings(all.into_iter().map(in_jdl).collect()),
            other => other,
        };
        let submitted = lifecycle.submit_all(requests).await;
        submitted.map_err(|refusal| client_error(refused(refusal).into()))
    });
    let now = app.lifecycle.now().to_string();
    let view = |id: JobId| InsertedJob {
        job_id: id.0,
        status: "Received".to_owned(),
        minor_status: "Job accepted".to_owned(),
        time_stamp: now.clone(),
    };
    let stored = submitted.await?;
    let own = |(request, turn): (usize, usize)| stored.get(request)?.get(turn);
    let jobs = places.into_iter().filter_map(own).flatten().copied().map(view).collect();
    Ok((StatusCode::CREATED, Json(jobs)))
}

/// DiracX's clients know 400 for whatever is wrong with a JDL.
fn client_error(problem: Problem) -> Problem {
    match problem.status {
        422 => Problem { status: 400, title: "Bad Request".to_owned(), ..problem },
        _ => problem,
    }
}

/// What JDLs ask for.
#[derive(Default)]
struct Asked {
    /// Of those that are the same, one request.
    requests: Vec<Request>,
    /// Of each JDL, its request and its turn there.
    places: Vec<(usize, usize)>,
    sandboxes: BTreeSet<SandboxName>,
}

fn requests(
    jdls: &[String],
    (member, person): (&Member, &str),
    document: &VoDocument,
    id: Option<&str>,
) -> Result<Asked, Problem> {
    let job_types: Vec<&str> = document.handling.keys().map(|name| name.as_str()).collect();
    let max_jobs = document.limits.max_jobs_per_submission;
    let mut asked = Asked::default();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (i, text) in jdls.iter().enumerate() {
        let key = id.map(|id| format!("{:.100}/{i}", id));
        if let Some(place) = known.get(text.as_str())
            && let Some(request) = asked.requests.get_mut(*place)
        {
            asked.places.push((*place, request.times.len()));
            request.times.push(key);
            continue;
        }
        let place = if jdls.len() > 1 { format!("JDL {i}: ") } else { String::new() };
        let (mut described, named) = read(text, &place, &job_types, max_jobs)?;
        name_ces(&mut described.description, &place, document)?;
        asked.sandboxes.extend(named);
        known.insert(text, asked.requests.len());
        asked.places.push((asked.requests.len(), 0));
        asked.requests.push(Request {
            vo: member.vo.clone(),
            group: member.group.clone(),
            owner: member.user.clone(),
            description: described.description,
            times: vec![key],
            number: (jdls.len() > 1).then_some(i),
            beside: Beside {
                job_group: described.job_group,
                source: text.clone(),
                input_data: described.input_data,
                person: person.to_owned(),
            },
        });
    }
    Ok(asked)
}

/// CEs by their names: JDLs mostly name hosts.
fn name_ces(description: &mut Value, place: &str, document: &VoDocument) -> Result<(), Problem> {
    let Some(asked) = description.pointer_mut("/requirements/ces") else { return Ok(()) };
    let mut names = BTreeSet::new();
    for text in asked.as_array().into_iter().flatten().filter_map(Value::as_str) {
        let is_meant = |(name, ce): &(&CeName, &Ce)| {
            let host = ce.host.as_deref().is_some_and(|host| host.eq_ignore_ascii_case(text));
            name.as_str() == text || host
        };
        let meant: Vec<String> =
            document.ces.iter().filter(is_meant).map(|(name, _)| name.to_string()).collect();
        if meant.is_empty() {
            let known = document.ces.keys().map(CeName::as_str).collect::<Vec<_>>().join(", ");
            let text =
                format!("{place}GridCE: VO {} has no CE `{text}`: it has {known}", document.vo);
            return Err(Problem::bad_request(text));
        }
        names.extend(meant);
    }
    *asked = json!(names);
    Ok(())
}

/// What is called otherwise in a JDL than in a description.
const NAMES: [(&str, &str); 9] = [
    ("/arguments", "Arguments"),
    ("/environment", "ExecutionEnvironment"),
    ("/executable", "Executable"),
    ("/input_sandboxes", "InputSandbox"),
    ("/name", "JobName"),
    ("/output_sandbox", "OutputSandbox"),
    ("/parameters", "Parameters"),
    ("/priority", "Priority"),
    ("/type", "JobType"),
];

/// A finding about a description, as whoever wrote the JDL knows it.
fn in_jdl(finding: Finding) -> Finding {
    let named = NAMES.iter().find_map(|(name, attribute)| {
        // Behind the number of the JDL, if there is one.
        let at = finding.field.find('/')?;
        let (place, path) = finding.field.split_at(at);
        let rest = path.strip_prefix(name)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("{place}{attribute}{rest}"))
    });
    Finding { field: named.unwrap_or(finding.field), ..finding }
}

/// What a JDL says, and the sandboxes that it names.
fn read(
    text: &str,
    place: &str,
    job_types: &[&str],
    max_jobs: u32,
) -> Result<(Described, Vec<SandboxName>), Problem> {
    if text.len() > MAX_JDL {
        let text = format!("{place}{} bytes: a JDL may have {MAX_JDL}", text.len());
        return Err(Problem::bad_request(text));
    }
    let record =
        jdl::parse(text).map_err(|error| Problem::bad_request(format!("{place}{error}")))?;
    let named = record.list("InputSandbox");
    let described = jdl::describe(&record, job_types, max_jobs).map_err(|findings| {
        let named = |f: Finding| Finding { field: format!("{place}{}", f.field), ..f };
        client_error(Problem::findings(findings.into_iter().map(named).collect()))
    })?;
    if let Some(file) = described.local_files.first() {
        let text = format!(
            "{place}InputSandbox: `{file}` is a file of your machine: upload it first, with `diracx-api`, or submit with `spinor job submit`"
        );
        return Err(Problem::bad_request(text));
    }
    Ok((described, named.iter().filter_map(|name| name.parse().ok()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_finding_begins_with_is_called_otherwise() {
        for (field, called) in [
            ("/parameters/x", "Parameters/x"),
            ("[3]/input_sandboxes", "[3]InputSandbox"),
            ("/environment/arguments", "ExecutionEnvironment/arguments"),
            ("/requirements/name", "/requirements/name"),
            ("/names", "/names"),
            ("JobGroup", "JobGroup"),
        ] {
            assert_eq!(in_jdl(Finding::new(field, "", "")).field, called);
        }
    }
}
