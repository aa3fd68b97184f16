//! Pilots behind SSH: on the login node of a batch system, or on a bare machine.
//!
//! It asks for capability `ssh`; `docs/how-to/reach-a-ce.md` has grants to copy.

use spinor_sdk::batch::{
    There, Trouble,
    host::{Host, Machine},
    slurm::{Cluster, Slurm},
};
use spinor_sdk::computing::{
    Backend, File, Listed, OutputStream, Pilot, PilotState, Room, Spool, Submission,
    command::CommandError, ssh,
};
use spinor_sdk::{Card, Error, Plugin, plugin_card, schemars};

/// The plugin.
pub struct Ssh;

/// What is behind the account.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The grant's name of the account.
    endpoint: String,
    /// What runs pilots there.
    batch: Batch,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Batch {
    /// Slurm, by its command line.
    Slurm(Cluster),
    /// Nothing: they are processes of the account.
    Host(Machine),
}

impl Plugin for Ssh {
    type Settings = Settings;
    const CARD: Card =
        plugin_card!("computing/ssh", "pilots behind SSH, on Slurm or a bare machine", ["ssh"]);
}

/// Calls a method of whichever it is. Both have the same ones.
macro_rules! there {
    ($settings:expr, $on:ident => $call:expr) => {{
        let shell = There { endpoint: &$settings.endpoint };
        let put = |path: &str, text: &str| put(&$settings.endpoint, path, text);
        match &$settings.batch {
            Batch::Slurm(cluster) => {
                let $on = Slurm { shell: &shell, cluster };
                $call
            }
            Batch::Host(machine) => {
                let $on = Host { shell: &shell, machine, put: &put };
                $call
            }
        }
    }};
}

fn put(endpoint: &str, path: &str, text: &str) -> Result<(), Trouble> {
    ssh::put(endpoint, path, text.as_bytes(), 0o600).map_err(|error| match error {
        CommandError::Denied(why) | CommandError::Other(why) => Trouble::NotRun(why),
        CommandError::TimedOut => Trouble::NotRun("bringing the script took too long".to_owned()),
    })
}

impl Backend for Ssh {
    fn capacity(settings: &Settings, queues: Vec<String>) -> Result<Vec<Room>, Error> {
        there!(settings, on => on.capacity(queues))
    }

    fn submit(settings: &Settings, pilots: Vec<Pilot>) -> Result<Vec<Submission>, Error> {
        there!(settings, on => on.submit(&pilots))
    }

    fn find(settings: &Settings, stamps: Vec<String>) -> Result<Vec<Option<String>>, Error> {
        there!(settings, on => on.find(&stamps))
    }

    fn status(settings: &Settings, references: Vec<String>) -> Result<Vec<PilotState>, Error> {
        there!(settings, on => on.status(&references))
    }

    fn cancel(settings: &Settings, reference: String) -> Result<(), Error> {
        there!(settings, on => on.cancel(&reference))
    }

    fn output(
        settings: &Settings,
        reference: String,
        stream: OutputStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, Error> {
        there!(settings, on => on.output(&reference, stream, offset, max))
    }

    fn clean(settings: &Settings, reference: String) -> Result<(), Error> {
        there!(settings, on => on.clean(&reference))
    }
}

impl Spool for Ssh {
    fn list(settings: &Settings) -> Result<Vec<Listed>, Error> {
        there!(settings, on => on.spool().list())
    }

    fn read(settings: &Settings, file: File, offset: u64, max: u32) -> Result<Vec<u8>, Error> {
        there!(settings, on => on.spool().read(&file, offset, max))
    }

    fn write(settings: &Settings, file: File, offset: u64, content: Vec<u8>) -> Result<(), Error> {
        there!(settings, on => on.spool().write(&file, offset, &content))
    }

    fn remove(settings: &Settings, file: File) -> Result<(), Error> {
        there!(settings, on => on.spool().remove(&file))
    }
}

spinor_sdk::export_backend!(Ssh, spool);
