//! DiracX's search language, asked of the server and of a naive evaluator over the rows that an empty search gives.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use proptest::{prelude::*, sample::select, test_runner::TestRunner};
use serde_json::{Value, json};
use std::{cmp::Ordering, collections::BTreeMap};
use support::{LAB, Server};

/// Moments at the edges of periods.
const MOMENTS: [&str; 8] = [
    "2024-02-29T23:59:59.999Z",
    "2024-03-01T00:00:00.000Z",
    "2024-12-31T23:59:59.999Z",
    "2025-01-01T00:00:00.000Z",
    "2025-01-01T00:59:59.999Z",
    "2025-01-01T01:00:00.000Z",
    "2025-01-01T01:00:00.001Z",
    "2025-01-01T01:01:00.000Z",
];

/// What columns hold: numbers, numbers with a fraction, texts, moments, truth values.
const JOBS: [(&str, &[&str]); 4] = [
    ("number", &["JobID", "UserPriority", "RescheduleCounter"]),
    (
        "text",
        &["JobName", "JobGroup", "Site", "Status", "MinorStatus", "ApplicationStatus", "Owner"],
    ),
    ("time", &["StartExecTime", "EndExecTime", "HeartBeatTime", "SubmissionTime"]),
    ("flag", &["VerifiedFlag"]),
];
const PILOTS: [(&str, &[&str]); 5] = [
    ("number", &["PilotID", "CurrentJobID"]),
    ("real", &["BenchMark"]),
    ("text", &["PilotStamp", "DestinationSite", "Queue", "GridType", "Status", "StatusReason"]),
    ("time", &["SubmissionTime", "LastUpdateTime"]),
    ("flag", &["AccountingSent"]),
];

struct Table<'a> {
    server: &'a Server,
    token: &'a str,
    path: &'static str,
    key: &'static str,
    columns: &'static [(&'static str, &'static [&'static str])],
}

