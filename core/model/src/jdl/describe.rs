//! What a JDL means: the same as this description.

mod requirements;

use super::{Record, Value, parameters::Parameters};
use crate::{finding::Finding, id::Digest};
use percent_encoding::percent_decode_str;
use serde_json::{Map, json};
use std::collections::BTreeMap;

/// A JDL as a job description, and what is kept beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// The description.
    pub description: serde_json::Value,
    /// `JobGroup`, if it says one. It may hold parameters, as texts of the description do.
    pub job_group: Option<String>,
    /// `InputData`: logical file names, which may hold parameters.
    pub input_data: Vec<String>,
    /// Files of the input sandbox that lie beside the JDL.
    pub local_files: Vec<String>,
}

/// Where parameters are put in.
const FILLED: [&str; 9] = [
    "Executable",
    "Arguments",
    "JobName",
    "JobGroup",
    "StdOutput",
    "StdError",
    "OutputSandbox",
    "InputData",
    "ExecutionEnvironment",
];
/// Where they are not.
const PLAIN: [&str; 8] =
    ["JobType", "InputSandbox", "Site", "BannedSites", "GridCE", "Platform", "Tags", "Tag"];

/// Says what a JDL means. `job_types` are those that the VO has handlers for, `max_jobs` is how many one
/// may stand for.
pub fn describe(
    jdl: &Record,
    job_types: &[&str],
    max_jobs: u32,
) -> Result<Described, Vec<Finding>> {
    let parameters = Parameters::read(jdl, max_jobs).map_err(|finding| vec![finding])?;
    let mut reading = Reading { jdl, parameters, findings: Vec::new() };
    let described = reading.describe(job_types);
    if reading.findings.is_empty() { Ok(described) } else { Err(reading.findings) }
}

struct Reading<'a> {
    jdl: &'a Record,
    parameters: Parameters,
    findings: Vec<Finding>,
}

