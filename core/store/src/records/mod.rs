//! What goes into the store and comes out.

mod attempts;
mod facts;
mod identity;
mod jobs;
mod nodes;
mod pilots;
mod policies;
mod registry;
mod reports;
mod search;
mod servers;
mod submission;
mod usage;

pub use attempts::*;
pub use facts::*;
pub use identity::*;
pub use jobs::*;
pub use nodes::*;
pub use pilots::*;
pub use policies::*;
pub use registry::*;
pub use reports::*;
pub use search::*;
pub use servers::*;
pub use spinor_model::protocol::Beat;
pub use submission::*;
pub use usage::*;
