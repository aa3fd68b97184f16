//! What the author of a Spinor plugin adds to a Rust project.
//!
//! Take the feature of your plugin's kind, implement its trait for a type, and export it:
//!
//! ```
//! use spinor_sdk::{Plugin, plugin_card};
//! use spinor_sdk::matching::{Class, Offer, Reads, Rule, Verdict};
//!
//! /// Sends everything to sites whose name begins with a letter of the settings.
//! struct Initials;
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Settings { initials: String }
//!
//! impl Plugin for Initials {
//!     type Settings = Settings;
//!     const CARD: spinor_sdk::Card = plugin_card!("matching/initials", "sites by initial", []);
//! }
//!
//! impl Rule for Initials {
//!     fn reads(_: &Settings) -> Reads { Reads::default() }
//!
//!     fn verdict(settings: &Settings, offer: &Offer, _: &Class<'_>) -> Verdict {
//!         match offer.site.chars().next().is_some_and(|c| settings.initials.contains(c)) {
//!             true => Verdict::Accept(0),
//!             false => Verdict::reject(format!("site {} has the wrong initial", offer.site)),
//!         }
//!     }
//! }
//! spinor_sdk::export_rule!(Initials);
//! ```
//!
//! Build it with `cargo build --release --target wasm32-wasip2`: what comes out is the component.
//! A panic is a trap; its message reaches the VO's people through the server's log.

#[cfg(feature = "accounting")]
pub mod accounting;
pub mod base;
#[cfg(feature = "computing")]
pub mod batch;
#[cfg(feature = "computing")]
pub mod computing;
#[cfg(feature = "handling")]
pub mod handling;
#[cfg(feature = "matching")]
pub mod matching;
mod settings;
#[cfg(feature = "supply")]
pub mod supply;

pub use schemars;
pub use serde;
pub use settings::{parse, schema, validate};

/// A plugin's name card.
#[derive(Debug, Clone, Copy)]
pub struct Card {
    /// `kind/name`.
    pub name: &'static str,
    /// Semantic version.
    pub version: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// SPDX licence expression.
    pub license: &'static str,
    /// Capabilities it imports, beside `log`.
    pub capabilities: &'static [&'static str],
}

/// A [`Card`] with the version and the licence of the crate that uses it.
#[macro_export]
macro_rules! plugin_card {
    ($name:literal, $summary:literal, [$($capability:literal),*]) => {
        $crate::Card {
            name: $name,
            version: env!("CARGO_PKG_VERSION"),
            summary: $summary,
            license: env!("CARGO_PKG_LICENSE"),
            capabilities: &[$($capability),*],
        }
    };
}

/// What every plugin has, whatever its kind.
pub trait Plugin {
    /// Its settings; their JSON Schema travels inside the component.
    type Settings: serde::de::DeserializeOwned + schemars::JsonSchema;

    /// Who it is.
    const CARD: Card;

    /// Golden cases as JSON: what the plugin says that it does. They travel inside the component, and the
    /// server checks them before it takes it. `docs/reference/golden-cases.md` has their form.
    fn golden() -> &'static str {
        "[]"
    }

    /// What the schema cannot say. Nothing wrong, by default.
    fn check(_settings: &Self::Settings) -> Vec<Finding> {
        Vec::new()
    }
}

pub use base::bindings::spinor::host::log;
pub use base::bindings::spinor::host::types::{Error, Finding};

/// Exports the type as a component of the kind whose bindings are named.
#[doc(hidden)]
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty, $kind:ident, $export:ident) => {
        #[cfg(target_arch = "wasm32")]
        mod spinor_component {
            use super::*;
            type Base = $crate::base::Adapter<$plugin>;
            $crate::base::bindings::export_base!(Base with_types_in $crate::base::bindings);
            type Hook = $crate::$kind::Adapter<$plugin>;
            $crate::$kind::bindings::$export!(Hook with_types_in $crate::$kind::bindings);
        }
    };
}
