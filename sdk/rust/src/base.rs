//! What every plugin exports, whatever its kind: its name card and its settings.

use crate::Plugin;
use std::marker::PhantomData;

/// What `wit-bindgen` makes of the contract.
#[allow(missing_docs, unsafe_code, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        inline: "package spinor:sdk-base; world base {
            import spinor:host/log@0.1.0;
            export spinor:host/plugin@0.1.0;
            export spinor:host/settings@0.1.0;
        }",
        path: ["../../wit/host"],
        pub_export_macro: true,
        export_macro_name: "export_base",
        default_bindings_module: "spinor_sdk::base::bindings",
        generate_all,
        generate_unused_types: true,
        additional_derives: [PartialEq],
    });
}

use bindings::exports::spinor::host::{plugin, settings};

/// Puts a [`Plugin`] behind the contract.
pub struct Adapter<P>(PhantomData<P>);

impl<P: Plugin> plugin::Guest for Adapter<P> {
    fn info() -> plugin::Card {
        let card = P::CARD;
        plugin::Card {
            name: card.name.to_owned(),
            version: card.version.to_owned(),
            summary: card.summary.to_owned(),
            license: card.license.to_owned(),
            capabilities: card.capabilities.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

impl<P: Plugin> settings::Guest for Adapter<P> {
    fn schema() -> String {
        crate::schema::<P>()
    }

    fn validate(settings: String) -> Vec<settings::Finding> {
        crate::validate::<P>(&settings)
    }
}