impl Table<'_> {
    fn kind(&self, column: &str) -> &'static str {
        self.columns.iter().find(|(_, names)| names.contains(&column)).unwrap().0
    }

    /// Rows, and how many there are in all.
    fn ask(&self, body: &Value, page: usize, per_page: usize) -> (Vec<Value>, usize) {
        let path = format!("/api/{}/search?page={page}&per_page={per_page}", self.path);
        let answer = self.server.answer("", "POST", &path, Some(self.token), &body.to_string());
        let (status, text) = support::parted(&answer);
        assert!([200, 206, 416].contains(&status), "{body}: {text}");
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
        let range = answer.lines().find_map(|line| line.strip_prefix("content-range: "));
        let total = range.map(|range| range.rsplit_once('/').unwrap().1.parse().unwrap());
        (rows.clone(), total.unwrap_or(rows.len()))
    }

    fn holds(&self, row: &Value, spec: &Value) -> bool {
        let (column, operator) = (text(&spec["parameter"]), text(&spec["operator"]));
        let found = &row[&column];
        if found.is_null() {
            return false;
        }
        let kind = self.kind(&column);
        let compared = |value: &Value| compare(kind, found, value);
        let among = || spec["values"].as_array().unwrap().iter().any(|v| compared(v).is_eq());
        let value = &spec["value"];
        match operator.as_str() {
            "eq" => compared(value).is_eq(),
            "neq" => compared(value).is_ne(),
            "gt" => compared(value).is_gt(),
            "lt" => compared(value).is_lt(),
            "in" => among(),
            "not in" => !among(),
            "like" => like(text(found).as_bytes(), text(value).as_bytes()),
            "not like" => !like(text(found).as_bytes(), text(value).as_bytes()),
            "regex" => matches(text(value).as_bytes(), text(found).as_bytes()),
            other => panic!("{other}"),
        }
    }

    fn before(&self, a: &Value, b: &Value, sort: &[(&str, bool)]) -> Ordering {
        let by = |(column, descending): &(&str, bool)| {
            let (a, b) = (&a[column], &b[column]);
            let order = match (a.is_null(), b.is_null()) {
                (false, false) => compare(self.kind(column), a, b),
                // What is not there yet comes first.
                (a, b) => b.cmp(&a),
            };
            if *descending { order.reverse() } else { order }
        };
        sort.iter().map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Holds one search against the evaluator.
    fn check(&self, asked: &Asked) -> Result<(), TestCaseError> {
        let Asked { specs, sort, page, per_page } = asked;
        let by = sort.iter().map(|(column, descending)| {
            json!({"parameter": column, "direction": if *descending { "desc" } else { "asc" }})
        });
        let body = json!({"search": specs, "sort": by.collect::<Vec<_>>()});
        let (mut naive, _) = self.ask(&json!({}), 1, 1_000);
        naive.retain(|row| specs.iter().all(|spec| self.holds(row, spec)));
        let order: Vec<_> = sort.iter().copied().chain([(self.key, false)]).collect();
        naive.sort_by(|a, b| self.before(a, b, &order));
        let wanted: Vec<_> =
            naive.iter().skip((page - 1) * per_page).take(*per_page).cloned().collect();
        let (found, total) = self.ask(&body, *page, *per_page);
        let keys =
            |rows: &[Value]| rows.iter().map(|row| row[self.key].clone()).collect::<Vec<_>>();
        prop_assert_eq!(keys(&found), keys(&wanted), "{}", body);
        prop_assert_eq!(&found, &wanted);
        prop_assert_eq!(total, naive.len(), "{}", body);

        let mut by_status: BTreeMap<String, usize> = BTreeMap::new();
        naive.iter().for_each(|row| *by_status.entry(text(&row["Status"])).or_default() += 1);
        let counts: Vec<Value> =
            by_status.iter().map(|(status, n)| json!({"Status": status, "count": n})).collect();
        let grouped = json!({"search": specs, "grouping": ["Status"]}).to_string();
        let path = format!("/api/{}/summary", self.path);
        let (_, answer) = self.server.request("POST", &path, Some(self.token), &grouped);
        prop_assert_eq!(serde_json::from_str::<Value>(&answer).unwrap(), json!(counts));

        let different = json!({"search": specs, "parameters": ["Status"], "distinct": true});
        let statuses: Vec<Value> =
            by_status.keys().map(|status| json!({"Status": status})).collect();
        prop_assert_eq!(self.ask(&different, 1, 1_000), (statuses.clone(), statuses.len()));
        Ok(())
    }

    fn run(&self) {
        let (rows, _) = self.ask(&json!({}), 1, 1_000);
        let specs = prop::collection::vec(self.spec(&rows), 0..4);
        let columns: Vec<_> =
            self.columns.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let sort = prop::collection::vec((select(columns), any::<bool>()), 0..3);
        let asked = (specs, sort, 1..4usize, prop_oneof![1..8usize, Just(100)]);
        let asked = asked.prop_map(|(specs, mut sort, page, per_page)| {
            let mut seen = Vec::new();
            sort.retain(|(column, _)| {
                let first = !seen.contains(column);
                seen.push(*column);
                first
            });
            Asked { specs, sort, page, per_page }
        });
        let mut runner =
            TestRunner::new(ProptestConfig { cases: 400, ..ProptestConfig::default() });
        runner.run(&asked, |asked| self.check(&asked)).unwrap();
    }

    /// A condition, mostly with values that are there.
    fn spec(&self, rows: &[Value]) -> BoxedStrategy<Value> {
        let one = |column: &'static str| {
            let there: Vec<Value> = rows.iter().map(|row| row[column].clone()).collect();
            let there: Vec<Value> = there.into_iter().filter(|value| !value.is_null()).collect();
            spec(column, self.kind(column), there)
        };
        let columns = self.columns.iter().flat_map(|(_, names)| names.iter().copied());
        proptest::strategy::Union::new(columns.map(one)).boxed()
    }
}

