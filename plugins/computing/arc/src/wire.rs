//! What comes from A-REX. It makes its JSON from XML: of several things one alone is no list, numbers are
//! texts, and an empty list is no text at all.

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, json};
use spinor_sdk::computing::{PilotState, Room, http::Response};

/// One, several or none.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Some_<T> {
    Several(Vec<T>),
    One(T),
}

fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(input: D) -> Result<Vec<T>, D::Error> {
    Ok(match Option::<Some_<T>>::deserialize(input)? {
        Some(Some_::Several(several)) => several,
        Some(Some_::One(one)) => vec![one],
        None => Vec::new(),
    })
}

fn number<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u32>, D::Error> {
    Ok(match Value::deserialize(input)? {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        _ => None,
    })
}

/// A document, or an empty text for one that is not known.
fn document<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Document>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(input)?).ok())
}

/// Why an answer is none. ARC says in a line of HTTP or in a body why not.
pub fn refusal(response: &Response) -> String {
    let said: String = String::from_utf8_lossy(&response.body).trim().chars().take(200).collect();
    let hint = match response.status {
        // Whoever ARC does not know gets this.
        500 if said.is_empty() || said.contains("can't be assigned") => {
            ": does ARC know this certificate or token, its issuer and audience?"
        }
        401 | 403 => ": does ARC take this certificate or token here?",
        _ => "",
    };
    format!("HTTP {}: {said}{hint}", response.status)
}

/// The ids in a request.
pub fn ids(ids: &[String]) -> Vec<u8> {
    let jobs: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
    json!({"job": jobs}).to_string().into_bytes()
}

/// An answer about jobs.
pub struct Jobs<T>(pub Vec<T>);

impl<T: DeserializeOwned> Jobs<T> {
    /// Reads it, or says why it is none.
    pub fn read(response: &Response) -> Result<Self, String> {
        match response.status {
            200..=299 => Self::parse(&response.body),
            _ => Err(refusal(response)),
        }
    }

    fn parse(body: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(bound = "T: DeserializeOwned")]
        struct Body<T> {
            #[serde(default = "Vec::new", deserialize_with = "list")]
            job: Vec<T>,
        }
        if body.trim_ascii().is_empty() {
            return Ok(Self(Vec::new()));
        }
        let read: Body<T> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        Ok(Self(read.job))
    }
}

/// The ids of all jobs of ours.
pub fn listing(body: &[u8]) -> Result<Vec<String>, String> {
    #[derive(Deserialize)]
    struct Listed {
        id: String,
    }
    Ok(Jobs::<Listed>::parse(body)?.0.into_iter().map(|job| job.id).collect())
}

/// What was done about a job.
#[derive(Debug, Deserialize)]
pub struct Created {
    #[serde(rename = "status-code", deserialize_with = "number")]
    status: Option<u32>,
    /// ARC's words.
    #[serde(default)]
    pub reason: String,
    /// The job.
    #[serde(default)]
    pub id: Option<String>,
}

impl Created {
    /// Whether it was done.
    pub fn is_good(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether there is no such job.
    pub fn is_unknown(&self) -> bool {
        self.status == Some(404)
    }
}

/// What ARC knows of a job.
#[derive(Debug, Deserialize)]
pub struct Info {
    /// Which.
    pub id: String,
    #[serde(default)]
    reason: String,
    #[serde(default, deserialize_with = "document")]
    info_document: Option<Document>,
}

#[derive(Debug, Deserialize)]
struct Document {
    #[serde(rename = "ComputingActivity")]
    activity: Activity,
}

/// GLUE2's ComputingActivity, so far as it is of use.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Activity {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, deserialize_with = "list")]
    state: Vec<String>,
    #[serde(default, deserialize_with = "list")]
    error: Vec<String>,
    #[serde(default, deserialize_with = "number")]
    exit_code: Option<u32>,
}

impl Activity {
    /// A-REX's own word of its state.
    fn word(&self) -> &str {
        self.state.iter().find_map(|word| word.strip_prefix("arcrest:")).unwrap_or_default()
    }
}

impl Info {
    /// The job's name.
    pub fn name(&self) -> Option<String> {
        self.info_document.as_ref()?.activity.name.clone()
    }

    /// Its state.
    pub fn state(&self) -> PilotState {
        let Some(Document { activity }) = &self.info_document else {
            return PilotState::Unknown(self.reason.clone());
        };
        state(activity.word(), &activity.error.join("; "), activity.exit_code)
    }

    /// Whether it is so young that files of it may not be there yet.
    pub fn may_lack_files(&self) -> bool {
        let word = self.info_document.as_ref().map(|document| document.activity.word());
        matches!(word, Some("ACCEPTING" | "ACCEPTED" | "PREPARING"))
    }
}

/// A word of A-REX's as a pilot's state. All words of the REST interface's description, and those that
/// it uses besides.
fn state(word: &str, error: &str, exit_code: Option<u32>) -> PilotState {
    let told = || match error {
        "" => word.to_owned(),
        error => format!("{word}: {error}"),
    };
    match word {
        "ACCEPTING" | "ACCEPTED" | "PREPARING" | "PREPARED" | "SUBMITTING" | "QUEUING" => {
            PilotState::Waiting
        }
        "RUNNING" | "EXITINGLRMS" | "OTHER" | "HELD" | "EXECUTED" | "FINISHING" | "KILLING" => {
            PilotState::Running
        }
        "FINISHED" => match exit_code.unwrap_or(0) {
            0 => PilotState::Done,
            code => PilotState::Failed(format!("exit code {code}")),
        },
        "FAILED" => match exit_code {
            Some(code) if code != 0 => PilotState::Failed(format!("exit code {code}; {}", told())),
            _ => PilotState::Failed(told()),
        },
        "KILLED" | "WIPED" => PilotState::Aborted(told()),
        _ => PilotState::Unknown(told()),
    }
}

