//! The WASM host: it loads components, checks them, and puts them behind the policy traits of
//! [`spinor_model::policy`].
//!
//! A component goes through [`load`]: looked into ([`inspect`]), compiled ([`compiled`]), tried.
//! What comes out is a [`version::PluginVersion`]. A version together with settings and grants is
//! a binding ([`bound`]); all bindings in force are a [`registry::Snapshot`], swapped as a whole.
//!
//! Nothing that a guest does reaches beyond its store: see [`state`] for what it holds,
//! [`limits`] for what it may use, and [`capabilities`] for what it may touch.

pub mod bindings;
pub mod bound;
mod call;
pub mod capabilities;
pub mod compiled;
pub mod engine;
pub mod inspect;
pub mod limits;
pub mod load;
mod permits;
pub mod registry;
pub mod state;
pub mod version;
mod wasi;
