//! Pilots on HTCondor by its programs: on a pool whose tools are on the server's machine, or on a CE,
//! which is a queue elsewhere. `docs/how-to/reach-a-ce.md` has grants to copy.
//!
//! What goes there is spooled: the machines share no files.

mod ad;
mod description;
mod tools;

use ad::Ad;
use spinor_sdk::batch::{
    Here, Shell, Trouble,
    names::{self, parts, reference},
    script::{Worker, script},
};
use spinor_sdk::computing::{Backend, OutputStream, Pilot, PilotState, Room, Submission};
use spinor_sdk::{Card, Error, Plugin, plugin_card, schemars};
use std::collections::BTreeMap;

/// The plugin.
pub struct Htcondor;

/// Which queue, and what becomes of what pilots write.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The collector, e.g. `ce.example.org:9619`; the machine's own, if not given.
    #[serde(default)]
    pool: Option<String>,
    /// The queue's name there, e.g. `ce.example.org`.
    #[serde(default)]
    schedd: Option<String>,
    /// A directory on the server's machine: what pilots write is brought there.
    directory: String,
    /// More lines of the submit description, e.g. `+WantJobRouter = True`.
    #[serde(default)]
    submit: Vec<String>,
    /// How a pilot gets to its worker.
    #[serde(default)]
    worker: Worker,
}

impl Plugin for Htcondor {
    type Settings = Settings;
    const CARD: Card =
        plugin_card!("computing/htcondor", "pilots on an HTCondor pool or CE", ["command"]);
}

impl Settings {
    fn file(&self, stamp: &str, what: &str) -> String {
        names::file(&self.directory, stamp, what)
    }

    fn submissions(&self, pilots: &[Pilot]) -> Result<Vec<Submission>, Error> {
        let files = pilots.iter().map(|pilot| {
            let text = script(&[], ":", pilot, &self.worker);
            (format!("{}.sh", pilot.stamp), text.into_bytes())
        });
        let text = description::of(self, pilots);
        let all = |answer: Submission| Ok(vec![answer; pilots.len()]);
        let ran = match tools::submit(self, text, files.collect()) {
            Ok(ran) => ran,
            Err(Trouble::NotRun(why)) => return all(Submission::Refused(why)),
            Err(Trouble::Unsure(why)) => return all(Submission::Unknown(why)),
        };
        match (description::jobs(&ran.stdout), ran.is_good()) {
            (Some(jobs), true) if jobs.len() == pilots.len() => {
                let given = jobs.iter().zip(pilots);
                Ok(given.map(|(job, p)| Submission::Submitted(reference(job, &p.stamp))).collect())
            }
            // What it said nothing of is not there: it puts jobs in the queue all at once.
            (None, false) if ran.stdout.trim().is_empty() => all(Submission::Refused(ran.stderr)),
            _ => all(Submission::Unknown(format!("{} {}", ran.stdout.trim(), ran.stderr))),
        }
    }

    /// What the queue knows of jobs, and of those that have left it.
    fn ads(&self, jobs: &[&str]) -> Result<BTreeMap<String, Ad>, Error> {
        let mut found = BTreeMap::new();
        for jobs in jobs.chunks(100) {
            let by_job = |ads: Vec<Ad>| ads.into_iter().map(|ad| (ad.job(), ad));
            found.extend(by_job(tools::ads(self, "condor_q", jobs)?));
            let gone: Vec<&str> =
                jobs.iter().copied().filter(|job| !found.contains_key(*job)).collect();
            if !gone.is_empty() {
                found.extend(by_job(tools::ads(self, "condor_history", &gone)?));
            }
        }
        Ok(found)
    }
}

impl Backend for Htcondor {
    fn capacity(settings: &Settings, queues: Vec<String>) -> Result<Vec<Room>, Error> {
        let ads = tools::ads(settings, "condor_q", &["-constraint", "SpinorStamp =!= undefined"])?;
        let room = |queue: String| {
            let count = |good: fn(&PilotState) -> bool| {
                let own = ads.iter().filter(|ad| ad.queue == queue && good(&ad.state()));
                Some(u32::try_from(own.count()).unwrap_or(u32::MAX))
            };
            let waiting = count(|state| matches!(state, PilotState::Waiting));
            let running = count(|state| matches!(state, PilotState::Running));
            Room { queue, free: None, waiting, running }
        };
        Ok(queues.into_iter().map(room).collect())
    }

    fn submit(settings: &Settings, pilots: Vec<Pilot>) -> Result<Vec<Submission>, Error> {
        settings.submissions(&pilots)
    }

    fn find(settings: &Settings, stamps: Vec<String>) -> Result<Vec<Option<String>>, Error> {
        let listed = stamps.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(",");
        let named = format!("member(SpinorStamp,{{{listed}}})");
        let mut found = BTreeMap::new();
        for program in ["condor_history", "condor_q"] {
            for ad in tools::ads(settings, program, &["-constraint", &named])? {
                found.insert(ad.stamp.clone(), reference(&ad.job(), &ad.stamp));
            }
        }
        Ok(stamps.iter().map(|stamp| found.get(stamp).cloned()).collect())
    }

    fn status(settings: &Settings, references: Vec<String>) -> Result<Vec<PilotState>, Error> {
        let jobs: Vec<&str> = references.iter().map(|reference| parts(reference).0).collect();
        let ads = settings.ads(&jobs)?;
        let unknown = || PilotState::Unknown("HTCondor does not know it".to_owned());
        Ok(jobs.iter().map(|job| ads.get(*job).map_or_else(unknown, Ad::state)).collect())
    }

    fn cancel(settings: &Settings, reference: String) -> Result<(), Error> {
        tools::remove(settings, parts(&reference).0)
    }

    fn output(
        settings: &Settings,
        reference: String,
        stream: OutputStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, Error> {
        let (job, stamp) = parts(&reference);
        let file = match stream {
            OutputStream::Stdout => settings.file(stamp, "out"),
            OutputStream::Stderr => settings.file(stamp, "err"),
            OutputStream::Log => {
                let ads = settings.ads(&[job])?;
                let told = ads.get(job).map(|ad| format!("{:?}\n", ad.state()));
                return Ok(names::part(told.unwrap_or_default().as_bytes(), offset, max));
            }
        };
        if let Ok(part) = Here.read(&file, offset, max) {
            return Ok(part);
        }
        // Asked for before the end, they would be lost.
        if !settings.ads(&[job])?.get(job).is_some_and(Ad::has_ended) {
            return Err(Error::Other("HTCondor gives it when the pilot has ended".to_owned()));
        }
        tools::bring(settings, job)?;
        Here.read(&file, offset, max)
    }

    fn clean(settings: &Settings, reference: String) -> Result<(), Error> {
        let (job, stamp) = parts(&reference);
        tools::remove(settings, job)?;
        let (out, err) = (settings.file(stamp, "out"), settings.file(stamp, "err"));
        Here.ask("rm", &["-f", &out, &err]).map(drop)
    }
}

spinor_sdk::export_backend!(Htcondor);
