//! What a component really imports and exports, read from its bytes before anything is compiled.

use spinor_model::registry::Kind;
use std::collections::{BTreeMap, BTreeSet};
use wasmparser::{Parser, Payload, WasmFeatures, component_types::ComponentEntityType};

/// Versions of the interface of rules that are hosted, the oldest first. A component exports one.
pub const RULES: &[&str] = &[
    "spinor:matching/rule@0.1",
    #[cfg(test)]
    "spinor:matching/rule@0.2",
];

/// The interface of what steers pilots, which has a kind of its own.
const STEERING: &str = "spinor:matching/supply@";

/// A component as it shows itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anatomy {
    /// Names of imported interfaces, e.g. `spinor:host/log@0.1.0`.
    pub imports: BTreeSet<String>,
    /// Functions that are asked of each: of some, only types.
    pub functions: BTreeMap<String, BTreeSet<String>>,
    /// Names of exported interfaces.
    pub exports: BTreeSet<String>,
}

/// Bytes that are no plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlugin {
    /// Not WebAssembly at all.
    #[error("is not a WebAssembly component: {0}")]
    NotWasm(String),
    /// A core module.
    #[error(
        "is a core WebAssembly module, not a component: build it for wasm32-wasip2, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Compiled code of some engine.
    #[error("is precompiled code: only the component itself is taken, the server compiles it")]
    Precompiled,
    /// It exports nothing we know.
    #[error("exports no interface of a policy kind; it exports {0}")]
    NoKind(String),
    /// It exports hooks of more than one kind.
    #[error("exports interfaces of several kinds ({0}): make it one component a kind")]
    ManyKinds(String),
    /// It lacks an interface.
    #[error("does not export {0}, which every {1} plugin must")]
    Lacks(&'static str, Kind),
    /// It imports something nobody offers.
    #[error("imports {0}, which {1}")]
    Import(String, String),
}

