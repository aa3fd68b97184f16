//! Job-type handlers.

use crate::{Error, Plugin};
use std::marker::PhantomData;

/// What `wit-bindgen` makes of the contract.
#[allow(missing_docs, unsafe_code, clippy::all)]
pub mod bindings {
    wit_bindgen::generate!({
        inline: "package spinor:sdk-handling; world handling-hook {
            export spinor:handling/admission@0.1.0;
            export spinor:handling/planning@0.1.0;
            export spinor:handling/conclusion@0.1.0;
        }",
        path: ["../../wit/host", "../../wit/handling"],
        pub_export_macro: true,
        export_macro_name: "export_handling",
        default_bindings_module: "spinor_sdk::handling::bindings",
        with: { "spinor:host/types@0.1.0": crate::base::bindings::spinor::host::types },
        generate_all,
        additional_derives: [PartialEq],
    });
}

pub use admission::{Admitted, ParameterColumn, Rejection, Submission};
use bindings::exports::spinor::handling::{admission, conclusion, planning};
pub use conclusion::{Attempt, Ending, Retry, Verdict};
pub use planning::Plan;

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a job of a type means. Pure: nothing but the arguments may matter.
pub trait Handler: Plugin {
    /// Validates, normalises and expands a description.
    fn admit(settings: &Self::Settings, submission: Submission) -> Result<Admitted, Rejection>;
    /// Parameters of the jobs from `offset` on, at most `limit`.
    fn page(
        settings: &Self::Settings,
        template: &str,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<ParameterColumn>, Error>;
    /// What the pilot must run.
    fn plan(settings: &Self::Settings, template: &str) -> Result<Plan, Error>;
    /// Judges an ended attempt.
    fn conclude(
        settings: &Self::Settings,
        template: &str,
        attempt: &Attempt,
    ) -> Result<Verdict, Error>;
}

/// Puts a [`Handler`] behind the contract.
pub struct Adapter<P>(PhantomData<P>);

impl<P: Handler> admission::Guest for Adapter<P> {
    fn admit(settings: String, submission: Submission) -> Result<Admitted, Rejection> {
        let settings = crate::parse::<P>(&settings).map_err(Rejection::from)?;
        P::admit(&settings, submission)
    }

    fn page(
        settings: String,
        template: String,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<ParameterColumn>, Error> {
        P::page(&crate::parse::<P>(&settings)?, &template, offset, limit)
    }
}

impl<P: Handler> planning::Guest for Adapter<P> {
    fn prepare(settings: String, template: String) -> Result<Plan, Error> {
        P::plan(&crate::parse::<P>(&settings)?, &template)
    }
}

impl<P: Handler> conclusion::Guest for Adapter<P> {
    fn conclude(settings: String, template: String, attempt: Attempt) -> Result<Verdict, Error> {
        P::conclude(&crate::parse::<P>(&settings)?, &template, &attempt)
    }
}

/// Exports a [`Handler`] as the component of this crate.
#[macro_export]
macro_rules! export_handler {
    ($handler:ty) => {
        $crate::export_plugin!($handler, handling, export_handling);
    };
}
