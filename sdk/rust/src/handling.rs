//! Job-type handlers.

use crate::{Error, Finding, Plugin};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};
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

/// Reads a description as a type of the plugin's own. What does not fit is named by its place.
///
/// ```
/// use spinor_sdk::handling::{Rejection, read};
///
/// #[derive(Debug, serde::Deserialize)]
/// struct Simulation { events: Vec<u32> }
///
/// let Err(Rejection::Findings(wrong)) = read::<Simulation>(r#"{"events": [100, "many"]}"#) else { panic!() };
/// assert_eq!((wrong[0].field.as_str(), wrong[0].value.as_str()), ("/events/1", "\"many\""));
/// ```
pub fn read<T: DeserializeOwned>(description: &str) -> Result<T, Rejection> {
    let wrong = |field: String, value: String, message: String| {
        let value = value.chars().take(200).collect();
        Rejection::Findings(vec![Finding { field, value, message }])
    };
    let json: Value = serde_json::from_str(description)
        .map_err(|error| wrong(String::new(), description.to_owned(), error.to_string()))?;
    serde_path_to_error::deserialize(&json).map_err(|error| {
        let field = pointer(error.path());
        let value = json.pointer(&field).unwrap_or(&json).to_string();
        wrong(field, value, error.inner().to_string())
    })
}

/// A JSON pointer.
fn pointer(path: &Path) -> String {
    let segment = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key: name } | Segment::Enum { variant: name } => {
            format!("/{}", name.replace('~', "~0").replace('/', "~1"))
        }
        Segment::Unknown => String::new(),
    };
    path.iter().map(segment).collect()
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
