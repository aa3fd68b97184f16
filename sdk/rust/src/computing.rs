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

/// Exports a [`Backend`] as the component of this crate.
#[macro_export]
macro_rules! export_backend {
    ($backend:ty) => {
        $crate::export_plugin!($backend, computing, export_computing);
    };
}
