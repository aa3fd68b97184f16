//! HTCondor's programs.

use crate::{
    Settings,
    ad::{ATTRIBUTES, Ad, read},
};
use spinor_sdk::{
    Error,
    batch::{Here, Ran, Shell, Trouble, run_with_files},
};

impl Settings {
    /// Options that lead to the queue.
    fn remote<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        let pool = self.pool.iter().flat_map(|pool| ["-pool", pool]);
        pool.chain(self.schedd.iter().flat_map(move |schedd| [name, schedd])).collect()
    }
}

/// Submits, and sends the files.
pub fn submit(
    settings: &Settings,
    description: String,
    files: Vec<(String, Vec<u8>)>,
) -> Result<Ran, Trouble> {
    let mut arguments = vec!["-terse"];
    match settings.schedd {
        // It spools by itself.
        Some(_) => arguments.extend(settings.remote("-remote")),
        None => arguments.extend(settings.remote("-name").into_iter().chain(["-spool"])),
    }
    arguments.push("-");
    run_with_files("condor_submit", &arguments, description.as_bytes(), files)
}

/// What `condor_q` or `condor_history` says of jobs.
pub fn ads(settings: &Settings, program: &str, which: &[&str]) -> Result<Vec<Ad>, Error> {
    let mut arguments = settings.remote("-name");
    arguments.extend(["-json", "-attributes", ATTRIBUTES]);
    arguments.extend(which);
    let text = Here.ask(program, &arguments)?;
    read(&text).map_err(|error| Error::Unavailable(format!("{program}: {error}")))
}

/// Words of HTCondor's own for trouble on the way to a queue: what comes after them means nothing.
const ON_THE_WAY: [&str; 6] =
    ["SECMAN:", "CEDAR:", "DCSchedd::", "AUTHENTICATE:", "(null)", "Can't find address"];

/// Takes a job out of the queue. One that is not there is out.
pub fn remove(settings: &Settings, job: &str) -> Result<(), Error> {
    let mut arguments = settings.remote("-name");
    arguments.push(job);
    let ran = Here.run("condor_rm", &arguments, b"")?;
    let gone = ["not found", "Couldn't find", "already marked for removal"]
        .iter()
        .any(|words| ran.stderr.contains(words));
    let lost = ON_THE_WAY.iter().any(|words| ran.stderr.contains(words));
    match ran.is_good() || (gone && !lost) {
        true => Ok(()),
        false => Err(Error::Unavailable(format!("condor_rm: {}", ran.stderr))),
    }
}

/// Brings what a job that has ended wrote.
pub fn bring(settings: &Settings, job: &str) -> Result<(), Error> {
    let mut arguments = settings.remote("-name");
    arguments.push(job);
    Here.ask("condor_transfer_data", &arguments).map(drop)
}
