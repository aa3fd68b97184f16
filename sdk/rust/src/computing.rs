//! CE backends.

use crate::{Error, Plugin};
use std::marker::PhantomData;

/// What `wit-bindgen` makes of the contract.
#[allow(missing_docs, unsafe_code, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        inline: "package spinor:sdk-computing; world computing-hook {
            import spinor:host/clock@0.1.0;
            import spinor:host/random@0.1.0;
            import spinor:host/http@0.1.0;
            import spinor:host/secret@0.1.0;
            import spinor:host/process@0.1.0;
            import spinor:host/command@0.1.0;
            import spinor:host/ssh@0.1.0;
            export spinor:computing/backend@0.1.0;
        }",
        path: ["../../wit/host", "../../wit/computing"],
        pub_export_macro: true,
        export_macro_name: "export_computing",
        default_bindings_module: "spinor_sdk::computing::bindings",
        with: { "spinor:host/types@0.1.0": crate::base::bindings::spinor::host::types },
        generate_all,
        additional_derives: [PartialEq],
    });
}

use bindings::exports::spinor::computing::backend as wit;
pub use bindings::spinor::host::{clock, command, http, process, random, secret, ssh};
pub use wit::{OutputStream, Pilot, PilotState, Room, Submission};

/// What a pilot is to get of something that not every queue has, by its attribute's name; 0 if nothing.
fn amount(pilot: &Pilot, name: &str) -> u64 {
    let attribute = pilot.attributes.iter().find(|attribute| attribute.name == name);
    attribute.and_then(|attribute| attribute.value.parse().ok()).unwrap_or(0)
}

/// GPUs that a pilot is to get.
pub fn gpus(pilot: &Pilot) -> u64 {
    amount(pilot, "gpus")
}

/// Scratch space that a pilot is to get, in MiB.
pub fn scratch_mib(pilot: &Pilot) -> u64 {
    amount(pilot, "scratch-mib")
}

/// Brings pilots to a CE. Every answer is per item, in the order asked.
pub trait Backend: Plugin {
    /// Room in these queues.
    fn capacity(settings: &Self::Settings, queues: Vec<String>) -> Result<Vec<Room>, Error>;
    /// Submits pilots.
    fn submit(settings: &Self::Settings, pilots: Vec<Pilot>) -> Result<Vec<Submission>, Error>;
    /// References of stamps that reached the CE.
    fn find(settings: &Self::Settings, stamps: Vec<String>) -> Result<Vec<Option<String>>, Error>;
    /// States.
    fn status(settings: &Self::Settings, references: Vec<String>)
    -> Result<Vec<PilotState>, Error>;
    /// Ends a pilot.
    fn cancel(settings: &Self::Settings, reference: String) -> Result<(), Error>;
    /// Part of what a pilot wrote.
    fn output(
        settings: &Self::Settings,
        reference: String,
        stream: OutputStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, Error>;
    /// Frees what the CE keeps of an ended pilot.
    fn clean(settings: &Self::Settings, reference: String) -> Result<(), Error>;
}

/// What `wit-bindgen` makes of the contract that not every backend meets.
#[allow(missing_docs, unsafe_code, clippy::all)]
pub mod spool_bindings {
    wit_bindgen::generate!({
        inline: "package spinor:sdk-spool; world spool-hook {
            export spinor:spool/files@0.1.0;
        }",
        path: ["../../wit/host", "../../wit/spool"],
        pub_export_macro: true,
        export_macro_name: "export_spool",
        default_bindings_module: "spinor_sdk::computing::spool_bindings",
        with: { "spinor:host/types@0.1.0": crate::base::bindings::spinor::host::types },
        generate_all,
        additional_derives: [PartialEq],
    });
}

use spool_bindings::exports::spinor::spool::files as wit_spool;
pub use wit_spool::{File, Listed};

