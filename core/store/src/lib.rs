//! Persistence. The traits say what the server needs to keep; [`sql`] keeps it in SQLite or
//! PostgreSQL.
//!
//! Every method is one transaction: it happens whole or not at all, and when it has returned it is
//! on disk. What a caller may have done wrong is part of the answer; a [`StoreError`] is the
//! store's own trouble.

mod blobs;
mod error;
mod records;
pub mod sql;
mod traits;

pub use blobs::{Blobs, Bucket, BucketSettings, Form, Place};
pub use error::StoreError;
pub use records::*;
pub use traits::{
    AttemptStore, FactStore, IdentityStore, JobStore, NodeStore, PilotStore, PolicyStore,
    RegistryStore, ReportStore, SandboxStore, SearchStore, ServerStore, Store, UsageStore,
};
