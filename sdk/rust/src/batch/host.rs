//! A bare machine without a batch system: pilots are processes of the account.
//!
//! A pilot has four files in the directory: `spinor-STAMP.sh`, its script, `.out` and `.err`, and `.rc`, its
//! exit code, written last. Whether it runs is known by the script's path on its command line.

use super::{
    Shell, TOGETHER, Trouble, names, one_by_one,
    script::{Ways, Worker, quoted, script},
    spool::Directory,
};
use crate::{
    Error,
    computing::{OutputStream, Pilot, PilotState, Room, Submission},
};
use schemars::JsonSchema;
use serde::Deserialize;

/// A machine's ways.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// A directory there: scripts and what pilots write.
    pub directory: String,
    /// Pilots there may be at a time.
    pub max: u32,
    /// How a pilot gets its program.
    #[serde(default)]
    pub worker: Worker,
}

/// A machine, where its programs run.
pub struct Host<'a, S> {
    /// Runs its programs.
    pub shell: &'a S,
    /// Its ways.
    pub machine: &'a Machine,
    /// Puts a script there.
    pub put: &'a dyn Fn(&str, &str) -> Result<(), Trouble>,
}

impl<S: Shell> Host<'_, S> {
    fn file(&self, stamp: &str, what: &str) -> String {
        names::file(&self.machine.directory, stamp, what)
    }

    /// Its files beside pilots.
    pub fn spool(&self) -> Directory<'_, S> {
        Directory { shell: self.shell, path: &self.machine.directory }
    }

    /// Stamps of the pilots that run.
    fn running(&self) -> Result<Vec<String>, Error> {
        // The brackets keep it from finding itself.
        let ran = self.shell.run("pgrep", &["-a", "-f", "[s]pinor-[0-9a-z]*.sh$"], b"")?;
        if !matches!(ran.code, Some(0 | 1)) {
            return Err(Error::Unavailable(format!("pgrep: {}", ran.stderr)));
        }
        let stamp = |line: &str| {
            let file = line.rsplit_once("/spinor-")?.1;
            Some(file.strip_suffix(".sh")?.to_owned())
        };
        Ok(ran.stdout.lines().filter_map(stamp).collect())
    }

    /// Starts pilots, one after the other, while there is room.
    pub fn submit(&self, pilots: &[Pilot]) -> Result<Vec<Submission>, Error> {
        let mut room = (self.machine.max as usize).saturating_sub(self.running()?.len());
        let mut one = |pilot: &Pilot| {
            if room == 0 {
                return Submission::Refused(format!("{} pilots run already", self.machine.max));
            }
            room -= 1;
            match self.start(pilot) {
                Ok(()) => Submission::Submitted(pilot.stamp.clone()),
                Err(Trouble::NotRun(why)) => Submission::Refused(why),
                Err(Trouble::Unsure(why)) => Submission::Unknown(why),
            }
        };
        Ok(one_by_one(pilots, &mut one))
    }

    fn start(&self, pilot: &Pilot) -> Result<(), Trouble> {
        let [sh, out, err, rc] =
            ["sh", "out", "err", "rc"].map(|what| self.file(&pilot.stamp, what));
        let streams = format!("exec </dev/null >{} 2>{}", quoted(&out), quoted(&err));
        let at_end = format!("echo $? >{}", quoted(&rc));
        let ways = Ways { worker: &self.machine.worker, shared: Some(&self.machine.directory) };
        let text = script(&[streams], &at_end, pilot, ways);
        (self.put)(&sh, &text)?;
        let ran = self.shell.run("setsid", &["--fork", "sh", &sh], b"")?;
        match ran.is_good() {
            true => Ok(()),
            false => Err(Trouble::NotRun(ran.stderr)),
        }
    }

    /// The beginning of a file, if there is such a file.
    fn look(&self, stamp: &str, what: &str) -> Result<Option<String>, Error> {
        match self.shell.read(&self.file(stamp, what), 0, 16) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
            Err(Error::Other(why) | Error::Unavailable(why)) if why.contains("No such file") => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Pilots that began: each has its output, if it wrote nothing yet.
    pub fn find(&self, stamps: &[String]) -> Result<Vec<Option<String>>, Error> {
        let known = |stamp: &String| Ok(self.look(stamp, "out")?.map(|_| stamp.clone()));
        stamps.iter().map(known).collect()
    }

    /// What became of pilots.
    pub fn status(&self, stamps: &[String]) -> Result<Vec<PilotState>, Error> {
        let mut states = Vec::new();
        for stamps in stamps.chunks(TOGETHER) {
            let running = self.running()?;
            states.extend(stamps.iter().map(|stamp| match running.contains(stamp) {
                true => PilotState::Running,
                false => self.ended(stamp),
            }));
        }
        Ok(states)
    }

    fn ended(&self, stamp: &str) -> PilotState {
        let code = self.look(stamp, "rc");
        let out = if let Ok(None) = code { self.look(stamp, "out") } else { Ok(None) };
        match (code, out) {
            (Ok(Some(code)), _) if code == "0" => PilotState::Done,
            (Ok(Some(code)), _) => PilotState::Failed(format!("exit code {code}")),
            (Ok(None), Ok(Some(_))) => {
                PilotState::Failed("it vanished without an exit code".to_owned())
            }
            (Ok(None), Ok(None)) => PilotState::Unknown("it left nothing there".to_owned()),
            (Err(error), _) | (_, Err(error)) => PilotState::Unknown(format!("{error:?}")),
        }
    }

    /// Tells a pilot to end.
    pub fn cancel(&self, stamp: &str) -> Result<(), Error> {
        // The script waits for it; what it runs is its own to end.
        let pattern = format!("[s]pinor-{stamp}/spinor-pilot");
        let ran = self.shell.run("pkill", &["-TERM", "-f", &pattern], b"")?;
        match ran.code {
            Some(0 | 1) => Ok(()),
            _ => Err(Error::Unavailable(format!("pkill: {}", ran.stderr))),
        }
    }

    /// Room as we count it.
    pub fn capacity(&self, queues: Vec<String>) -> Result<Vec<Room>, Error> {
        let running = u32::try_from(self.running()?.len()).unwrap_or(u32::MAX);
        let free = Some(self.machine.max.saturating_sub(running));
        let room = |queue| Room { queue, free, waiting: Some(0), running: Some(running) };
        Ok(queues.into_iter().map(room).collect())
    }

    /// Part of what a pilot wrote.
    pub fn output(
        &self,
        stamp: &str,
        stream: OutputStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, Error> {
        let what = if matches!(stream, OutputStream::Stdout) { "out" } else { "err" };
        self.shell.read(&self.file(stamp, what), offset, max)
    }

    /// Takes away what a pilot left.
    pub fn clean(&self, stamp: &str) -> Result<(), Error> {
        let files = ["sh", "out", "err", "rc"].map(|what| self.file(stamp, what));
        let [sh, out, err, rc] = files.each_ref().map(String::as_str);
        self.shell.ask("rm", &["-f", sh, out, err, rc]).map(drop)
    }
}
