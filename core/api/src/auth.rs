//! Who calls, and whether they may.

use crate::{Shared, problem::Problem};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};
use spinor_identity::{
    access::{Permission, administers_jobs, may},
    subject::{LOCAL, Member, PilotIdentity, ROBOT, Subject},
};
use spinor_model::id::{UserName, VoName};

/// What a route asks of its callers.
#[derive(Clone)]
pub struct Check {
    /// Whose keys count.
    pub app: Shared,
    /// What they must be allowed.
    pub permission: Permission,
}

/// Lets those through who have the permission, and says who they are.
pub async fn authorize(
    State(check): State<Check>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let unauthorized = |text: &str| Problem::new(StatusCode::UNAUTHORIZED, text);
    let header = request.headers().get(header::AUTHORIZATION);
    let header = header.ok_or_else(|| {
        unauthorized("Authorization header is missing: send `Authorization: Bearer TOKEN`")
    })?;
    let token = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
    let token = token.ok_or_else(|| {
        Problem::bad_request("Invalid authorization header: send `Authorization: Bearer TOKEN`")
    })?;
    let app = &check.app;
    let subject = app.keys.check(token.trim(), app.lifecycle.now());
    let subject = subject.map_err(|error| unauthorized(&error.to_string()))?;
    let subject = as_of_now(app, subject)?;
    if !may(&subject, check.permission) {
        let text = format!("Forbidden: {subject} lacks the permission {}", check.permission);
        return Err(Problem::new(StatusCode::FORBIDDEN, text));
    }
    request.extensions_mut().insert(subject);
    Ok(next.run(request).await)
}

/// A token says what was true when it was made: whoever is shut out or expelled since then is out.
fn as_of_now(app: &Shared, subject: Subject) -> Result<Subject, Problem> {
    let out = |text: String| Problem::new(StatusCode::UNAUTHORIZED, text);
    let person = match &subject {
        Subject::Member(member) => Some((&member.vo, &member.user)),
        Subject::Job { vo, owner, .. } => Some((vo, owner)),
        Subject::Operator { .. } | Subject::Pilot(_) => None,
    };
    if let Some((vo, user)) = person.filter(|(vo, user)| app.sessions.is_banned(vo, user)) {
        return Err(out(format!("{user} is shut out of VO {vo}")));
    }
    let Subject::Member(mut member) = subject else { return Ok(subject) };
    let Member { vo, group, user, .. } = &member;
    let document = app.lifecycle.document(vo).map_err(|error| out(error.to_string()))?;
    let Some(found) = document.groups.get(group) else {
        return Err(out(format!("VO {vo} has no group {group} any more: log in anew")));
    };
    if member.sub.starts_with(LOCAL) {
        // Those without a provider are whom the document lists, with what it gives them.
        if !found.users.contains(user) {
            return Err(out(format!("{user} is not in group {group} of VO {vo} any more")));
        }
        member.properties.retain(|property| found.properties.contains(property));
    } else if member.sub.starts_with(ROBOT) {
        if document.robots.get(user).is_none_or(|robot| robot.group != *group) {
            return Err(out(format!("{user} is no robot of group {group} of VO {vo} any more")));
        }
        member.properties.retain(|property| found.properties.contains(property));
    } else {
        let known = |p: &String| document.groups.values().any(|group| group.properties.contains(p));
        member.properties.retain(known);
    }
    Ok(Subject::Member(member))
}

fn wrong_kind(subject: &Subject, wanted: &str) -> Problem {
    Problem::forbidden(format!("{subject} is no {wanted}, whose permission this is"))
}

/// The member that calls.
pub fn member(subject: &Subject) -> Result<&Member, Problem> {
    match subject {
        Subject::Member(member) => Ok(member),
        other => Err(wrong_kind(other, "member of a VO")),
    }
}

/// The pilot that calls.
pub fn pilot(subject: &Subject) -> Result<&PilotIdentity, Problem> {
    match subject {
        Subject::Pilot(pilot) => Ok(pilot),
        other => Err(wrong_kind(other, "pilot")),
    }
}

/// A field of a request whose text is a name, a state or the like.
pub fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &str,
    text: Option<&String>,
) -> Result<Option<T>, Problem> {
    text.map(|text| text.parse())
        .transpose()
        .map_err(|error| Problem::bad_request(format!("{field}: {error}")))
}

/// The VO that a request is about: the caller's own; operators name one.
pub fn vo_of(subject: &Subject, asked: Option<&VoName>) -> Result<VoName, Problem> {
    match (subject.vo(), asked) {
        (Some(own), None) => Ok(own.clone()),
        (Some(own), Some(asked)) if own == asked => Ok(own.clone()),
        (Some(_), Some(asked)) => {
            Err(Problem::not_found(format!("there is no VO {asked}, or it is not yours")))
        }
        (None, Some(asked)) => Ok(asked.clone()),
        (None, None) => {
            Err(Problem::bad_request("say which VO: `--vo NAME`, or in a request `vo=NAME`"))
        }
    }
}

/// In which a robot names the person behind a submission.
const PERSON: &str = "spinor-person";

/// The person for whom a robot submits: whoever is none submits for themselves.
pub fn person(app: &Shared, member: &Member, headers: &HeaderMap) -> Result<String, Problem> {
    let given = headers.get(PERSON).map(|value| value.to_str().unwrap_or_default().trim());
    let document = app.lifecycle.document(&member.vo)?;
    let robot = document.robots.get(&member.user).filter(|_| member.sub.starts_with(ROBOT));
    match (robot, given) {
        (None, None) => Ok(String::new()),
        (None, Some(_)) => {
            let text =
                format!("{PERSON}: only robots submit for others, and {} is none", member.user);
            Err(Problem::bad_request(text))
        }
        (Some(robot), None) if !robot.names_people => Ok(String::new()),
        (Some(_), Some(name)) if (1..=255).contains(&name.len()) => Ok(name.to_owned()),
        (Some(_), given) => {
            let text = format!(
                "{PERSON} is `{}`: name the person behind it in this header, in 1 to 255 ASCII characters",
                given.unwrap_or_default()
            );
            Err(Problem::bad_request(text))
        }
    }
}

/// The owner whose jobs a caller may manage; none means the whole VO's.
pub fn manages(subject: &Subject) -> Option<&UserName> {
    match subject {
        Subject::Member(member) if !administers_jobs(subject) => Some(&member.user),
        _ => None,
    }
}

/// Does all of something, even if its caller hangs up half way: what was stored must also be noted.
pub async fn whole<T: Send + 'static>(
    act: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::spawn(act).await;
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "a request broke");
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request broke; see the log"))
    })
}
