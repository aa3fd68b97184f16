//! What a component is and whether it could be run here, in words for whoever wrote it.

use crate::{
    capabilities,
    inspect::{Anatomy, NoPlugin},
};
use semver::Version;
use spinor_model::{id::Digest, registry::Kind};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// How much harm a component could do with what it imports, if it were granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// It computes.
    Low,
    /// It reaches beyond the server, or keeps things.
    Medium,
    /// It starts programs, writes files or acts under others' names.
    High,
}

impl Risk {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// What a component is and whether it could be run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Size in bytes.
    pub size: usize,
    /// Its kind, if it has one.
    pub kind: Option<Kind>,
    /// Each import and what this server says to it.
    pub imports: Vec<String>,
    /// What its imports could do.
    pub risk: Risk,
    /// Why.
    pub reasons: Vec<String>,
    /// Why it cannot be run here; empty if nothing is known against it.
    pub problems: Vec<String>,
}

/// Functions of `spinor:host` by interface, each with the version that it came in.
type Offer = BTreeMap<String, BTreeMap<String, Version>>;

static OFFER: LazyLock<(Version, Offer)> = LazyLock::new(|| {
    let text = include_str!("../../../wit/host/host.wit");
    read_contract(text).unwrap_or_else(|| (Version::new(0, 1, 0), Offer::new()))
});

fn read_contract(text: &str) -> Option<(Version, Offer)> {
    let group = wit_parser::UnresolvedPackageGroup::parse("host.wit", text).ok()?;
    let package = group.main.name.version.clone()?;
    let since = |stability: &wit_parser::Stability| match stability {
        wit_parser::Stability::Stable { since, .. } => since.clone(),
        _ => package.clone(),
    };
    let interfaces = group.main.interfaces.iter().filter_map(|(_, interface)| {
        let functions = interface.functions.iter();
        let functions = functions.map(|(name, f)| (name.clone(), since(&f.stability))).collect();
        Some((interface.name.clone()?, functions))
    });
    let offer = interfaces.collect();
    Some((package, offer))
}

impl Report {
    /// Looks at a component without compiling it.
    pub fn of(bytes: &[u8]) -> Self {
        let mut report = Self {
            digest: Digest::of(bytes),
            size: bytes.len(),
            kind: None,
            imports: Vec::new(),
            risk: Risk::Low,
            reasons: Vec::new(),
            problems: Vec::new(),
        };
        match Anatomy::of(bytes) {
            Ok(anatomy) => report.look_at(&anatomy),
            Err(no_plugin) => report.problem(no_plugin),
        }
        report
    }

    fn problem(&mut self, problem: NoPlugin) {
        self.problems.push(problem.to_string());
    }

    fn look_at(&mut self, anatomy: &Anatomy) {
        match anatomy.kind() {
            Ok(kind) => self.kind = Some(kind),
            Err(no_plugin) => self.problem(no_plugin),
        }
        for import in &anatomy.imports {
            match anatomy.functions.get(import) {
                Some(asked) if asked.is_empty() => self.imports.push(format!("{import}: types")),
                Some(asked) => self.import(import, asked),
                None => self.import(import, &BTreeSet::new()),
            }
        }
        if self.reasons.is_empty() {
            self.reasons.push("it computes and writes log lines, nothing else".to_owned());
        }
    }

    fn import(&mut self, import: &str, asked: &BTreeSet<String>) {
        let (path, version) = import.split_once('@').unwrap_or((import, ""));
        if path.starts_with("wasi:") {
            self.imports.push(format!("{import}: linked inert; nothing behind it"));
            return;
        }
        let (offered, offer) = &*OFFER;
        let interface = path.strip_prefix("spinor:host/");
        let known = interface.and_then(|name| Some((name, offer.get(name)?)));
        let Some((name, functions)) = known else {
            return self.refuse(format!("asks {import}, which this server does not know; it knows spinor:host {offered} and WASI"));
        };
        let track = |v: &Version| (v.major, v.minor);
        let wanted = version.parse::<Version>().ok();
        if wanted.as_ref().is_none_or(|wanted| track(wanted) != track(offered)) {
            return self.refuse(format!(
                "asks spinor:host/{name} {version}; this server offers {offered}"
            ));
        }
        for function in asked {
            if !functions.contains_key(function) {
                self.refuse(format!("asks spinor:host/{name}.{function}, since {version}; this server offers {offered}"));
            }
        }
        self.grade(name);
        if !capabilities::OFFERED.contains(&name) {
            return self
                .refuse(format!("asks spinor:host/{name}, which this server does not offer yet"));
        }
        match self.kind.filter(|kind| !capabilities::allowed(*kind).contains(&name)) {
            Some(kind) => self.refuse(format!(
                "asks spinor:host/{name}, which {kind} plugins may not have: they may have {}",
                capabilities::allowed(kind).join(", ")
            )),
            None if name == "log" => self.imports.push(format!("{import}: offered to everyone")),
            None => self.imports.push(format!("{import}: offered, if granted")),
        }
    }

    fn refuse(&mut self, words: String) {
        self.imports.push(words.clone());
        self.problems.push(words);
    }

    fn grade(&mut self, capability: &str) {
        let (risk, why) = match capability {
            "process" => (Risk::High, "starts pilots on the server's machine"),
            "directory" => (Risk::High, "writes files in a directory of the server"),
            "command" => (Risk::High, "runs programs on the server's machine"),
            "ssh" => (Risk::High, "logs in to other machines"),
            "secret" => (Risk::High, "has secrets put into its requests"),
            "credential" => (Risk::High, "acts with tokens or proxies of others"),
            "http" => (Risk::Medium, "talks to hosts that are granted"),
            "kv" => (Risk::Medium, "keeps data between calls"),
            "clock" | "random" => (Risk::Low, "its answers may vary with time or chance"),
            _ => return,
        };
        self.risk = self.risk.max(risk);
        self.reasons.push(format!("{capability}: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_party_plugins_are_graded_by_what_they_import() {
        let graded: Vec<_> = spinor_bundle::first_party()
            .map(|bytes| {
                let report = Report::of(bytes);
                assert_eq!(report.problems, Vec::<String>::new());
                (report.kind.unwrap(), report.risk)
            })
            .collect();
        assert_eq!(
            graded,
            [
                (Kind::Accounting, Risk::High),
                (Kind::Computing, Risk::Medium),
                (Kind::Computing, Risk::High),
                (Kind::Computing, Risk::High),
                (Kind::Computing, Risk::High),
                (Kind::Computing, Risk::Medium),
                (Kind::Computing, Risk::High),
                (Kind::Handling, Risk::Low),
                (Kind::Supply, Risk::Low),
                (Kind::Matching, Risk::Low),
            ]
        );
    }

    #[test]
    fn says_which_function_is_missing_and_what_is_offered() {
        let mut report = Report::of(b"");
        report.kind = Some(Kind::Accounting);
        let asked = |name: &str| BTreeSet::from([name.to_owned()]);
        report.import("spinor:host/clock@0.1.1", &asked("zone"));
        assert_eq!(
            report.problems.last().unwrap(),
            "asks spinor:host/clock.zone, since 0.1.1; this server offers 0.1.0"
        );
        report.import("spinor:host/log@0.2.0", &asked("write"));
        assert_eq!(
            report.problems.last().unwrap(),
            "asks spinor:host/log 0.2.0; this server offers 0.1.0"
        );
        report.import("spinor:host/clock@0.1.0", &asked("now"));
        assert_eq!(report.imports.last().unwrap(), "spinor:host/clock@0.1.0: offered, if granted");
    }
}
