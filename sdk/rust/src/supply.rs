//! Where pilots go.

use crate::{Error, Plugin};
use std::marker::PhantomData;

/// What `wit-bindgen` makes of the contract.
#[allow(missing_docs, unsafe_code, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        inline: "package spinor:sdk-supply; world supply-hook {
            export spinor:matching/supply@0.1.0;
        }",
        path: ["../../wit/host", "../../wit/matching"],
        pub_export_macro: true,
        export_macro_name: "export_supply_hook",
        default_bindings_module: "spinor_sdk::supply::bindings",
        with: { "spinor:host/types@0.1.0": crate::base::bindings::spinor::host::types },
        generate_all,
        additional_derives: [PartialEq],
    });
}

use bindings::exports::spinor::matching::supply as wit;
pub use bindings::spinor::matching::types::Offer;
pub use wit::Queue;

/// Where pilots go, of all queues that could have them. Pure: nothing but the arguments may matter.
pub trait Supply: Plugin {
    /// How many pilots a queue gets, in proportion to others; 0 sends none there.
    fn weight(settings: &Self::Settings, queue: &Queue, facts: &Facts<'_>) -> f64;
}

/// What the VO's people, or their programs, told the server.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a>(&'a [wit::Fact]);

impl<'a> Facts<'a> {
    /// Those of a call.
    pub fn new(facts: &'a [wit::Fact]) -> Self {
        Self(facts)
    }

    /// The fact of a name about a subject, if it was told and is not too old.
    pub fn get(&self, name: &str, subject: &str) -> Option<f64> {
        let found = self.0.iter().find(|fact| fact.name == name && fact.subject == subject);
        found.map(|fact| fact.value)
    }
}

/// Puts a [`Supply`] behind the contract.
pub struct Adapter<P>(PhantomData<P>);

impl<P: Supply> wit::Guest for Adapter<P> {
    fn prefer(
        settings: String,
        queues: Vec<Queue>,
        facts: Vec<wit::Fact>,
    ) -> Result<Vec<f64>, Error> {
        let settings = crate::parse::<P>(&settings)?;
        let facts = Facts(&facts);
        Ok(queues.iter().map(|queue| P::weight(&settings, queue, &facts)).collect())
    }
}

/// Exports a [`Supply`] as the component of this crate.
#[macro_export]
macro_rules! export_supply {
    ($supply:ty) => {
        $crate::export_plugin!($supply, supply, export_supply_hook);
    };
}