impl Reading<'_> {
    fn wrong(&mut self, field: &str, value: impl ToString, message: impl Into<String>) {
        self.findings.push(Finding::new(field, value, message));
    }

    fn text(&self, name: &str) -> Option<String> {
        let text = self.jdl.get(name)?.to_string();
        (!text.is_empty()).then_some(text)
    }

    fn number(&mut self, name: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let value = self.jdl.get(name)?.clone();
        let number = match &value {
            Value::Integer(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        let good = number.filter(|number| range.contains(number));
        if good.is_none() {
            let message =
                format!("must be a whole number from {} to {}", range.start(), range.end());
            self.wrong(name, value, message);
        }
        good
    }

    fn describe(&mut self, job_types: &[&str]) -> Described {
        let mut description = Map::new();
        let mut put =
            |name: &str, value: serde_json::Value| drop(description.insert(name.to_owned(), value));
        put("type", json!(self.job_type(job_types)));
        match self.text("Executable") {
            Some(executable) => put("executable", json!(self.parameters.text(&executable))),
            None => self.wrong("Executable", "", "must be given: the program to run"),
        }
        let arguments = self.text("Arguments").unwrap_or_default();
        match shlex::split(&arguments) {
            Some(words) => {
                let words: Vec<String> = words.iter().map(|w| self.parameters.text(w)).collect();
                put("arguments", json!(words));
            }
            None => self.wrong("Arguments", &arguments, "has a quote that does not end"),
        }
        // A job's number is not known yet when it is named.
        let name = self.text("JobName").unwrap_or_else(|| "Unknown".to_owned());
        put("name", json!(self.nameless(&name)));
        let streams = ["StdOutput", "StdError"].map(|name| self.text(name));
        let [stdout, stderr] = streams.map(|s| s.map(|s| self.parameters.text(&s)));
        let stdout = stdout.unwrap_or_else(|| "std.out".to_owned());
        let stderr = stderr.unwrap_or_else(|| "std.err".to_owned());
        let kept =
            self.jdl.list("OutputSandbox").into_iter().map(|file| self.parameters.text(&file));
        // Streams are always kept.
        let kept: Vec<String> = kept.filter(|file| *file != stdout && *file != stderr).collect();
        put("stdout", json!(stdout));
        put("stderr", json!(stderr));
        put("output_sandbox", json!(kept));
        // DIRAC's jobs do not fail for what they did not make.
        put("optional_outputs", json!(true));
        let (sandboxes, local_files) = self.input_sandbox();
        put("input_sandboxes", json!(sandboxes));
        let environment = self.environment();
        if !environment.is_empty() {
            put("environment", json!(environment));
        }
        if let Some(priority) =
            self.number("Priority", 0..=10).or(self.number("UserPriority", 0..=10))
        {
            put("priority", json!(priority));
        }
        put("requirements", self.requirements());
        if let Some(parameters) = self.parameters.to_json() {
            put("parameters", parameters);
        }
        for field in PLAIN {
            let text = self.jdl.list(field).join(",");
            // A job's number is not put in, and no mistake.
            let others = text.replace("%j", "");
            if self.parameters.text(&others) != others.replace('%', "%%") {
                let message = format!(
                    "holds a parameter, which cannot be put in here; where they can: {}",
                    FILLED.join(", ")
                );
                self.wrong(field, text, message);
            }
        }
        let output_data = self.jdl.list("OutputData").join(", ");
        if !output_data.is_empty() {
            let message = "is not uploaded by this server's pilots: leave it out, and let the payload upload it (with BEARER_TOKEN_FILE or X509_USER_PROXY where the VO gives one), or name it in OutputSandbox";
            self.wrong("OutputData", output_data, message);
        }
        let job_group = self.text("JobGroup").map(|group| self.nameless(&group));
        let input_data = self.jdl.list("InputData");
        let lfn = |lfn: &String| self.nameless(lfn.trim_start_matches("LFN:"));
        let input_data = input_data.iter().map(lfn).collect();
        let description = serde_json::Value::Object(description);
        Described { description, job_group, input_data, local_files }
    }

    /// A text of a job whose number is not known yet.
    fn nameless(&self, text: &str) -> String {
        self.parameters.text(text).replace("%j", "%%j")
    }

    /// `ExecutionEnvironment`: `NAME=VALUE` with values as in a URL, several of them in a list or behind semicolons.
    fn environment(&mut self) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::new();
        let items = match self.jdl.get("ExecutionEnvironment") {
            None => Vec::new(),
            Some(Value::List(items)) => items.iter().map(ToString::to_string).collect(),
            // Values may hold commas.
            Some(one) => vec![one.to_string()],
        };
        for item in items {
            for variable in item.split(';').map(str::trim).filter(|variable| !variable.is_empty()) {
                match variable.split_once('=') {
                    Some((name, value)) if !name.trim().is_empty() => {
                        environment.insert(name.trim().to_owned(), self.of_url(value));
                    }
                    _ => self.wrong("ExecutionEnvironment", variable, "must be NAME=VALUE"),
                }
            }
        }
        environment
    }

    /// A value as in a URL, where `%25` is a percent sign that begins no parameter.
    fn of_url(&self, value: &str) -> String {
        const PERCENT: &str = "\u{fdd0}";
        let value = value.replace("%25", PERCENT);
        let decoded = percent_decode_str(&value).decode_utf8_lossy();
        self.parameters.text(&decoded).replace(PERCENT, "%%")
    }

    fn job_type(&mut self, job_types: &[&str]) -> String {
        let default = if job_types.contains(&"User") { "User" } else { "executable" };
        let wanted = self.text("JobType").unwrap_or_else(|| default.to_owned());
        if !job_types.contains(&wanted.as_str()) {
            let message = format!("is no job type of this VO, which has {}", job_types.join(", "));
            self.wrong("JobType", &wanted, message);
        }
        wanted
    }

    /// Digests of sandboxes that were uploaded, and names of files that still have to be.
    fn input_sandbox(&mut self) -> (Vec<String>, Vec<String>) {
        let (mut digests, mut local) = (Vec::new(), Vec::new());
        for item in self.jdl.list("InputSandbox") {
            if is_local(&item) {
                local.push(item);
            } else if let Some(digest) = sandbox_digest(&item) {
                digests.push(digest.to_string());
            } else if item.starts_with("SB:") {
                self.wrong(
                    "InputSandbox",
                    &item,
                    "names no sandbox of this server: it ends in sha256:DIGEST.tar.zst",
                );
            } else {
                self.wrong("InputSandbox", &item, "is a file of a catalogue, which this server does not stage: let the payload fetch it");
            }
        }
        (digests, local)
    }
}

/// The digest that a sandbox's name ends with: `[SB:SE|]/S3/…/sha256:DIGEST.tar.zst`.
fn sandbox_digest(name: &str) -> Option<Digest> {
    let (path, end) = name.rsplit_once("sha256:")?;
    path.contains('/').then(|| end.split('.').next()?.parse().ok())?
}

