//! DiracX's routes: its clients work here unmodified. Paths, codes, headers and the shape of answers are
//! theirs; where their server errs, this one does right, and `docs/reference/diracx.md` says so.

mod auth;
mod config;
mod jdl;
mod jobs;
mod pilots;
mod query;
mod reschedule;
mod rss;
mod sandboxes;
mod search;
mod status;
mod well_known;

use crate::{Guarded, Shared};
use utoipa_axum::router::OpenApiRouter;

pub use jdl::InsertedJob;

pub(crate) fn routes(guarded: &Guarded) -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(well_known::routes())
        .merge(auth::routes(guarded))
        .merge(config::routes(guarded))
        .merge(jdl::routes(guarded))
        .merge(search::routes(guarded))
        .merge(status::routes(guarded))
        .merge(reschedule::routes(guarded))
        .merge(jobs::routes(guarded))
        .merge(sandboxes::routes(guarded))
        .merge(pilots::routes(guarded))
        .merge(rss::routes(guarded))
}
