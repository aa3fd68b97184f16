//! The plugin host without a server: for tests of one binding.
#![allow(clippy::unwrap_used, dead_code)]

use spinor_model::{
    id::VoName,
    policy::{ComputingBackend, Policies},
    registry::VoDocument,
    time::SystemClock,
};
use spinor_plugins::{
    bound::Surroundings, capabilities::credentials::LateCredentials, compiled::CompiledCache,
    compiler::Compiler, engine::Engines, load::Loader, making::Wanted, registry::Registry,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

/// A host with the first-party plugins. Its data are in `data`, secrets in `data/secrets/vo`.
pub async fn host(data: &Path) -> Registry {
    spinor_plugins::tls::install();
    let cache = CompiledCache::open(data.join("compiled"), &data.join("key")).unwrap();
    let loader = Loader { engines: Engines::new().unwrap(), cache, compiler: Compiler::here() };
    let observer = Arc::new(spinor_lifecycle::observations::Observations::new().0);
    let (data, clock) = (data.to_owned(), Arc::new(SystemClock));
    let credentials = LateCredentials::default();
    let surroundings = Surroundings { data, pilot: Vec::new(), clock, observer, credentials };
    let registry = Registry::new(loader, surroundings);
    for bytes in spinor_bundle::first_party() {
        let version = registry.try_out(bytes, None).await.unwrap();
        registry.add(version, None, BTreeSet::new(), "test");
    }
    registry
}

/// The backend of CE `ce` of VO `vo`, whose table's rest is `backend`.
pub async fn backend(registry: &Registry, backend: &str) -> Arc<dyn ComputingBackend> {
    let document = format!(
        "vo = \"vo\"\n[groups.g]\n[sites.S]\n[ces.ce]\nsite = \"S\"\n\
         queues.short = {{ memory_mb = 500, wall_time = 600 }}\n{backend}"
    );
    let document = VoDocument::from_toml(&document).unwrap();
    let wanted = Wanted {
        document: &document,
        pinned: &BTreeMap::new(),
        previous: &BTreeMap::new(),
        renewed: None,
        inherited: &BTreeSet::new(),
        lenient: false,
    };
    registry.activate(registry.prepare(wanted).await.unwrap());
    let vo: VoName = "vo".parse().unwrap();
    let (ce, queue) = ("ce".parse().unwrap(), "short".parse().unwrap());
    registry.backend(&vo, &ce, &queue).unwrap()
}