/// A queue as the CE describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Share {
    #[serde(default)]
    mapping_queue: Option<String>,
    #[serde(default, deserialize_with = "number")]
    waiting_jobs: Option<u32>,
    /// Those that ARC has not given to the batch system yet.
    #[serde(rename = "PreLRMSWaitingJobs", default, deserialize_with = "number")]
    held_back: Option<u32>,
    #[serde(default, deserialize_with = "number")]
    running_jobs: Option<u32>,
}

impl Share {
    /// Room there. Slots that are free say nothing of how many may wait.
    pub fn room(&self, queue: String) -> Room {
        let waiting = self.waiting_jobs.map(|jobs| jobs + self.held_back.unwrap_or(0));
        Room { queue, free: None, waiting, running: self.running_jobs }
    }

    /// Whether it is about a queue.
    pub fn is_for(&self, queue: &str) -> bool {
        self.mapping_queue.as_deref() == Some(queue)
    }
}

/// The shares in a GLUE2 document, wherever they are in it.
pub fn shares(body: &[u8]) -> Result<Vec<Share>, String> {
    let document: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    collect(&document, &mut found);
    Ok(found)
}

fn collect(value: &Value, found: &mut Vec<Share>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "ComputingShare" => found.extend(list::<Share, _>(value).unwrap_or_default()),
                    _ => collect(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> Response {
        Response { status, headers: Vec::new(), body: body.as_bytes().to_vec(), complete: true }
    }

    #[test]
    fn one_several_and_none_are_read_alike() {
        let count = |body: &str| listing(body.as_bytes()).unwrap().len();
        assert_eq!(count(""), 0);
        assert_eq!(count(r#"{"job":{"id":"a"}}"#), 1);
        assert_eq!(count(r#"{"job":[{"id":"a"},{"id":"b"}]}"#), 2);
        assert_eq!(count("{}"), 0);
        assert!(listing(b"<html>").is_err());
    }

    #[test]
    fn what_became_of_each_description_is_told_apart() {
        let body = r#"{"job":[{"status-code":"201","reason":"Created","id":"a","state":"ACCEPTING"},
            {"status-code":"500","reason":"Requested queue nowhere is not allowed for this user"}]}"#;
        let Jobs(answers) = Jobs::<Created>::read(&response(201, body)).unwrap();
        assert!(answers[0].is_good() && answers[0].id.as_deref() == Some("a"));
        assert!(!answers[1].is_good() && answers[1].reason.contains("queue nowhere"));
        let stranger = Jobs::<Created>::read(&response(500, "")).err().unwrap();
        assert!(stranger.contains("does ARC know this certificate or token"), "{stranger}");
    }

    fn told(activity: &str) -> Info {
        let body = format!(
            r#"{{"job":{{"status-code":"200","reason":"OK","id":"a","info_document":{{"ComputingActivity":{activity}}}}}}}"#
        );
        Jobs::<Info>::read(&response(201, &body)).unwrap().0.remove(0)
    }

    fn info(activity: &str) -> PilotState {
        told(activity).state()
    }

    #[test]
    fn only_a_job_that_is_being_prepared_may_lack_its_script() {
        let may = |word: &str| told(&format!(r#"{{"State":"arcrest:{word}"}}"#)).may_lack_files();
        assert!(may("ACCEPTING") && may("PREPARING"));
        assert!(!may("RUNNING") && !may("FINISHED"));
    }

    #[test]
    fn ends_have_their_reasons_and_unknown_words_are_kept() {
        let failed = r#"{"State":["nordugrid:FAILED::INLRMS","arcrest:FAILED"],"ExitCode":"3",
            "Error":"LRMS error: (3) Job finished with wrong exit code - 3 != 0"}"#;
        let PilotState::Failed(why) = info(failed) else { panic!() };
        assert!(why.starts_with("exit code 3; FAILED: LRMS error"), "{why}");
        let killed = r#"{"State":["arcrest:KILLED"],"Error":["Job is canceled","twice"]}"#;
        assert_eq!(info(killed), PilotState::Aborted("KILLED: Job is canceled; twice".to_owned()));
        assert_eq!(info(r#"{"State":"arcrest:FINISHED","ExitCode":"0"}"#), PilotState::Done);
        assert_eq!(info(r#"{"State":"arcrest:QUEUING"}"#), PilotState::Waiting);
        assert_eq!(info(r#"{"State":"arcrest:NEW"}"#), PilotState::Unknown("NEW".to_owned()));
        let gone =
            r#"{"job":{"status-code":"404","reason":"Job not found","id":"a","info_document":""}}"#;
        let gone = &Jobs::<Info>::read(&response(201, gone)).unwrap().0[0];
        assert_eq!(gone.state(), PilotState::Unknown("Job not found".to_owned()));
    }

    #[test]
    fn shares_are_found_wherever_they_are() {
        let body = r#"{"Domains":{"AdminDomain":{"Services":{"ComputingService":{"ComputingShare":[
            {"MappingQueue":"short","WaitingJobs":"2","PreLRMSWaitingJobs":"3","RunningJobs":"0"},
            {"MappingQueue":"long"}]}}}}}"#;
        let shares: [Share; 2] = shares(body.as_bytes()).unwrap().try_into().ok().unwrap();
        assert!(shares[0].is_for("short") && !shares[1].is_for("short"));
        let rooms = shares.map(|share| share.room("q".to_owned()));
        assert_eq!((rooms[0].waiting, rooms[0].running), (Some(5), Some(0)));
        assert_eq!((rooms[1].waiting, rooms[1].running), (None, None));
    }
}
