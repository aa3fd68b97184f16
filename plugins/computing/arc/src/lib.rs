//! Pilots on a NorduGrid ARC CE by the REST interface of A-REX, version 1.0 (ARC 6.12 and later), with a
//! client certificate or a token, either of which the host puts into each request.
//!
//! ARC answers from what it gathers every minute or so: states may be as old as that. It knows who asks
//! from the first request of a connection alone, so each carries the token.

mod wire;
mod xrsl;

use spinor_sdk::batch::{Trouble, names, script::Worker, web};
use spinor_sdk::computing::{
    Backend, OutputStream, Pilot, PilotState, Room, Submission,
    http::{Request, Response},
};
use spinor_sdk::{Card, Error, Finding, Plugin, plugin_card, schemars};
use std::collections::BTreeMap;
use wire::{Created, Info, Jobs};

/// The plugin.
pub struct Arc;

/// Where ARC is, and in whose name it is asked.
#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its interface, e.g. `https://arc.example.org:443/arex/rest/1.0`.
    url: String,
    /// Name of the granted identity: the certificate or proxy that is shown.
    #[serde(default)]
    identity: Option<String>,
    /// Name of the granted secret that is sent as a bearer token.
    #[serde(default)]
    token: Option<String>,
    /// ARC's name of the queue, where it is not the VO document's.
    #[serde(default)]
    queue: Option<String>,
    /// More of the job description, in xRSL, e.g. `(runtimeEnvironment="ENV/PROXY")`.
    #[serde(default)]
    xrsl: String,
    /// How a pilot gets to its worker.
    #[serde(default)]
    worker: Worker,
}

impl Plugin for Arc {
    type Settings = Settings;
    const CARD: Card = plugin_card!("computing/arc", "pilots on an ARC CE, by REST", ["http"]);

    fn check(settings: &Settings) -> Vec<Finding> {
        let bad = |field: &str, value: &str, message: &str| Finding {
            field: field.to_owned(),
            value: value.to_owned(),
            message: message.to_owned(),
        };
        let mut findings = Vec::new();
        if settings.identity.is_none() && settings.token.is_none() {
            findings.push(bad("/identity", "", "ARC lets nobody in without `identity` or `token`"));
        }
        if !settings.xrsl.is_empty() && !xrsl::is_balanced(&settings.xrsl) {
            findings.push(bad("/xrsl", &settings.xrsl, "has brackets or quotes that do not close"));
        }
        findings
    }
}

/// Jobs that one exchange is about.
const TOGETHER: usize = 100;

