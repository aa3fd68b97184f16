//! The contracts against their last release: the same version is the same contract, and a patch takes
//! whatever was built against the release before.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use wit_parser::{PackageId, Resolve};

const PACKAGES: [&str; 6] = ["host", "matching", "computing", "handling", "accounting", "spool"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn parsed(folder: &Path, package: &str) -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let (host, _) = resolve.push_dir(folder.join("host")).unwrap();
    match package {
        "host" => (resolve, host),
        other => {
            let (package, _) = resolve.push_dir(folder.join(other)).unwrap();
            (resolve, package)
        }
    }
}

/// A contract without comments and blank space.
fn bare(folder: &Path, package: &str) -> String {
    let file = folder.join(package).join(format!("{package}.wit"));
    let text = std::fs::read_to_string(file).unwrap();
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// What is wrong with a contract, against its last release.
fn breaks(released: &Path, now: &Path, package: &str) -> Result<(), String> {
    let ((mut before, old), (after, new)) = (parsed(released, package), parsed(now, package));
    let version = |resolve: &Resolve, id| resolve.packages[id].name.version.clone().unwrap();
    let (old_version, new_version) = (version(&before, old), version(&after, new));
    if old_version == new_version {
        let same = bare(released, package) == bare(now, package);
        return same.then_some(()).ok_or("changed without another version".to_owned());
    }
    if (old_version.major, old_version.minor) != (new_version.major, new_version.minor) {
        // While 0.x, a break is a minor.
        return Ok(());
    }
    let worlds: Vec<_> = before.packages[old].worlds.clone().into_iter().collect();
    let remap = before.merge(after).map_err(|error| error.to_string())?;
    let new = remap.packages[new.index()];
    for (name, prev) in worlds {
        let world = before.packages[new].worlds.get(&name).copied();
        let world = world.ok_or(format!("has no world {name} any more"))?;
        wit_component::semver_check(before.clone(), prev, world)
            .map_err(|error| format!("world {name}: {error:#}"))?;
    }
    Ok(())
}

#[test]
fn every_contract_is_compatible_with_its_last_release() {
    for package in PACKAGES {
        let checked = breaks(&root().join("tests/wit"), &root().join("wit"), package);
        assert_eq!(checked, Ok(()), "spinor:{package}");
    }
}

#[test]
fn a_change_is_found_out() {
    let changed = |package: &str, change: &dyn Fn(String) -> String| {
        let folder = tempfile::tempdir().unwrap();
        for name in PACKAGES {
            let file = root().join("wit").join(name).join(format!("{name}.wit"));
            let text = std::fs::read_to_string(file).unwrap();
            let text = if name == package { change(text) } else { text };
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join(format!("{name}.wit")), text).unwrap();
        }
        breaks(&root().join("wit"), folder.path(), package)
    };
    let silent = |text: String| text.replace("cores: u32,", "cores: u64,");
    assert!(changed("matching", &silent).unwrap_err().contains("without another version"));
    let patch = |text: String| {
        silent(text).replace("package spinor:matching@0.1.0", "package spinor:matching@0.1.1")
    };
    assert!(changed("matching", &patch).is_err(), "a patch that breaks");
    let minor = |text: String| {
        silent(text).replace("package spinor:matching@0.1.0", "package spinor:matching@0.2.0")
    };
    assert_eq!(changed("matching", &minor), Ok(()), "a minor may break while 0.x");
}
