use super::*;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

fn endpoint(host_key: &str) -> io::Result<SshCapability> {
    let grant = format!(
        r#"cluster = {{ host = "login.example.org", user = "vo", host_key = "{host_key}", key = "id",
            directory = "/shared/vo", programs.squeue = {{ program = ["env", "A=b c", "squeue"], arguments = ['-[hj]', '\d+'] }} }}"#
    );
    SshCapability::new(&toml::from_str(&grant.replace('\n', " ")).unwrap(), Path::new("/none"))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn only_named_accounts_programs_arguments_and_paths() {
    let capability = endpoint(KEY).unwrap();
    assert!(capability.endpoint("other").is_err());
    let cluster = capability.endpoint("cluster").unwrap();
    let line = cluster.check(&words(&["squeue", "-h", "-j", "17"])).unwrap();
    assert_eq!(line, "env 'A=b c' squeue -h -j 17");
    for command in [vec![], vec!["scancel", "17"], vec!["squeue", "17; rm -r ."]] {
        assert!(matches!(cluster.check(&words(&command)), Err(CommandError::Denied(_))));
    }
    assert!(cluster.within("/shared/vo/p1.sh").is_ok());
    for path in ["/shared/vo/../x", "/shared/vox", "/etc/passwd", "p1.sh"] {
        assert!(matches!(cluster.within(path), Err(CommandError::Denied(_))), "{path}");
    }
}

#[test]
fn a_host_key_that_is_none_is_told_when_it_is_granted() {
    let error = endpoint("SHA256:abc").unwrap_err().to_string();
    assert!(error.contains("host_key `SHA256:abc` is no public key"), "{error}");
}
