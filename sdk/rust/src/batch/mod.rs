//! Batch systems, by their command lines wherever those run, or over HTTP: what a backend that speaks to
//! one needs, without the way there.
//!
//! A plugin gives a [`Shell`]; a dialect ([`slurm`], [`host`]) says what to run and understands what
//! comes back.

pub mod host;
pub mod names;
pub mod script;
mod shells;
pub mod slurm;
pub mod spool;
pub mod web;

pub use shells::{Here, There, run_with_files};

use crate::{
    Error,
    computing::{Pilot, Submission},
};

/// What a program did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote.
    pub stdout: String,
    /// What it complained of, without the space around it.
    pub stderr: String,
}

impl Ran {
    /// Whether it says that it did what it was asked.
    pub fn is_good(&self) -> bool {
        self.code == Some(0)
    }
}

/// Why a program has no outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It was surely not run.
    NotRun(String),
    /// It may have been.
    Unsure(String),
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NotRun(why) => Self::Other(why),
            Trouble::Unsure(why) => Self::Unavailable(why),
        }
    }
}

/// Where the programs of a batch system run.
pub trait Shell {
    /// Runs a program by its granted name.
    fn run(&self, program: &str, arguments: &[&str], stdin: &[u8]) -> Result<Ran, Trouble>;

    /// At most `max` bytes of a file, from `offset` on.
    fn read(&self, path: &str, offset: u64, max: u32) -> Result<Vec<u8>, Error>;

    /// Runs a program that only asks: an answer, or the reason why there is none.
    fn ask(&self, program: &str, arguments: &[&str]) -> Result<String, Error> {
        let ran = self.run(program, arguments, b"")?;
        match ran.is_good() {
            true => Ok(ran.stdout),
            false => Err(Error::Unavailable(format!("{program}: {}", ran.stderr))),
        }
    }
}

/// Submits pilots one after the other. After one that was cut off the others are not tried: a system
/// that does not answer once would be waited for again with each.
pub fn one_by_one(
    pilots: &[Pilot],
    mut submit: impl FnMut(&Pilot) -> Submission,
) -> Vec<Submission> {
    let mut cut_off = None;
    let mut one = |pilot: &Pilot| {
        if let Some(why) = &cut_off {
            return Submission::Refused(format!("not tried, after another's: {why}"));
        }
        let answer = submit(pilot);
        if let Submission::Unknown(why) = &answer {
            cut_off = Some(why.clone());
        }
        answer
    };
    pilots.iter().map(&mut one).collect()
}

/// References or names go into one command line in parts of so many.
pub(crate) const TOGETHER: usize = 200;
