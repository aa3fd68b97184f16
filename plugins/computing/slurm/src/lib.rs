//! Pilots on a Slurm cluster whose programs run on the server's machine.
//!
//! It asks for capability `command` with programs `sbatch`, `squeue`, `sacct`, `scancel`, `scontrol`, `dd`
//! and `rm`, and where workers reach no network `find`; `docs/how-to/reach-a-ce.md` has a grant to copy.

use spinor_sdk::batch::{
    Here,
    slurm::{Cluster, Slurm},
};
use spinor_sdk::computing::{
    Backend, File, Listed, OutputStream, Pilot, PilotState, Room, Spool, Submission,
};
use spinor_sdk::{Card, Error, Plugin, plugin_card};

/// The plugin.
pub struct ByCommand;

impl Plugin for ByCommand {
    type Settings = Cluster;
    const CARD: Card =
        plugin_card!("computing/slurm", "pilots on a Slurm cluster, by sbatch", ["command"]);
}

fn slurm(cluster: &Cluster) -> Slurm<'_, Here> {
    Slurm { shell: &Here, cluster }
}

impl Backend for ByCommand {
    fn capacity(settings: &Cluster, queues: Vec<String>) -> Result<Vec<Room>, Error> {
        slurm(settings).capacity(queues)
    }

    fn submit(settings: &Cluster, pilots: Vec<Pilot>) -> Result<Vec<Submission>, Error> {
        slurm(settings).submit(&pilots)
    }

    fn find(settings: &Cluster, stamps: Vec<String>) -> Result<Vec<Option<String>>, Error> {
        slurm(settings).find(&stamps)
    }

    fn status(settings: &Cluster, references: Vec<String>) -> Result<Vec<PilotState>, Error> {
        slurm(settings).status(&references)
    }

    fn cancel(settings: &Cluster, reference: String) -> Result<(), Error> {
        slurm(settings).cancel(&reference)
    }

    fn output(
        settings: &Cluster,
        reference: String,
        stream: OutputStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, Error> {
        slurm(settings).output(&reference, stream, offset, max)
    }

    fn clean(settings: &Cluster, reference: String) -> Result<(), Error> {
        slurm(settings).clean(&reference)
    }
}

impl Spool for ByCommand {
    fn list(settings: &Cluster) -> Result<Vec<Listed>, Error> {
        slurm(settings).spool().list()
    }

    fn read(settings: &Cluster, file: File, offset: u64, max: u32) -> Result<Vec<u8>, Error> {
        slurm(settings).spool().read(&file, offset, max)
    }

    fn write(settings: &Cluster, file: File, offset: u64, content: Vec<u8>) -> Result<(), Error> {
        slurm(settings).spool().write(&file, offset, &content)
    }

    fn remove(settings: &Cluster, file: File) -> Result<(), Error> {
        slurm(settings).spool().remove(&file)
    }
}

spinor_sdk::export_backend!(ByCommand, spool);
