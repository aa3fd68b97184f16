//! The rooms put together: the one place that knows them all.

use crate::{administration::Administrator, configuration::Configuration};
use anyhow::Context;
use spinor_api::App;
use spinor_identity::token::Keys;
use spinor_lifecycle::{Lifecycle, Tasks};
use spinor_model::{
    id::Digest,
    time::{Clock, SystemClock},
};
use spinor_plugins::{
    bound::Surroundings, compiled::CompiledCache, engine::Engines, load::Loader, registry::Registry,
};
use spinor_store::{Blobs, RegistryStore, sqlite::SqliteStore};
use std::{path::Path, sync::Arc};
use tokio::net::TcpListener;

/// A server that runs; it stops when this is dropped.
pub struct Running {
    /// Where it is reached.
    pub url: String,
    /// What requests are answered from.
    pub app: Arc<App>,
    listener: TcpListener,
    tasks: Tasks,
}

/// The file of the key that signs tokens.
pub fn key_file(data: &Path) -> std::path::PathBuf {
    data.join("keys/token.key")
}

/// The database.
pub fn database(data: &Path) -> std::path::PathBuf {
    data.join("spinor.db")
}

/// Starts a server over its data directory, taking up where the last one stopped.
pub async fn start(configuration: &Configuration) -> anyhow::Result<Running> {
    let data = &configuration.data;
    let listener = TcpListener::bind(&configuration.listen)
        .await
        .with_context(|| format!("cannot listen on {}", configuration.listen))?;
    let address = listener.local_addr()?;
    let url = configuration.url.clone().unwrap_or_else(|| format!("http://{address}"));
    let keys = Keys::open(&key_file(data))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Arc::new(SqliteStore::open(&database(data)).await?);
    let components = Blobs::open(data.join("components")).await?;
    let surroundings = Surroundings {
        data: data.clone(),
        pilot: configuration.pilot.clone(),
        clock: clock.clone(),
    };
    let registry = Arc::new(Registry::new(loader(data)?, surroundings));
    import_embedded(&store, &components, &*clock).await?;
    load_components(&store, &components, &registry).await?;
    let lifecycle =
        Lifecycle::new(store.clone(), registry.clone(), clock, configuration.pace, url.clone())
            .await?;
    let administrator = Administrator::new(store, components, registry, lifecycle.clone());
    administrator.restore().await?;
    lifecycle.wake_up().await?;
    let blobs = Blobs::open(data.join("sandboxes")).await?;
    let app =
        App { lifecycle: lifecycle.clone(), keys, administration: Arc::new(administrator), blobs };
    Ok(Running { url, app: Arc::new(app), listener, tasks: lifecycle.run() })
}

fn loader(data: &Path) -> anyhow::Result<Loader> {
    let engines = Engines::new().map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let cache = CompiledCache::open(data.join("compiled"), &data.join("keys/compiled.key"))?;
    Ok(Loader { engines, cache })
}

/// What is built in becomes versions like any others.
async fn import_embedded(
    store: &SqliteStore,
    components: &Blobs,
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    for bytes in spinor_bundle::first_party() {
        let digest = components.put(bytes).await?;
        store.add_component(digest, bytes.len() as u64, "embedded", clock.now()).await?;
    }
    Ok(())
}

async fn load_components(
    store: &SqliteStore,
    components: &Blobs,
    registry: &Registry,
) -> anyhow::Result<()> {
    for component in store.components().await? {
        let digest: Digest = component.digest;
        let Some(bytes) = components.get(&digest).await? else {
            tracing::error!(%digest, "a component's file is gone; what is bound to it is held");
            continue;
        };
        if let Err(error) = registry.load(&bytes).await {
            tracing::error!(%digest, %error, "a component does not load any more");
        }
    }
    Ok(())
}

impl Running {
    /// Answers requests until `stop` is done.
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let Self { app, listener, tasks, .. } = self;
        axum::serve(listener, spinor_api::router(app)).with_graceful_shutdown(stop).await?;
        drop(tasks);
        Ok(())
    }
}
