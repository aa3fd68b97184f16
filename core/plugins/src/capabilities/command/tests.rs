use super::*;

fn granted(text: &str) -> CommandCapability {
    let credentials = Credentials { source: <_>::default(), vo: "vo".parse().unwrap() };
    CommandCapability::new(&toml::from_str(text).unwrap(), credentials).unwrap()
}

fn asked(program: &str, arguments: &[&str]) -> Invocation {
    Invocation {
        program: program.to_owned(),
        arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
        stdin: Vec::new(),
        files: Vec::new(),
        timeout_ms: 0,
    }
}

async fn run(capability: &CommandCapability, invocation: Invocation) -> Answer<Completion> {
    let program = capability.check(&invocation)?;
    program.run(invocation, Vec::new()).await
}

#[tokio::test]
async fn only_named_programs_with_arguments_of_the_granted_shapes() {
    let capability = granted(
        r#"echo = { program = ["/bin/echo", "first"], arguments = ['--id=\d+', 'plain'] }"#,
    );
    let done = run(&capability, asked("echo", &["--id=7", "plain"])).await.unwrap();
    assert_eq!((done.code, done.stdout.as_slice()), (Some(0), b"first --id=7 plain\n".as_slice()));
    for (program, arguments) in
        [("cat", vec![]), ("echo", vec!["--id=7; ls"]), ("echo", vec!["plain", "x--id=7"])]
    {
        let refused = run(&capability, asked(program, &arguments)).await;
        assert!(matches!(refused, Err(CommandError::Denied(_))), "{program} {arguments:?}");
    }
    let mut outside = asked("echo", &[]);
    outside.files = vec![("../x".to_owned(), Vec::new())];
    assert!(matches!(run(&capability, outside).await, Err(CommandError::Denied(_))));
}

#[tokio::test]
async fn has_its_input_files_and_environment_and_nothing_of_the_servers() {
    let script =
        r#"cat; cat beside; env | grep -vE '^(PATH|PWD|SHLVL|_|HOME|OLDPWD)=' | sort; exit 3"#;
    let grants = format!(
        "sh = {{ program = [\"/bin/sh\", \"-c\", {script:?}], environment = {{ A = \"b\" }} }}"
    );
    let capability = granted(&grants);
    let mut invocation = asked("sh", &[]);
    invocation.stdin = b"in ".to_vec();
    invocation.files = vec![("beside".to_owned(), b"file\n".to_vec())];
    let done = run(&capability, invocation).await.unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!((done.code, text.as_str()), (Some(3), "in file\nA=b\nLANG=C.UTF-8\n"), "{text}");
}

#[tokio::test]
async fn too_much_is_cut_and_too_long_is_ended_with_its_children() {
    let capability = granted(
        r#"
        much = { program = ["/bin/sh", "-c", "head -c 5000 /dev/zero; echo x >&2"], max_kb = 1 }
        long = { program = ["/bin/sh", "-c", "sleep 31.7 & sleep 31.7"], seconds = 1 }
        "#,
    );
    let done = run(&capability, asked("much", &[])).await.unwrap();
    assert_eq!((done.stdout.len(), done.complete), (1024, false));
    assert!(matches!(run(&capability, asked("long", &[])).await, Err(CommandError::TimedOut)));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let left = std::process::Command::new("pgrep").args(["-f", "sleep 31.7"]).output().unwrap();
    assert!(left.stdout.is_empty(), "its child still runs");
}
