//! Slurm: `sbatch`, `squeue`, `sacct` and `scancel`.

use super::{
    Ran, Shell, TOGETHER, Trouble,
    names::{self, name, parts, reference},
    one_by_one,
    script::{Ways, Worker, script},
    spool::Directory,
};
use crate::{
    Error,
    computing::{OutputStream, Pilot, PilotState, Room, Submission, gpus},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A cluster's ways.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// A directory that exists on submitting machine and workers: what pilots write goes there.
    pub directory: String,
    /// Account that is charged.
    #[serde(default)]
    pub account: Option<String>,
    /// More options of sbatch, without dashes, e.g. `qos=grid` or `exclusive`.
    #[serde(default)]
    pub options: Vec<String>,
    /// Where ended jobs are asked for once `squeue` has forgotten them.
    #[serde(default)]
    pub history: History,
    /// How a pilot gets to its worker.
    #[serde(default)]
    pub worker: Worker,
}

/// Where ended jobs are remembered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// Slurm's accounting: `sacct`.
    #[default]
    Accounting,
    /// A file of ended jobs (`jobcomp/filetxt`): `sacct -c`.
    CompletionFile,
    /// Nowhere.
    None,
}

/// Ways of a controller to say that it could not be reached in time: it may have taken the job.
const CUT_OFF: [&str; 7] = [
    "Socket timed out",
    "Zero Bytes were transmitted",
    "Unable to contact slurm controller",
    "Unexpected message received",
    "Transport endpoint",
    "Connection re",
    "Slurm controller not responding",
];

/// A word of Slurm's as a pilot's state. All words of `man squeue`, `man sacct` (22.05 to 24.11).
pub fn state(word: &str, reason: &str) -> PilotState {
    // `CANCELLED by 1000`, `COMPLETED+`
    let plain = word.split([' ', '+']).next().unwrap_or_default();
    let told = || match reason {
        "" | "None" => word.to_owned(),
        reason => format!("{word} ({reason})"),
    };
    match plain {
        // Nobody runs it until somebody lets it go.
        "PENDING" if ["JobHeld", "JobHold", "held"].iter().any(|held| reason.contains(held)) => {
            PilotState::Aborted(told())
        }
        "REQUEUE_HOLD" | "RESV_DEL_HOLD" | "SPECIAL_EXIT" => PilotState::Aborted(told()),
        "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_FED" | "POWER_UP_NODE" | "EXPEDITING" => {
            PilotState::Waiting
        }
        "RUNNING" | "COMPLETING" | "SUSPENDED" | "STOPPED" | "STAGE_OUT" | "SIGNALING"
        | "RESIZING" | "UPDATE_DB" => PilotState::Running,
        "COMPLETED" => PilotState::Done,
        "FAILED" | "TIMEOUT" | "NODE_FAIL" | "BOOT_FAIL" | "DEADLINE" | "OUT_OF_MEMORY"
        | "LAUNCH_FAILED" | "RECONFIG_FAIL" => PilotState::Failed(told()),
        "CANCELLED" | "PREEMPTED" | "REVOKED" => PilotState::Aborted(told()),
        _ => PilotState::Unknown(told()),
    }
}

/// A cluster, where its programs run.
pub struct Slurm<'a, S> {
    /// Runs its programs.
    pub shell: &'a S,
    /// Its ways.
    pub cluster: &'a Cluster,
}

/// Lines of `a|b|c`.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| line.trim().split('|').collect())
}

fn submission(ran: Ran, stamp: &str) -> Submission {
    if ran.is_good() {
        let id = ran.stdout.trim().split(';').next().unwrap_or_default();
        return match id.is_empty() || !id.chars().all(|c| c.is_ascii_digit()) {
            true => Submission::Unknown(format!("sbatch answered `{}`", ran.stdout.trim())),
            false => Submission::Submitted(reference(id, stamp)),
        };
    }
    match CUT_OFF.iter().any(|words| ran.stderr.contains(words)) || ran.code.is_none() {
        true => Submission::Unknown(ran.stderr),
        false => Submission::Refused(ran.stderr),
    }
}