/// Whether an item of an input sandbox is a file that lies beside the JDL: nothing that was uploaded,
/// and nothing of a catalogue.
pub fn is_local(item: &str) -> bool {
    !item.starts_with("SB:") && !item.starts_with("LFN:") && sandbox_digest(item).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jdl::parse;

    fn describe(text: &str) -> Result<Described, Vec<Finding>> {
        super::describe(&parse(text).unwrap(), &["User", "Test"], 100)
    }

    #[test]
    fn a_jdl_is_a_description() {
        let digest = "ab".repeat(32);
        let text = format!(
            r#"Executable = "run.sh"; Arguments = "-n %s 'two words' 5%"; JobName = "job_%n"; JobGroup = "g7";
            StdOutput = "out.txt"; OutputSandbox = {{"out.txt", "std.err", "res_%j.dat"}};
            InputSandbox = {{"SB:SandboxSE|/S3/spinor/vo/user/alice/sha256:{digest}.tar.zst"}};
            Parameters = {{"a", "b"}}; CPUTime = 20000; Priority = 3; Site = {{"LCG.CERN.ch", "ANY"}};
            Tags = {{"GPU"}}; MinNumberOfProcessors = 2; MaxNumberOfProcessors = 8; MinRAM = 1000; MaxRAM = 2000;
            InputData = {{"LFN:/vo/a", "/vo/b"}}; Platform = "x86_64-el9"; LogLevel = "DEBUG";"#
        );
        let described = describe(&text).unwrap();
        let expected = json!({
            "type": "User", "executable": "run.sh", "name": "job_%(ParameterNumber)s",
            "arguments": ["-n", "%(Parameter)s", "two words", "5%%"],
            "stdout": "out.txt", "stderr": "std.err", "output_sandbox": ["res_%j.dat"], "optional_outputs": true,
            "input_sandboxes": [digest], "priority": 3,
            "requirements": {
                "wall_time": 2000,
                "cpu": {"work": 20000, "num_cores": {"min": 2, "max": 8}, "ram_mb": {"request": 1000, "limit": 2000}},
                "tags": "GPU", "sites": ["LCG.CERN.ch"], "attributes": {"platform": "x86_64-el9"},
            },
            "parameters": {"Parameter": ["a", "b"], "ParameterNumber": ["0", "1"]},
        });
        assert_eq!(described.description, expected);
        assert_eq!(described.job_group.as_deref(), Some("g7"));
        assert_eq!(described.input_data, ["/vo/a", "/vo/b"]);
    }

    #[test]
    fn what_dirac_means_is_meant_here() {
        let of = |text: &str| describe(&format!("Executable = \"x\"; {text}")).unwrap();
        let asked = |text: &str| of(text).description["requirements"].clone();
        assert_eq!(asked("GridCE = \"ce.cern.ch\";")["ces"], json!(["ce.cern.ch"]));
        assert_eq!(asked("GridCE = \"ANY\";").get("ces"), None);
        assert_eq!(asked("Memory = 4;")["cpu"]["ram_mb"]["request"], 4096);
        assert_eq!(asked("Memory = 4; MinRAM = 600;")["cpu"]["ram_mb"]["request"], 600);
        let tagged = asked("Tags = {\"MultiProcessor\", \"8Processors\", \"GPU\"};");
        assert_eq!(
            (&tagged["cpu"]["num_cores"]["min"], &tagged["tags"]),
            (&json!(8), &json!("GPU"))
        );
        assert_eq!(asked("NumberOfProcessors = 2; Tags = \"MultiProcessor\";").get("tags"), None);
        let variables = r#"ExecutionEnvironment = {"A=b%20c;SEED=%s", "E="}; Parameters = {"1"};"#;
        let environment = json!({"A": "b c", "SEED": "%(Parameter)s", "E": ""});
        assert_eq!(of(variables).description["environment"], environment);
        let literal = of(r#"ExecutionEnvironment = "F=%25Y-%25j%25s,b;G=%j"; Parameters = {"1"};"#);
        let environment = json!({"F": "%%Y-%%j%%s,b", "G": "%j"});
        assert_eq!(literal.description["environment"], environment);
        let most = asked("Tags = \"8Processors\"; MaxNumberOfProcessors = 16;");
        assert_eq!(most["cpu"]["num_cores"], json!({"min": 8, "max": 16}));
        let each = of("Parameters = {\"a\"}; InputData = \"LFN:/vo/%s\"; JobGroup = \"g%n_%j\";");
        assert_eq!(each.input_data, ["/vo/%(Parameter)s"]);
        assert_eq!(each.job_group.as_deref(), Some("g%(ParameterNumber)s_%%j"));
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        let findings = describe(
            "Executable = \"x\"; OutputData = {\"LFN:/vo/out\"}; Parameters = {\"a\"}; BannedSites = \"%s\";
             ExecutionEnvironment = \"A\";",
        );
        let findings = findings.unwrap_err();
        let fields: Vec<&str> = findings.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(fields, ["ExecutionEnvironment", "BannedSites", "OutputData"]);
        let findings =
            describe(r#"Executable = "x"; WholeNode = "maybe"; Tags = {"8Processors", "&|"};"#);
        let findings = findings.unwrap_err();
        let fields: Vec<&str> = findings.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(fields, ["WholeNode", "Tags"]);
        assert!(describe("Executable = \"x\"; OutputData = {};").is_ok());
    }

    #[test]
    fn mistakes_are_told_together() {
        let text = "CPUTime = \"long\"; Priority = 11; JobType = \"Merge\"; Arguments = \"'a\";
            MinRAM = 5; MaxRAM = 4; InputSandbox = {\"LFN:/vo/x\"};";
        let findings = describe(text).unwrap_err();
        let fields: Vec<&str> = findings.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(
            fields,
            ["JobType", "Executable", "Arguments", "InputSandbox", "Priority", "CPUTime", "MaxRAM"]
        );
        assert!(findings[0].message.contains("User, Test"), "{findings:?}");
    }
}
