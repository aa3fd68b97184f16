//! The WASM host: it loads components, checks them, and puts them behind the policy traits of
//! [`spinor_model::policy`].
//!
//! A component goes through [`load`]: looked into ([`inspect`]), compiled ([`compiled`]), tried.
//! What comes out is a [`version::PluginVersion`]. A version together with settings and grants is
//! a binding ([`bound`]); what a VO's document says is made ready ([`making`]), and all bindings in
//! force are a [`snapshot::Snapshot`], swapped as a whole by the [`registry`]. A version that breaks too
//! often rests ([`breaker`]); a candidate is compared with what is there ([`comparison`]).
//!
//! Nothing that a guest does reaches beyond its store: see [`state`] for what it holds,
//! [`limits`] for what it may use, and [`capabilities`] for what it may touch.

pub mod bindings;
pub mod bound;
pub mod breaker;
mod call;
pub mod capabilities;
pub mod comparison;
pub mod compiled;
pub mod compiler;
pub mod engine;
pub mod golden;
pub mod inspect;
pub mod limits;
pub mod load;
pub mod making;
mod permits;
mod policies;
pub mod registry;
pub mod report;
pub mod snapshot;
pub mod state;
pub mod tls;
pub mod version;
mod wasi;