/// Carries files to pilots and from them while they run. A backend that has a way to do so implements
/// this too, and is exported by `export_backend!(Plugin, spool)`.
pub trait Spool: Backend {
    /// Files whose names end in `.request` or `.response`, of any pilot, and those for all pilots.
    fn list(settings: &Self::Settings) -> Result<Vec<Listed>, Error>;
    /// Part of a file; less than `max` bytes where it ends.
    fn read(settings: &Self::Settings, file: File, offset: u64, max: u32)
    -> Result<Vec<u8>, Error>;
    /// Writes part of a file; at offset 0 it is made, or made anew.
    fn write(
        settings: &Self::Settings,
        file: File,
        offset: u64,
        content: Vec<u8>,
    ) -> Result<(), Error>;
    /// Takes a file away; one that is not there is no error.
    fn remove(settings: &Self::Settings, file: File) -> Result<(), Error>;
}

impl<P: Spool> wit_spool::Guest for Adapter<P> {
    fn list(settings: String) -> Result<Vec<Listed>, Error> {
        P::list(&crate::parse::<P>(&settings)?)
    }

    fn read(settings: String, file: File, offset: u64, max: u32) -> Result<Vec<u8>, Error> {
        P::read(&crate::parse::<P>(&settings)?, file, offset, max)
    }

    fn write(settings: String, file: File, offset: u64, content: Vec<u8>) -> Result<(), Error> {
        P::write(&crate::parse::<P>(&settings)?, file, offset, content)
    }

    fn remove(settings: String, file: File) -> Result<(), Error> {
        P::remove(&crate::parse::<P>(&settings)?, file)
    }
}

/// Puts a [`Backend`] behind the contract.
pub struct Adapter<P>(PhantomData<P>);

fn each(references: Vec<String>, act: impl Fn(String) -> Result<(), Error>) -> Vec<Option<Error>> {
    references.into_iter().map(|r| act(r).err()).collect()
}

impl<P: Backend> wit::Guest for Adapter<P> {
    fn capacity(settings: String, queues: Vec<String>) -> Result<Vec<Room>, Error> {
        P::capacity(&crate::parse::<P>(&settings)?, queues)
    }

    fn submit(settings: String, pilots: Vec<Pilot>) -> Result<Vec<Submission>, Error> {
        P::submit(&crate::parse::<P>(&settings)?, pilots)
    }

    fn find(settings: String, stamps: Vec<String>) -> Result<Vec<Option<String>>, Error> {
        P::find(&crate::parse::<P>(&settings)?, stamps)
    }

    fn status(settings: String, references: Vec<String>) -> Result<Vec<PilotState>, Error> {
        P::status(&crate::parse::<P>(&settings)?, references)
    }

    fn cancel(settings: String, references: Vec<String>) -> Result<Vec<Option<Error>>, Error> {
        let settings = crate::parse::<P>(&settings)?;
        Ok(each(references, |reference| P::cancel(&settings, reference)))
    }

    fn output(
        settings: String,
        reference: String,
        wanted: OutputStream,
        offset: u64,
        max: u32,
    ) -> Result<Vec<u8>, Error> {
        P::output(&crate::parse::<P>(&settings)?, reference, wanted, offset, max)
    }

    fn clean(settings: String, references: Vec<String>) -> Result<Vec<Option<Error>>, Error> {
        let settings = crate::parse::<P>(&settings)?;
        Ok(each(references, |reference| P::clean(&settings, reference)))
    }
}

/// Exports a [`Backend`] as the component of this crate, and if it is one, as a [`Spool`].
#[macro_export]
macro_rules! export_backend {
    ($backend:ty) => {
        $crate::export_plugin!($backend, computing, export_computing);
    };
    ($backend:ty, spool) => {
        $crate::export_backend!($backend);
        #[cfg(target_arch = "wasm32")]
        mod spinor_spool {
            use super::*;
            type Hook = $crate::computing::Adapter<$backend>;
            use $crate::computing::spool_bindings;
            spool_bindings::export_spool!(Hook with_types_in spool_bindings);
        }
    };
}
