//! Pilots on a Slurm cluster by its REST interface, slurmrestd, with a JSON Web Token that the host puts
//! into each request.
//!
//! Versions of the interface: v0.0.36 to v0.0.38 (Slurm 21.08 and 22.05) and v0.0.39 to v0.0.42 (23.02 to
//! 24.11), which say the same in other shapes. None of them gives what a job wrote.

mod wire;

use spinor_sdk::batch::{
    Trouble,
    names::{self, parts, reference},
    one_by_one,
    script::{Worker, script},
    slurm::state,
    web,
};
use spinor_sdk::computing::{
    Backend, OutputStream, Pilot, PilotState, Room, Submission, http::Request,
};
use spinor_sdk::{Card, Error, Finding, Plugin, plugin_card, schemars};
use std::collections::BTreeMap;
use wire::{Answer, Version};

/// The plugin.
pub struct ByRest;

/// Where slurmrestd is, and in whose name it is asked.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its address, e.g. `https://slurm.example.org:6820`.
    url: String,
    /// The version of its interface, e.g. `v0.0.38`.
    version: String,
    /// The account that jobs run as.
    user: String,
    /// Name of the granted secret that is the account's token.
    #[serde(default = "default_secret")]
    secret: String,
    /// A directory that exists on workers: what pilots write goes there.
    directory: String,
    /// Account that is charged.
    #[serde(default)]
    account: Option<String>,
    /// How a pilot gets to its worker.
    #[serde(default)]
    worker: Worker,
}

fn default_secret() -> String {
    "slurm-token".to_owned()
}

impl Plugin for ByRest {
    type Settings = Settings;
    const CARD: Card =
        plugin_card!("computing/slurm-rest", "pilots on a Slurm cluster, by slurmrestd", ["http"]);

    fn check(settings: &Settings) -> Vec<Finding> {
        let bad = |field: &str, value: &str, message: &str| Finding {
            field: field.to_owned(),
            value: value.to_owned(),
            message: message.to_owned(),
        };
        match Version::of(&settings.version) {
            Some(_) => Vec::new(),
            None => vec![bad("/version", &settings.version, "is none of v0.0.36 to v0.0.42")],
        }
    }
}

impl Settings {
    fn version(&self) -> Version {
        Version::of(&self.version).unwrap_or(Version::Flat)
    }

    /// One exchange. Slurm's own refusals are answers.
    fn ask(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Answer, Trouble> {
        let header = |name: &str, value: String| (name.to_owned(), value);
        let url = format!("{}/slurm/{}/{path}", self.url.trim_end_matches('/'), self.version);
        let headers = vec![
            header("x-slurm-user-name", self.user.clone()),
            header("x-slurm-user-token", format!("{{secret:{}}}", self.secret)),
            header("content-type", "application/json".to_owned()),
        ];
        let response = web::exchange(&Request { headers, body, ..web::request(method, url) })?;
        Answer::read(response.status, &response.body).map_err(Trouble::Unsure)
    }

    fn submission(&self, pilot: &Pilot) -> Submission {
        let text = script(&[], ":", pilot, &self.worker);
        let body = self.version().job(self, pilot, &text);
        match self.ask("POST", "job/submit", body) {
            Ok(answer) => match (answer.job_id, answer.trouble()) {
                (Some(id), None) => Submission::Submitted(reference(&id.to_string(), &pilot.stamp)),
                (_, Some(why)) if answer.is_sure() => Submission::Refused(why),
                (_, why) => Submission::Unknown(why.unwrap_or_else(|| "no job id".to_owned())),
            },
            Err(Trouble::NotRun(why)) => Submission::Refused(why),
            Err(Trouble::Unsure(why)) => Submission::Unknown(why),
        }
    }

    fn state(&self, id: &str) -> Result<PilotState, Error> {
        let answer = self.ask("GET", &format!("job/{id}"), Vec::new())?;
        if answer.is_unknown_job() {
            return Ok(PilotState::Unknown("Slurm does not know it".to_owned()));
        }
        match (answer.jobs.first(), answer.trouble()) {
            (Some(job), None) => Ok(state(&job.state(), &job.state_reason)),
            (_, why) => Err(Error::Unavailable(why.unwrap_or_else(|| "no job".to_owned()))),
        }
    }

    fn jobs(&self) -> Result<Answer, Error> {
        let answer = self.ask("GET", "jobs", Vec::new())?;
        match answer.trouble() {
            None => Ok(answer),
            Some(why) => Err(Error::Unavailable(why)),
        }
    }
}

impl Backend for ByRest {
    fn capacity(settings: &Settings, queues: Vec<String>) -> Result<Vec<Room>, Error> {
        let jobs = settings.jobs()?.jobs;
        let own = |queue: &str, word: &str| {
            let mine = jobs.iter().filter(|job| job.user_name == settings.user);
            let count = mine.filter(|job| job.partition == queue && job.state() == word).count();
            Some(u32::try_from(count).unwrap_or(u32::MAX))
        };
        let room = |queue: String| {
            let (waiting, running) = (own(&queue, "PENDING"), own(&queue, "RUNNING"));
            Room { queue, free: None, waiting, running }
        };
        Ok(queues.into_iter().map(room).collect())
    }

    fn submit(settings: &Settings, pilots: Vec<Pilot>) -> Result<Vec<Submission>, Error> {
        Ok(one_by_one(&pilots, |pilot| settings.submission(pilot)))
    }

    fn find(settings: &Settings, stamps: Vec<String>) -> Result<Vec<Option<String>>, Error> {
        let jobs = settings.jobs()?.jobs;
        let by_name: BTreeMap<&str, u64> =
            jobs.iter().map(|job| (job.name.as_str(), job.job_id)).collect();
        let known = |stamp: &String| {
            let id = by_name.get(names::name(stamp).as_str())?;
            Some(reference(&id.to_string(), stamp))
        };
        Ok(stamps.iter().map(known).collect())
    }

    fn status(settings: &Settings, references: Vec<String>) -> Result<Vec<PilotState>, Error> {
        let one = |reference: &String| match settings.state(parts(reference).0) {
            Ok(state) => state,
            Err(why) => PilotState::Unknown(format!("{why:?}")),
        };
        Ok(references.iter().map(one).collect())
    }

    fn cancel(settings: &Settings, reference: String) -> Result<(), Error> {
        let path = format!("job/{}", parts(&reference).0);
        let answer = settings.ask("DELETE", &path, Vec::new())?;
        match answer.trouble() {
            Some(why) if !answer.is_unknown_job() => Err(Error::Unavailable(why)),
            _ => Ok(()),
        }
    }

    fn output(
        settings: &Settings,
        reference: String,
        _: OutputStream,
        _: u64,
        _: u32,
    ) -> Result<Vec<u8>, Error> {
        let (directory, stamp) = (&settings.directory, parts(&reference).1);
        Err(Error::Other(format!(
            "slurmrestd does not give what jobs wrote: see {directory}/spinor-{stamp}.out and .err on the cluster"
        )))
    }

    /// Nothing is kept that could be freed this way.
    fn clean(_: &Settings, _: String) -> Result<(), Error> {
        Ok(())
    }
}

spinor_sdk::export_backend!(ByRest);