#[derive(Debug)]
struct Asked {
    specs: Vec<Value>,
    sort: Vec<(&'static str, bool)>,
    page: usize,
    per_page: usize,
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What a row has, with what was asked for.
fn compare(kind: &str, found: &Value, asked: &Value) -> Ordering {
    let (found, asked) = (text(found), text(asked));
    match kind {
        "number" => found.parse::<i64>().unwrap().cmp(&asked.parse().unwrap()),
        "real" => found.parse::<f64>().unwrap().total_cmp(&asked.parse().unwrap()),
        "flag" => (found == "true").cmp(&matches!(asked.to_lowercase().as_str(), "true" | "1")),
        // A part of a date is a period: of a moment counts as much as is said.
        "time" => found[..asked.len().min(found.len())].cmp(&asked.replace(' ', "T")),
        _ => found.as_bytes().cmp(asked.as_bytes()),
    }
}

/// `%` is any text, `_` any character, and case does not matter.
fn like(text: &[u8], pattern: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'%', rest)) => (0..=text.len()).any(|skip| like(&text[skip..], rest)),
        Some((b'_', rest)) => !text.is_empty() && like(&text[1..], rest),
        Some((c, rest)) => {
            text.first().is_some_and(|t| t.eq_ignore_ascii_case(c)) && like(&text[1..], rest)
        }
    }
}

/// Regular expressions of characters, `.`, `*`, `^` and `$`, anywhere in a text.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        Some((b'^', rest)) => here(rest, text),
        _ => (0..=text.len()).any(|start| here(pattern, &text[start..])),
    }
}

fn here(pattern: &[u8], text: &[u8]) -> bool {
    let fits = |c: u8| text.first().is_some_and(|t| c == b'.' || c == *t);
    match pattern {
        [] => true,
        [b'$'] => text.is_empty(),
        [c, b'*', rest @ ..] => here(rest, text) || (fits(*c) && here(pattern, &text[1..])),
        [c, rest @ ..] => fits(*c) && here(rest, &text[1..]),
    }
}

fn spec(column: &'static str, kind: &'static str, there: Vec<Value>) -> BoxedStrategy<Value> {
    let single = move |operator: &'static str| move |value: Value| json!({"parameter": column, "operator": operator, "value": value});
    let operators = || select(vec!["eq", "neq", "gt", "lt"]);
    let compared = (operators(), value(kind, there.clone()))
        .prop_map(move |(operator, value)| single(operator)(value));
    let listed = (select(vec!["in", "not in"]), list(kind, there))
        .prop_map(move |(o, values)| json!({"parameter": column, "operator": o, "values": values}));
    if kind != "text" {
        return prop_oneof![compared, listed].boxed();
    }
    let alike = (select(vec!["like", "not like"]), "[aAbBrR%_]{0,4}")
        .prop_map(move |(operator, text)| single(operator)(text.into()));
    let regex = "\\^?([abBr.]\\*?){0,3}\\$?".prop_map(move |text| single("regex")(text.into()));
    prop_oneof![compared, listed, alike, regex].boxed()
}

fn value(kind: &'static str, there: Vec<Value>) -> BoxedStrategy<Value> {
    let own = match there.is_empty() {
        true => Just(json!(MOMENTS[0])).boxed(),
        false => select(there).boxed(),
    };
    let own = match kind {
        "time" => {
            (own, select(vec![4, 7, 10, 13, 16, 19, 24])).prop_map(|(v, n)| cut(&v, n)).boxed()
        }
        _ => own,
    };
    let other: BoxedStrategy<Value> = match kind {
        "number" => (0..9i64).prop_map(Value::from).boxed(),
        "real" => (-2..9i32).prop_map(|n| json!(f64::from(n) / 2.0)).boxed(),
        "time" => (select(MOMENTS.to_vec()), select(vec![4, 7, 10, 13, 16, 19, 24]))
            .prop_map(|(moment, length)| cut(&json!(moment), length))
            .boxed(),
        "flag" => select(vec![json!(true), json!("False"), json!("1"), json!(0)]).boxed(),
        _ => "[aAbB_%.]{0,3}".prop_map(Value::from).boxed(),
    };
    // Command lines send texts for everything.
    (prop_oneof![own, other], any::<bool>())
        .prop_map(|(value, quoted)| if quoted { text(&value).into() } else { value })
        .boxed()
}

fn cut(moment: &Value, length: usize) -> Value {
    let said = text(moment)[..length].to_owned();
    // A blank is as good as a T.
    if length % 2 == 1 { said.replace('T', " ").into() } else { said.into() }
}

