//! The vocabulary of Spinor. Every other room speaks it; this one does no I/O.
//!
//! | module | what it says |
//! |---|---|
//! | [`id`] | names and numbers that must not be confused |
//! | [`time`] | instants, and clocks that tests can set |
//! | [`state`] | the states of a job and of a pilot, and every legal move between them |
//! | [`requirement`], [`tags`] | what a job asks for |
//! | [`offer`] | what a pilot's slot offers |
//! | [`image`] | container images that payloads run in |
//! | [`finding`] | what is wrong with a document |
//! | [`fit`] | whether the one suits the other, and if not, why |
//! | [`plan`] | what a pilot runs, and how an attempt ended |
//! | [`protocol`] | what a pilot and the server say to each other |
//! | [`usage`] | what an attempt used |
//! | [`policy`] | what a VO decides for itself: the traits that plugins implement |
//! | [`registry`] | a VO as one document |

pub mod finding;
pub mod fit;
pub mod id;
pub mod image;
pub mod jdl;
pub mod offer;
pub mod plan;
pub mod policy;
pub mod protocol;
pub mod registry;
pub mod requirement;
pub mod sandbox;
pub mod state;
pub mod tags;
pub mod time;
pub mod usage;

pub use semver::Version;
