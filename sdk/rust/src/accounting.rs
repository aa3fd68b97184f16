//! Accounting sinks.

use crate::{Error, Plugin};
use std::marker::PhantomData;

/// What `wit-bindgen` makes of the contract.
#[allow(missing_docs, unsafe_code, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        inline: "package spinor:sdk-accounting; world accounting-hook {
            import spinor:host/clock@0.1.0;
            import spinor:host/random@0.1.0;
            import spinor:host/http@0.1.0;
            import spinor:host/secret@0.1.0;
            import spinor:host/directory@0.1.0;
            export spinor:accounting/sink@0.1.0;
        }",
        path: ["../../wit/host", "../../wit/accounting"],
        pub_export_macro: true,
        export_macro_name: "export_accounting",
        default_bindings_module: "spinor_sdk::accounting::bindings",
        with: { "spinor:host/types@0.1.0": crate::base::bindings::spinor::host::types },
        generate_all,
        additional_derives: [PartialEq],
    });
}

use bindings::exports::spinor::accounting::sink as wit;
pub use bindings::spinor::host::{clock, directory, http, random, secret};
pub use wit::{Ack, UsageRecord};

/// Takes usage records. A record it has seen is a success.
pub trait Sink: Plugin {
    /// One ack a record, in order.
    fn deliver(settings: &Self::Settings, records: Vec<UsageRecord>) -> Result<Vec<Ack>, Error>;
}

/// Puts a [`Sink`] behind the contract.
pub struct Adapter<P>(PhantomData<P>);

impl<P: Sink> wit::Guest for Adapter<P> {
    fn deliver(settings: String, records: Vec<UsageRecord>) -> Result<Vec<Ack>, Error> {
        P::deliver(&crate::parse::<P>(&settings)?, records)
    }
}

/// Exports a [`Sink`] as the component of this crate.
#[macro_export]
macro_rules! export_sink {
    ($sink:ty) => {
        $crate::export_plugin!($sink, accounting, export_accounting);
    };
}