fn list(kind: &'static str, there: Vec<Value>) -> BoxedStrategy<Vec<Value>> {
    let values = prop::collection::vec(value(kind, there), 0..60);
    if kind != "time" {
        return values.boxed();
    }
    // Dates of a list are equally exact.
    values
        .prop_map(|dates| {
            let length = dates.iter().map(|date| text(date).len()).min().unwrap_or(0);
            dates.iter().map(|date| text(date)[..length].into()).collect()
        })
        .boxed()
}

fn told(server: &Server, token: &str, method: &str, path: &str, body: &Value) -> Value {
    let (status, text) = server.request(method, path, Some(token), &body.to_string());
    assert!((200..300).contains(&status), "{path}: {text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// A VO whose jobs run elsewhere: some have begun, some have ended.
fn with_jobs() -> (Server, String) {
    let server = Server::start();
    server.apply(&LAB.replace("max_pilots = 1", "max_pilots = 0")).unwrap();
    let (ada, operator) = (server.member("lab_user", "ada"), server.operator());
    let grace = server.member("lab_user", "grace");
    for n in 0..32 {
        let name = ["a", "A", "aB", "b_", "%", "bar", "r.b", ""][n % 8];
        let group = ["a", "b", "ab", "B"][n / 8];
        let jdl = format!(
            "Executable = \"true\"; JobName = \"{name}\"; JobGroup = \"{group}\"; Priority = {}; {}",
            n % 5,
            if n % 3 == 0 { "Site = \"HERE\";" } else { "" }
        );
        let token = if n % 2 == 0 { &ada } else { &grace };
        let job = told(&server, token, "POST", "/api/jobs/jdl", &json!([jdl]))[0]["JobID"].clone();
        let mut reports = serde_json::Map::new();
        if n % 4 > 0 {
            let running = json!({"Status": "Running", "ApplicationStatus": name});
            reports.insert(MOMENTS[n % 7].to_owned(), running);
        }
        if n % 4 > 1 {
            let done =
                json!({"Status": if n % 4 == 2 { "Done" } else { "Failed" }, "MinorStatus": group});
            reports.insert(MOMENTS[n % 7 + 1].to_owned(), done);
        }
        if !reports.is_empty() {
            let body = json!({ job.to_string(): reports });
            told(&server, &operator, "PATCH", "/api/jobs/status?force=true", &body);
        }
    }
    (server, ada)
}

#[test]
fn jobs_are_found_as_a_naive_evaluator_finds_them() {
    let (server, token) = with_jobs();
    let table =
        Table { server: &server, token: &token, path: "jobs", key: "JobID", columns: &JOBS };
    let (rows, _) = table.ask(&json!({}), 1, 1_000);
    let of = |column: &str| rows.iter().filter(|row| !row[column].is_null()).count();
    assert_eq!((rows.len(), of("StartExecTime"), of("EndExecTime")), (32, 24, 16), "{rows:?}");
    assert!(rows.iter().any(|row| row["StartExecTime"] == MOMENTS[1]));
    table.run();
}

#[test]
fn pilots_are_found_as_a_naive_evaluator_finds_them() {
    let server = Server::start();
    server.apply(&LAB.replace("max_pilots = 1", "max_pilots = 0")).unwrap();
    let operator = server.operator();
    for n in 0..24 {
        let stamp = format!("{}{n}", ["a", "B", "ab"][n % 3]);
        let (site, status) = [("A", "Submitted"), ("a", "Running"), ("b", "Done")][n % 3];
        let pilot = json!({"pilot_stamp": stamp, "vo": "lab", "destination_site": site,
            "pilot_status": status});
        told(&server, &operator, "POST", "/api/pilots/", &pilot);
        let change = json!({"BenchMark": (n % 5) as f64 / 2.0, "AccountingSent": n % 2 == 0, "Queue": "bar",
            "CurrentJobID": n % 4});
        if n % 4 > 0 {
            told(&server, &operator, "PATCH", "/api/pilots/metadata", &json!({ stamp: change }));
        }
    }
    let token = server.member("lab_user", "ada");
    let table =
        Table { server: &server, token: &token, path: "pilots", key: "PilotID", columns: &PILOTS };
    assert_eq!(table.ask(&json!({}), 1, 1_000).0.len(), 24);
    table.run();
}
