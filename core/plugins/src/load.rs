//! From bytes to a version, off the request path: looked into, compiled, tried, its card and its
//! schema read.

use crate::{
    bindings::base,
    call, capabilities,
    compiled::{CompiledCache, Trusted},
    compiler::{Compiler, Sort},
    engine::Engines,
    inspect::{Anatomy, NoPlugin},
    limits::Limits,
    state::{Caller, Capabilities, HostState},
    version::{Card, PluginVersion},
    wasi,
};
use spinor_model::{
    id::{Digest, VoName},
    policy::{PolicyError, Unobserved},
    registry::Kind,
};
use std::{collections::BTreeSet, sync::Arc};
use wasmtime::{
    Engine,
    component::{Component, InstancePre, Linker},
};

/// Why a component is no plugin version here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It is too large.
    #[error("{0} bytes: components may have {MAX_COMPONENT} bytes")]
    TooLarge(usize),
    /// It is no plugin.
    #[error(transparent)]
    NoPlugin(#[from] NoPlugin),
    /// Its kind may not have what it imports.
    #[error("imports capability `{0}`, which {1} plugins may not have: they may have {2}")]
    NotForKind(&'static str, Kind, String),
    /// The server has no such capability yet.
    #[error("imports capability `{0}`, which this server does not offer yet: it offers {1}")]
    NotOffered(&'static str, String),
    /// It cannot be compiled.
    #[error("does not compile: {0}")]
    Compile(String),
    /// It cannot be linked or started.
    #[error("cannot be started: {0}")]
    Trial(String),
    /// It broke when asked who it is.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// It does not do what it says of itself.
    #[error("golden case `{case}` fails: {message}")]
    Golden {
        /// Which.
        case: String,
        /// What it does instead.
        message: String,
    },
    /// Its card makes no sense.
    #[error("its card says {field} `{value}`: {message}")]
    Card {
        /// Which field.
        field: &'static str,
        /// What it says.
        value: String,
        /// What is wrong with it.
        message: String,
    },
}

const MAX_COMPONENT: usize = 64 << 20;

/// Loads components.
pub struct Loader {
    /// The engines.
    pub engines: Engines,
    /// The compiled ones.
    pub cache: CompiledCache,
    /// Who compiles.
    pub compiler: Compiler,
}

fn sort(kind: Kind) -> Sort {
    if kind.is_pure() { Sort::Pure } else { Sort::Effectful }
}

impl Loader {
    /// Takes a component through the pipeline. Compiles, so keep it off request paths.
    pub async fn load(
        &self,
        bytes: &[u8],
        owner: Option<&VoName>,
    ) -> Result<PluginVersion, LoadError> {
        if bytes.len() > MAX_COMPONENT {
            return Err(LoadError::TooLarge(bytes.len()));
        }
        let anatomy = Anatomy::of(bytes)?;
        let kind = anatomy.kind()?;
        let mut wanted = anatomy.capabilities()?;
        check_capabilities(kind, &wanted)?;
        let digest = Digest::of(bytes);
        let component = self.compiled(kind, &digest, bytes, owner).await?;
        let (card, schema) = self.try_out(kind, &component, &wanted, &digest).await?;
        wanted.remove("log");
        let validator = jsonschema::validator_for(&schema)
            .map_err(|error| bad_card("schema", &schema.to_string(), &error.to_string()))?;
        Ok(PluginVersion {
            digest,
            size: bytes.len(),
            kind,
            card,
            capabilities: wanted,
            imports: anatomy.imports,
            exports: anatomy.exports,
            schema,
            validator,
            component,
        })
    }

    async fn compiled(
        &self,
        kind: Kind,
        digest: &Digest,
        bytes: &[u8],
        owner: Option<&VoName>,
    ) -> Result<Component, LoadError> {
        let engine = self.engine(kind);
        if let Some(component) = self.cache.find(engine, digest) {
            return Ok(component);
        }
        let code = self.compiler.compile(engine, sort(kind), bytes, owner).await;
        let code = Trusted::from_compiler(code.map_err(LoadError::Compile)?);
        let kept = self.cache.keep(engine, digest, &code);
        kept.map_err(|error| LoadError::Compile(short(&error)))
    }

    /// The engine for a kind.
    pub fn engine(&self, kind: Kind) -> &Engine {
        sort(kind).engine(&self.engines)
    }

    /// Links a component with what it was granted.
    pub fn link(
        &self,
        kind: Kind,
        component: &Component,
        granted: &BTreeSet<&str>,
    ) -> Result<InstancePre<HostState>, LoadError> {
        let linked = || {
            let mut linker = Linker::new(self.engine(kind));
            if kind.is_pure() {
                wasi::link_sync(&mut linker)?;
                capabilities::link_pure(&mut linker)?;
            } else {
                wasi::link_async(&mut linker)?;
                capabilities::link(&mut linker, granted)?;
            }
            linker.instantiate_pre(component)
        };
        linked().map_err(|error: wasmtime::Error| LoadError::Trial(short(&error)))
    }

    /// Links a component for questions about itself, which every kind answers the same way.
    pub(crate) fn questions(
        &self,
        kind: Kind,
        component: &Component,
        wanted: &BTreeSet<&'static str>,
    ) -> Result<base::BasePre<HostState>, LoadError> {
        let mut linker = Linker::new(self.engine(kind));
        wasi::link_async(&mut linker)
            .and_then(|()| capabilities::link(&mut linker, wanted))
            .and_then(|()| linker.instantiate_pre(component))
            .and_then(base::BasePre::new)
            .map_err(|error| LoadError::Trial(short(&error)))
    }

    /// Starts it once without any capability, and asks who it is.
    async fn try_out(
        &self,
        kind: Kind,
        component: &Component,
        wanted: &BTreeSet<&'static str>,
        digest: &Digest,
    ) -> Result<(Card, serde_json::Value), LoadError> {
        let linked = self.questions(kind, component, wanted)?;
        let caller =
            Arc::new(Caller { vo: None, plugin: digest.short(), observer: Arc::new(Unobserved) });
        let limits = Limits::EFFECTFUL;
        let state = HostState::new(caller, Capabilities::default(), &limits);
        let pure = kind.is_pure();
        let (card, schema) =
            call::effectful(self.engine(kind), state, &limits, "info", move |store| {
                Box::pin(async move {
                    if pure {
                        store.set_fuel(Limits::PURE.fuel)?;
                    }
                    let instance = linked.instantiate_async(&mut *store).await?;
                    let card = instance.spinor_host_plugin().call_info(&mut *store).await?;
                    let schema = instance.spinor_host_settings().call_schema(store).await?;
                    Ok((card, schema))
                })
            })
            .await
            .0?;
        let schema = serde_json::from_str(&schema)
            .map_err(|error| bad_card("schema", &schema, &error.to_string()))?;
        Ok((read_card(kind, card)?, schema))
    }
}

fn check_capabilities(kind: Kind, wanted: &BTreeSet<&'static str>) -> Result<(), LoadError> {
    for name in wanted {
        let allowed = capabilities::allowed(kind);
        if !allowed.contains(name) {
            return Err(LoadError::NotForKind(name, kind, allowed.join(", ")));
        }
        if !capabilities::OFFERED.contains(name) {
            return Err(LoadError::NotOffered(name, capabilities::OFFERED.join(", ")));
        }
    }
    Ok(())
}

fn bad_card(field: &'static str, value: &str, message: &str) -> LoadError {
    let value = value.chars().take(100).collect();
    LoadError::Card { field, value, message: message.to_owned() }
}

fn read_card(
    kind: Kind,
    card: base::exports::spinor::host::plugin::Card,
) -> Result<Card, LoadError> {
    let version = card
        .version
        .parse()
        .map_err(|error: semver::Error| bad_card("version", &card.version, &error.to_string()))?;
    let package = kind.package();
    let prefix = format!("{package}/");
    let name = card.name.strip_prefix(&prefix).unwrap_or_default();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        let message = format!("a {kind} plugin's name is `{package}/` and a plain name");
        return Err(bad_card("name", &card.name, &message));
    }
    let cut = |text: String| text.chars().take(200).collect();
    Ok(Card { name: card.name, version, summary: cut(card.summary), license: cut(card.license) })
}

/// The first line of each cause, without backtraces.
pub(crate) fn short(error: &wasmtime::Error) -> String {
    let causes = error.chain().map(|cause| cause.to_string());
    let lines = causes.map(|text| text.lines().next().unwrap_or_default().to_owned());
    lines.collect::<Vec<_>>().join(": ").chars().take(600).collect()
}
