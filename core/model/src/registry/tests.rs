use super::*;

const GOOD: &str = r#"
    vo = "aurora"
    [groups.aurora_user]
    users = ["alice"]
    [sites.NORTH]
    [ces.north]
    site = "NORTH"
    queues.short = { memory_mb = 1024, wall_time = 3600 }
    [ces.north.backend]
    plugin = "computing/local"
    grants.process = { max = 2 }
    [matching]
    plugin = "matching/standard"
    version = "^0.1"
    settings.prefer = { simulation = ["NORTH"] }
    [handling.executable]
    plugin = "handling/executable"
"#;

#[test]
fn a_document_reads_back_from_its_toml() {
    let document = VoDocument::from_toml(GOOD).unwrap();
    assert_eq!(VoDocument::from_toml(&document.to_toml()).unwrap(), document);
    let paths: Vec<_> = document.bindings().map(|(path, _)| path.to_string()).collect();
    assert_eq!(paths, ["matching", "computing.north", "handling.executable"]);
}

#[test]
fn a_typo_is_an_error_with_its_place() {
    let error = VoDocument::from_toml(&GOOD.replace("memory_mb", "memry_mb")).unwrap_err();
    assert!(error.0[0].field.starts_with("line 8"), "{error}");
    assert!(error.to_string().contains("unknown field `memry_mb`"), "{error}");
}

#[test]
fn a_wrong_reference_names_field_and_value() {
    let error = VoDocument::from_toml(&GOOD.replace("site = \"NORTH\"", "site = \"EAST\""));
    let finding = error.unwrap_err().0.remove(0);
    assert_eq!((&*finding.field, &*finding.value), ("ces.north.site", "EAST"));
    let error = VoDocument::from_toml(&GOOD.replace("\"computing/local\"", "\"matching/x\""));
    assert_eq!(error.unwrap_err().0[0].field, "computing.north.plugin");
}

#[test]
fn a_binding_can_be_taken_away_and_put_back() {
    let mut document = VoDocument::from_toml(GOOD).unwrap();
    let before = document.clone();
    for (path, binding) in before.bindings() {
        document.bind(&path, None).unwrap();
        assert!(document.bindings().all(|(p, _)| p != path));
        document.bind(&path, Some(binding.clone())).unwrap();
    }
    assert_eq!(document, before);
    assert!(document.bind(&"computing.nowhere".parse().unwrap(), None).is_err());
}
