use super::*;

fn submission(description: &str) -> Submission {
    Submission {
        description: description.to_owned(),
        vo: "aurora".to_owned(),
        group: "aurora_user".to_owned(),
        owner: "alice".to_owned(),
        max_jobs: 100,
    }
}

fn admit(description: &str) -> Result<Admitted, Rejection> {
    Executable::admit(&Settings::default(), submission(description))
}

fn refused_at(description: &str) -> String {
    match admit(description) {
        Err(Rejection::Findings(findings)) => findings[0].field.clone(),
        other => panic!("{other:?}"),
    }
}

const SCAN: &str = r#"{"executable": "python3", "arguments": ["pi.py", "%(seed)s"],
    "output_sandbox": ["*.json"],
    "parameters": {"seed": {"start": 10, "step": 5, "count": 3}, "label": ["a", "b", 3]}}"#;

#[test]
fn a_scan_stands_for_many_jobs() {
    let admitted = admit(SCAN).unwrap();
    assert_eq!((admitted.jobs, admitted.parameters.join(" ")), (3, "label seed".to_owned()));
    let page = Executable::page(&Settings::default(), &admitted.template, 1, 10).unwrap();
    assert_eq!(page[0].values, ["b", "3"]);
    assert_eq!(page[1].values, ["15", "20"]);
    let plan = Executable::plan(&Settings::default(), &admitted.template).unwrap();
    assert_eq!(plan.command, ["python3", "pi.py", "%(seed)s"]);
}

#[test]
fn mistakes_are_named() {
    assert_eq!(refused_at("{"), "");
    assert_eq!(refused_at("{}"), "");
    assert_eq!(refused_at(r#"{"executable": "x", "excutable": 1}"#), "/excutable");
    assert_eq!(refused_at(r#"{"executable": "x", "arguments": [1]}"#), "/arguments/0");
    assert_eq!(refused_at(r#"{"executable": ""}"#), "/executable");
    assert_eq!(refused_at(r#"{"executable": "x", "priority": 11}"#), "/priority");
    assert_eq!(refused_at(r#"{"executable": "x", "stdout": "../x"}"#), "/stdout");
    assert_eq!(
        refused_at(r#"{"executable": "x", "output_sandbox": ["a", "../b"]}"#),
        "/output_sandbox/1"
    );
    let parameters =
        |text: &str| refused_at(&format!(r#"{{"executable": "x", "parameters": {text}}}"#));
    assert_eq!(parameters(r#"{"a": {"count": 101}}"#), "/parameters/a");
    assert_eq!(parameters(r#"{"a": []}"#), "/parameters/a");
    assert_eq!(parameters(r#"{"a": [[1]]}"#), "/parameters/a");
    assert_eq!(parameters(r#"{"a": {"start": 9223372036854775807, "count": 2}}"#), "/parameters/a");
    assert_eq!(parameters(r#"{"a": [1], "b": [1, 2]}"#), "/parameters");
}

#[test]
fn endings_are_judged() {
    let template = admit(r#"{"executable": "x", "retry_exit_codes": [75]}"#).unwrap().template;
    let settings = Settings { retry_exit_codes: vec![9], retry_delay_seconds: 4 };
    let judge = |ending, missing: &[&str]| {
        let attempt = Attempt {
            number: 1,
            limit: 3,
            ending,
            site: "NORTH".to_owned(),
            missing_outputs: missing.iter().map(|m| (*m).to_owned()).collect(),
            stderr_tail: String::new(),
        };
        Executable::conclude(&settings, &template, &attempt).unwrap()
    };
    assert_eq!(judge(Ending::Exited(0), &[]), Verdict::Done);
    assert_eq!(judge(Ending::Exited(0), &["a"]), Verdict::Failed("No output a".to_owned()));
    assert_eq!(judge(Ending::Exited(1), &[]), Verdict::Failed("Exit code 1".to_owned()));
    for code in [9, 75] {
        assert!(
            matches!(judge(Ending::Exited(code), &[]), Verdict::Retry(r) if r.delay_seconds == 4)
        );
    }
    assert!(matches!(judge(Ending::WallTime(5), &[]), Verdict::Failed(_)));
    assert!(matches!(judge(Ending::Lost("gone".to_owned()), &[]), Verdict::Retry(_)));
}
