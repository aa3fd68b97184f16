//! Settings: read, described, checked.

use crate::{Error, Finding, Plugin};

/// Reads settings that the server has checked against the schema.
pub fn parse<P: Plugin>(settings: &str) -> Result<P::Settings, Error> {
    serde_json::from_str(settings).map_err(|error| Error::Settings(error.to_string()))
}

/// The JSON Schema of a plugin's settings, with its golden cases.
pub fn schema<P: Plugin>() -> String {
    let mut schema = schemars::schema_for!(P::Settings);
    match serde_json::from_str::<serde_json::Value>(P::golden()) {
        Ok(serde_json::Value::Array(cases)) if cases.is_empty() => {}
        Ok(cases) => drop(schema.insert("x-spinor-golden".to_owned(), cases)),
        // The server says what it cannot read.
        Err(error) => drop(schema.insert("x-spinor-golden".to_owned(), error.to_string().into())),
    }
    serde_json::to_string(&schema).unwrap_or_else(|_| "true".to_owned())
}

/// What is wrong with settings, as the plugin sees it.
pub fn validate<P: Plugin>(settings: &str) -> Vec<Finding> {
    match parse::<P>(settings) {
        Ok(settings) => P::check(&settings),
        Err(error) => vec![Finding {
            field: String::new(),
            value: settings.chars().take(200).collect(),
            message: format!("{error:?}"),
        }],
    }
}