impl Anatomy {
    /// Looks into a component.
    pub fn of(bytes: &[u8]) -> Result<Self, NoPlugin> {
        if wasmtime::Engine::detect_precompiled(bytes).is_some() {
            return Err(NoPlugin::Precompiled);
        }
        if Parser::is_core_wasm(bytes) {
            return Err(NoPlugin::CoreModule);
        }
        if !Parser::is_component(bytes) {
            if bytes.is_empty() {
                return Err(NoPlugin::NotWasm("it is empty".to_owned()));
            }
            let start: String = bytes.iter().take(4).map(|b| format!("{b:02x}")).collect();
            return Err(NoPlugin::NotWasm(format!("it begins with {start}, not with 0061736d")));
        }
        let (imports, exports) = (BTreeSet::new(), BTreeSet::new());
        let mut anatomy = Self { imports, functions: BTreeMap::new(), exports };
        let broken = |error: wasmparser::BinaryReaderError| NoPlugin::NotWasm(error.to_string());
        let mut depth = 0u32;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.map_err(broken)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        anatomy.imports.insert(import.map_err(broken)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        anatomy.exports.insert(export.map_err(broken)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        anatomy.functions = functions(bytes, &anatomy.imports);
        Ok(anatomy)
    }

    /// The kind of policy it is for.
    pub fn kind(&self) -> Result<Kind, NoPlugin> {
        let exports = |kind: &Kind| {
            let own = |name: &String| match kind {
                Kind::Supply => name.starts_with(STEERING),
                _ => {
                    let package = format!("spinor:{kind}/");
                    name.starts_with(&package) && !name.starts_with(STEERING)
                }
            };
            self.exports.iter().any(own)
        };
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(exports).collect();
        let all = || self.exports.iter().cloned().collect::<Vec<_>>().join(", ");
        let kind = match kinds[..] {
            [] => return Err(NoPlugin::NoKind(all())),
            [kind] => kind,
            _ => return Err(NoPlugin::ManyKinds(all())),
        };
        for needed in needed_exports(kind) {
            let there = |track: &&str| self.exports.iter().any(|name| same_track(name, track));
            if !needed.iter().any(there) {
                return Err(NoPlugin::Lacks(needed[0], kind));
            }
        }
        Ok(kind)
    }

    /// Capabilities that it really imports. Anything else it imports must be WASI.
    pub fn capabilities(&self) -> Result<BTreeSet<&'static str>, NoPlugin> {
        let mut found = BTreeSet::new();
        for import in &self.imports {
            let refuse = |why: &str| Err(NoPlugin::Import(import.clone(), why.to_owned()));
            let (path, version) = import.split_once('@').unwrap_or((import, ""));
            if path.starts_with("wasi:") {
                continue;
            }
            if path.starts_with("spinor:")
                && self.functions.get(import).is_some_and(BTreeSet::is_empty)
            {
                continue;
            }
            let Some(name) = path.strip_prefix("spinor:host/") else {
                return refuse("this server does not know: plugins import spinor:host/* and WASI");
            };
            let known = crate::capabilities::ALL.iter().find(|known| **known == name);
            let Some(known) = known else {
                return refuse("is no capability of this server's contract spinor:host 0.1");
            };
            if !version.starts_with("0.1.") {
                return refuse("asks another version of spinor:host; this server offers 0.1");
            }
            found.insert(*known);
        }
        Ok(found)
    }
}

/// The functions that are asked of each imported interface.
fn functions(bytes: &[u8], imports: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    let mut validator = wasmparser::Validator::new_with_features(WasmFeatures::all());
    let Ok(types) = validator.validate_all(bytes) else { return BTreeMap::new() };
    let asked = |import: &String| {
        let ComponentEntityType::Instance(id) = types.component_item_for_import(import)?.ty else {
            return None;
        };
        let exports = types[id].exports.iter();
        let functions = exports.filter(|(_, item)| matches!(item.ty, ComponentEntityType::Func(_)));
        Some((import.clone(), functions.map(|(name, _)| name.clone()).collect()))
    };
    imports.iter().filter_map(asked).collect()
}

/// Interfaces that a kind must export, each in one of the versions that are hosted.
fn needed_exports(kind: Kind) -> Vec<&'static [&'static str]> {
    let mut needed: Vec<&[&str]> = vec![&["spinor:host/plugin@0.1"], &["spinor:host/settings@0.1"]];
    needed.extend_from_slice(match kind {
        Kind::Matching => &[RULES],
        Kind::Supply => &[&["spinor:matching/supply@0.1"]],
        Kind::Computing => &[&["spinor:computing/backend@0.1"]],
        Kind::Handling => &[
            &["spinor:handling/admission@0.1"],
            &["spinor:handling/planning@0.1"],
            &["spinor:handling/conclusion@0.1"],
        ],
        Kind::Accounting => &[&["spinor:accounting/sink@0.1"]],
    });
    needed
}

fn same_track(name: &str, track: &str) -> bool {
    name.strip_prefix(track).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_first_party_plugins() {
        let anatomies = spinor_bundle::first_party().map(|bytes| Anatomy::of(bytes).unwrap());
        let found: Vec<_> = anatomies
            .map(|a| (a.kind().unwrap(), a.capabilities().unwrap().into_iter().collect::<Vec<_>>()))
            .collect();
        assert_eq!(
            found,
            [
                (Kind::Accounting, vec!["directory"]),
                (Kind::Computing, vec!["http"]),
                (Kind::Computing, vec!["command"]),
                (Kind::Computing, vec!["process"]),
                (Kind::Computing, vec!["command"]),
                (Kind::Computing, vec!["http"]),
                (Kind::Computing, vec!["ssh"]),
                (Kind::Handling, vec![]),
                (Kind::Supply, vec![]),
                (Kind::Matching, vec![]),
            ]
        );
    }

    #[test]
    fn says_what_is_no_component() {
        let text = |bytes: &[u8]| Anatomy::of(bytes).unwrap_err().to_string();
        assert!(text(b"#!/bin/sh").contains("begins with 23212f62"));
        assert!(text(b"\0asm\x01\0\0\0").contains("core WebAssembly module"));
        assert!(text(b"").contains("is not a WebAssembly component: it is empty"));
        let cut = &spinor_bundle::first_party().next().unwrap()[..5000];
        assert!(matches!(Anatomy::of(cut), Err(NoPlugin::NotWasm(_))));
    }
}
