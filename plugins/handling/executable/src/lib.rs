//! Jobs that are a program with arguments, input and output sandboxes, and parameters: a scan over
//! parameters is one description that stands for many jobs.

mod description;
mod parameters;

use description::Description;
use spinor_sdk::handling::{
    Admitted, Attempt, Ending, Handler, ParameterColumn, Plan, Rejection, Retry, Submission,
    Verdict,
};
use spinor_sdk::{Card, Error, Plugin, plugin_card, schemars};

/// The plugin.
pub struct Executable;

/// Its settings.
#[derive(serde::Deserialize, schemars::JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Exit codes after which a job is tried again, beside its own `retry_exit_codes`.
    retry_exit_codes: Vec<i32>,
    /// Seconds before a job is tried again.
    retry_delay_seconds: u32,
}

impl Plugin for Executable {
    type Settings = Settings;
    const CARD: Card = plugin_card!(
        "handling/executable",
        "a program with arguments, sandboxes and parameters",
        []
    );
}

impl Handler for Executable {
    fn admit(_: &Settings, submission: Submission) -> Result<Admitted, Rejection> {
        let description = Description::parse(&submission.description)?;
        let columns = description.columns(submission.max_jobs)?;
        let jobs = columns.first().map_or(1, |column| column.values.len() as u32);
        let text = |value: &serde_json::Value| value.to_string();
        Ok(Admitted {
            name: description.name.clone(),
            requirement: description.requirements.as_ref().map_or("{}".to_owned(), text),
            priority: description.priority,
            template: description.to_json(),
            input_sandboxes: description.input_sandboxes.clone(),
            jobs,
            parameters: columns.into_iter().map(|column| column.name).collect(),
        })
    }

    fn page(
        _: &Settings,
        template: &str,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<ParameterColumn>, Error> {
        let columns = Description::stored(template)?.columns(u32::MAX).map_err(|_| broken())?;
        let cut = |column: ParameterColumn| ParameterColumn {
            values: column.values.into_iter().skip(offset as usize).take(limit as usize).collect(),
            ..column
        };
        Ok(columns.into_iter().map(cut).collect())
    }

    fn plan(_: &Settings, template: &str) -> Result<Plan, Error> {
        let description = Description::stored(template)?;
        let mut command = vec![description.executable];
        command.extend(description.arguments);
        Ok(Plan {
            command,
            environment: description.environment.into_iter().collect(),
            stdout: description.stdout,
            stderr: description.stderr,
            outputs: description.output_sandbox,
        })
    }

    fn conclude(settings: &Settings, template: &str, attempt: &Attempt) -> Result<Verdict, Error> {
        let description = Description::stored(template)?;
        let own = description.retry_exit_codes;
        let again = |reason: String, avoid_site| {
            let delay_seconds = settings.retry_delay_seconds;
            Verdict::Retry(Retry { reason, delay_seconds, avoid_site })
        };
        Ok(match &attempt.ending {
            Ending::Exited(0)
                if attempt.missing_outputs.is_empty() || description.optional_outputs =>
            {
                Verdict::Done
            }
            Ending::Exited(0) => {
                let missing = attempt.missing_outputs.join(", ");
                Verdict::Failed(format!("No output {missing}"))
            }
            Ending::Exited(code)
                if own.contains(code) || settings.retry_exit_codes.contains(code) =>
            {
                again(format!("Exit code {code}"), false)
            }
            Ending::Exited(code) => Verdict::Failed(format!("Exit code {code}")),
            Ending::Signalled(signal) => Verdict::Failed(format!("Signal {signal}")),
            Ending::WallTime(limit) => {
                Verdict::Failed(format!("Overran its wall time of {limit} s"))
            }
            Ending::Memory(limit) => Verdict::Failed(format!("Overran its memory of {limit} MiB")),
            Ending::NotStarted(why) => Verdict::Failed(format!("Application not found: {why}")),
            Ending::Lost(why) => again(why.clone(), false),
            Ending::Other(why) => again(why.clone(), false),
        })
    }
}

fn broken() -> Error {
    Error::Invalid("the stored template cannot be read back".to_owned())
}

spinor_sdk::export_handler!(Executable);

#[cfg(test)]
mod tests;