impl<S: Shell> Slurm<'_, S> {
    fn file(&self, stamp: &str, what: &str) -> String {
        names::file(&self.cluster.directory, stamp, what)
    }

    /// What Slurm is asked for, at the top of the script.
    fn directives(&self, pilot: &Pilot) -> Vec<String> {
        let Pilot { stamp, queue, cores, memory_mib, wall_seconds, .. } = pilot;
        let mut asked = vec![
            format!("job-name={}", name(stamp)),
            format!("partition={queue}"),
            "nodes=1".to_owned(),
            "ntasks=1".to_owned(),
            format!("cpus-per-task={cores}"),
            format!("mem={memory_mib}M"),
            format!("time={}", wall_seconds.div_ceil(60)),
            format!("chdir={}", self.cluster.directory),
            format!("output={}", self.file(stamp, "out")),
            format!("error={}", self.file(stamp, "err")),
            "no-requeue".to_owned(),
        ];
        let gpus = gpus(pilot);
        asked.extend((gpus > 0).then(|| format!("gres=gpu:{gpus}")));
        asked.extend(self.cluster.account.iter().map(|account| format!("account={account}")));
        asked.extend(self.cluster.options.iter().cloned());
        asked.into_iter().map(|option| format!("#SBATCH --{option}")).collect()
    }

    fn ways(&self) -> Ways<'_> {
        Ways { worker: &self.cluster.worker, shared: Some(&self.cluster.directory) }
    }

    /// Its files beside pilots.
    pub fn spool(&self) -> Directory<'_, S> {
        Directory { shell: self.shell, path: &self.cluster.directory }
    }

    /// Submits pilots, one after the other.
    pub fn submit(&self, pilots: &[Pilot]) -> Result<Vec<Submission>, Error> {
        let one = |pilot: &Pilot| {
            let text = script(&self.directives(pilot), ":", pilot, self.ways());
            match self.shell.run("sbatch", &["--parsable"], text.as_bytes()) {
                Ok(ran) => submission(ran, &pilot.stamp),
                Err(Trouble::NotRun(why)) => Submission::Refused(why),
                Err(Trouble::Unsure(why)) => Submission::Unknown(why),
            }
        };
        Ok(one_by_one(pilots, one))
    }

    /// Jobs by their names.
    pub fn find(&self, stamps: &[String]) -> Result<Vec<Option<String>>, Error> {
        let mut found = BTreeMap::new();
        for stamps in stamps.chunks(TOGETHER) {
            let names: Vec<String> = stamps.iter().map(|stamp| name(stamp)).collect();
            let names = format!("--name={}", names.join(","));
            let listed = self
                .shell
                .ask("squeue", &["--noheader", "--states=all", "--format=%i|%j", &names])?;
            let mut text = listed;
            if self.cluster.history == History::Accounting {
                let asked = [
                    "--noheader",
                    "--allocations",
                    "--parsable2",
                    "--format=JobIDRaw,JobName",
                    &names,
                ];
                text.push_str(&self.shell.ask("sacct", &asked)?);
            }
            for row in rows(&text) {
                if let [id, name] = row[..] {
                    found.insert(name.to_owned(), id.to_owned());
                }
            }
        }
        let known = |stamp: &String| Some(reference(found.get(&name(stamp))?, stamp));
        Ok(stamps.iter().map(known).collect())
    }

    /// What became of jobs.
    pub fn status(&self, references: &[String]) -> Result<Vec<PilotState>, Error> {
        let mut states = BTreeMap::new();
        let ids: Vec<&str> = references.iter().map(|reference| parts(reference).0).collect();
        for ids in ids.chunks(TOGETHER) {
            self.listed(ids, &mut states)?;
            let forgotten = ids.iter().filter(|id| !states.contains_key(**id));
            let forgotten: Vec<&str> = forgotten.copied().collect();
            if !forgotten.is_empty() {
                self.remembered(&forgotten, &mut states);
            }
        }
        let none = || PilotState::Unknown("Slurm does not know it".to_owned());
        Ok(ids.iter().map(|id| states.get(*id).cloned().unwrap_or_else(none)).collect())
    }

    /// Jobs that `squeue` has.
    fn listed(&self, ids: &[&str], states: &mut BTreeMap<String, PilotState>) -> Result<(), Error> {
        let ids = format!("--jobs={}", ids.join(","));
        let asked = ["--noheader", "--states=all", "--format=%i|%T|%r", &ids];
        let ran = self.shell.run("squeue", &asked, b"")?;
        // It says so when the only job that it is asked for is one that it has forgotten.
        if !ran.is_good() && !ran.stderr.contains("Invalid job id") {
            return Err(Error::Unavailable(format!("squeue: {}", ran.stderr)));
        }
        for row in rows(&ran.stdout) {
            if let [id, word, reason] = row[..] {
                states.insert(id.to_owned(), state(word, reason));
            }
        }
        Ok(())
    }

    /// Jobs that only the history has. Without one, they are unknown.
    fn remembered(&self, references: &[&str], states: &mut BTreeMap<String, PilotState>) {
        let ids = format!("--jobs={}", references.join(","));
        let common = ["--noheader", "--parsable2"];
        let more: &[&str] = match self.cluster.history {
            History::None => return,
            History::Accounting => &["--allocations", "--format=JobIDRaw,State,ExitCode"],
            History::CompletionFile => &["--completion", "--format=JobID,State"],
        };
        let asked: Vec<&str> = common.iter().chain(more).copied().chain([ids.as_str()]).collect();
        let answer = self.shell.ask("sacct", &asked);
        let unknown = |why: &Error| PilotState::Unknown(format!("{why:?}"));
        match answer {
            Ok(text) => {
                for row in rows(&text).filter(|row| row.len() >= 2) {
                    let code = row.get(2).filter(|code| **code != "0:0");
                    let code = code.map(|code| format!("exit code {code}")).unwrap_or_default();
                    states.insert(row[0].to_owned(), state(row[1], &code));
                }
            }
            Err(why) => {
                states.extend(references.iter().map(|id| ((*id).to_owned(), unknown(&why))));
            }
        }
    }

    /// Ends a job. One that has ended is no trouble.
    pub fn cancel(&self, reference: &str) -> Result<(), Error> {
        let ran = self.shell.run("scancel", &[parts(reference).0], b"")?;
        match ran.is_good() || ran.stderr.contains("Invalid job id") {
            true => Ok(()),
            false => Err(Error::Unavailable(format!("scancel: {}", ran.stderr))),
        }
    }

    /// Our own jobs in each partition.
    pub fn capacity(&self, queues: Vec<String>) -> Result<Vec<Room>, Error> {
        let partitions = format!("--partition={}", queues.join(","));
        let asked =
            ["--noheader", "--me", "--states=PENDING,RUNNING", "--format=%P|%T", &partitions];
        let text = self.shell.ask("squeue", &asked)?;
        let count = |queue: &str, word: &str| {
            let count = rows(&text).filter(|row| row[..] == [queue, word]).count();
            Some(u32::try_from(count).unwrap_or(u32::MAX))
        };
        let room = |queue: String| {
            let (waiting, running) = (count(&queue, "PENDING"), count(&queue, "RUNNING"));
            Room { queue, free: None, waiting, running }
        };
        Ok(queues.into_iter().map(room).collect())
    }

    /// Part of what a pilot wrote.
    pub fn output(
        &self,
        reference: &str,
        stream: OutputStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, Error> {
        let (id, stamp) = parts(reference);
        let what = match stream {
            OutputStream::Stdout => "out",
            OutputStream::Stderr => "err",
            OutputStream::Log => {
                let asked = ["show", "job", "--oneliner", id];
                let text = self.shell.ask("scontrol", &asked)?;
                let skip = usize::try_from(offset).unwrap_or(usize::MAX);
                return Ok(text.bytes().skip(skip).take(max as usize).collect());
            }
        };
        self.shell.read(&self.file(stamp, what), offset, max)
    }

    /// Takes away what a pilot wrote.
    pub fn clean(&self, reference: &str) -> Result<(), Error> {
        let (_, stamp) = parts(reference);
        let (out, err) = (self.file(stamp, "out"), self.file(stamp, "err"));
        self.shell.ask("rm", &["-f", &out, &err]).map(drop)
    }
}

#[cfg(test)]
mod tests;