impl Settings {
    fn queue<'a>(&'a self, queue: &'a str) -> &'a str {
        self.queue.as_deref().unwrap_or(queue)
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<Response, Trouble> {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut headers = vec![header("accept", "application/json")];
        if !kind.is_empty() {
            headers.push(header("content-type", kind));
        }
        if let Some(token) = &self.token {
            headers.push(header("authorization", &format!("Bearer {{secret:{token}}}")));
        }
        let url = format!("{}/{path}", self.url.trim_end_matches('/'));
        let identity = self.identity.clone();
        web::exchange(&Request { headers, body, identity, ..web::request(method, url) })
    }

    /// An exchange whose answer must be good.
    fn get(&self, path: &str) -> Result<Vec<u8>, Error> {
        let response = self.ask("GET", path, "", Vec::new())?;
        match response.status {
            200 => Ok(response.body),
            _ => Err(Error::Unavailable(wire::refusal(&response))),
        }
    }

    /// Something done about jobs, in parts; one answer a job that ARC has one for.
    fn about<T: serde::de::DeserializeOwned>(
        &self,
        action: &str,
        ids: &[String],
    ) -> Result<Vec<T>, Error> {
        let mut answers = Vec::new();
        for ids in ids.chunks(TOGETHER) {
            let body = wire::ids(ids);
            let path = format!("jobs?action={action}");
            let response = self.ask("POST", &path, "application/json", body)?;
            answers.extend(Jobs::<T>::read(&response).map_err(Error::Unavailable)?.0);
        }
        Ok(answers)
    }

    /// What ARC knows of jobs, by their ids.
    fn infos(&self, ids: &[String]) -> Result<BTreeMap<String, Info>, Error> {
        let infos = self.about::<Info>("info", ids)?;
        Ok(infos.into_iter().map(|info| (info.id.clone(), info)).collect())
    }

    fn do_to(&self, action: &str, id: &str) -> Result<(), Error> {
        let answers = self.about::<Created>(action, std::slice::from_ref(&id.to_owned()))?;
        match answers.iter().find(|answer| !answer.is_good() && !answer.is_unknown()) {
            None => Ok(()),
            Some(answer) => Err(Error::Other(answer.reason.clone())),
        }
    }

    /// Descriptions go to ARC together; the scripts follow one by one.
    fn submissions(&self, pilots: &[Pilot]) -> Vec<Submission> {
        let described: Vec<String> = pilots.iter().map(|pilot| xrsl::job(self, pilot)).collect();
        let body = xrsl::several(&described).into_bytes();
        let all = |answer: Submission| vec![answer; pilots.len()];
        let response = match self.ask("POST", "jobs?action=new", "application/rsl", body) {
            Ok(response) => response,
            Err(Trouble::NotRun(why)) => return all(Submission::Refused(why)),
            Err(Trouble::Unsure(why)) => return all(Submission::Unknown(why)),
        };
        match Jobs::<Created>::read(&response) {
            Ok(Jobs(answers)) if answers.len() == pilots.len() => {
                pilots.iter().zip(answers).map(|(pilot, job)| self.settle(pilot, job)).collect()
            }
            Ok(Jobs(answers)) => {
                let why = format!("{} answers to {} descriptions", answers.len(), pilots.len());
                all(Submission::Unknown(why))
            }
            Err(why) => all(Submission::Refused(why)),
        }
    }

    /// A job waits for its script. One that it cannot be brought to is taken away again.
    fn settle(&self, pilot: &Pilot, job: Created) -> Submission {
        let id = match (job.is_good(), job.id) {
            (true, Some(id)) => id,
            (_, _) => return Submission::Refused(job.reason),
        };
        let path = format!("jobs/{id}/session/{}", xrsl::SCRIPT);
        let script = xrsl::script(self, pilot).into_bytes();
        let mut why = String::new();
        for _ in 0..3 {
            match self.ask("PUT", &path, "application/octet-stream", script.clone()) {
                Ok(response) if response.status == 200 => return Submission::Submitted(id),
                Ok(response) => why = wire::refusal(&response),
                Err(Trouble::NotRun(words) | Trouble::Unsure(words)) => why = words,
            }
        }
        let why = format!("its script could not be brought: {why}");
        match self.do_to("kill", &id) {
            Ok(()) => Submission::Refused(why),
            // It is there, and waits for its script, for minutes.
            Err(_) => Submission::Unknown(why),
        }
    }

    /// Whether a job has its script, or had it. One that waits for it without end is taken away.
    fn has_script(&self, info: &Info) -> Result<bool, Error> {
        if !info.may_lack_files() {
            return Ok(true);
        }
        let path = format!("jobs/{}/session/{}", info.id, xrsl::SCRIPT);
        let response = self.ask("GET", &path, "", Vec::new())?;
        match response.status {
            200 => Ok(true),
            404 => self.do_to("kill", &info.id).map(|()| false),
            _ => Err(Error::Unavailable(wire::refusal(&response))),
        }
    }
}

impl Backend for Arc {
    fn capacity(settings: &Settings, queues: Vec<String>) -> Result<Vec<Room>, Error> {
        let shares =
            wire::shares(&settings.get("info?schema=glue2")?).map_err(Error::Unavailable)?;
        let room = |queue: String| {
            let share = shares.iter().find(|share| share.is_for(settings.queue(&queue)));
            match share {
                Some(share) => share.room(queue),
                None => Room { queue, free: None, waiting: None, running: None },
            }
        };
        Ok(queues.into_iter().map(room).collect())
    }

    fn submit(settings: &Settings, pilots: Vec<Pilot>) -> Result<Vec<Submission>, Error> {
        Ok(settings.submissions(&pilots))
    }

    fn find(settings: &Settings, stamps: Vec<String>) -> Result<Vec<Option<String>>, Error> {
        let ids = wire::listing(&settings.get("jobs")?).map_err(Error::Unavailable)?;
        let infos = settings.infos(&ids)?;
        let by_name: BTreeMap<String, &Info> =
            infos.values().filter_map(|info| Some((info.name()?, info))).collect();
        // A job just made may not be described yet.
        let nameless = infos.values().any(|info| info.name().is_none());
        let reference = |stamp: &String| {
            let Some(info) = by_name.get(&names::name(stamp)) else {
                let why = "ARC does not describe all jobs yet";
                return if nameless { Err(Error::Unavailable(why.to_owned())) } else { Ok(None) };
            };
            Ok(settings.has_script(info)?.then(|| info.id.clone()))
        };
        stamps.iter().map(reference).collect()
    }

    fn status(settings: &Settings, references: Vec<String>) -> Result<Vec<PilotState>, Error> {
        let infos = settings.infos(&references)?;
        let unknown = || PilotState::Unknown("ARC does not know it".to_owned());
        let state = |id: &String| infos.get(id).map_or_else(unknown, Info::state);
        Ok(references.iter().map(state).collect())
    }

    fn cancel(settings: &Settings, reference: String) -> Result<(), Error> {
        settings.do_to("kill", &reference)
    }

    fn output(
        settings: &Settings,
        reference: String,
        stream: OutputStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, Error> {
        let path = match stream {
            OutputStream::Stdout => format!("jobs/{reference}/session/{}", xrsl::STDOUT),
            OutputStream::Stderr => format!("jobs/{reference}/session/{}", xrsl::STDERR),
            OutputStream::Log => format!("jobs/{reference}/diagnose/errors"),
        };
        Ok(names::part(&settings.get(&path)?, offset, max))
    }

    fn clean(settings: &Settings, reference: String) -> Result<(), Error> {
        settings.do_to("clean", &reference)
    }
}

spinor_sdk::export_backend!(Arc);
