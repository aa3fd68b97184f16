//! The rooms put together: the one place that knows them all.

use crate::{administration::Administrator, configuration::Configuration, downtimes};
use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use spinor_api::{App, PilotProgram};
use spinor_identity::{
    seal::Seal,
    secret,
    session::{self, Sessions},
    token::Keys,
};
use spinor_lifecycle::{Lifecycle, Parts, Tasks, observations::Observations};
use spinor_model::{
    id::Digest,
    policy::CredentialSource,
    time::{Clock, SystemClock, Timestamp},
};
use spinor_plugins::{
    bound::Surroundings, capabilities::credentials::LateCredentials, compiled::CompiledCache,
    compiler::Compiler, engine::Engines, load::Loader, registry::Registry,
};
use spinor_store::{
    Blobs, Bucket, NewComponent, Place, RegistryStore, ServerStore, StoreError, sql::SqlStore,
};
use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};
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
pub fn key_file(files: &Path) -> std::path::PathBuf {
    files.join("keys/token.jwks")
}

/// Starts a server over its data directory, taking up where the last one stopped.
pub async fn start(configuration: &Configuration) -> anyhow::Result<Running> {
    let Configuration { data, files, .. } = configuration;
    // It takes as long as all the rest.
    let program = configuration.pilot_program.clone();
    let program = tokio::task::spawn_blocking(move || pilot_program(&program));
    let listener = TcpListener::bind(&configuration.listen)
        .await
        .with_context(|| format!("cannot listen on {}", configuration.listen))?;
    let address = listener.local_addr()?;
    let url = configuration.url.clone().unwrap_or_else(|| format!("http://{address}"));
    let keys = Arc::new(Keys::open(&key_file(files), &url)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Arc::new(SqlStore::open(&configuration.database).await?);
    let place = match &configuration.s3 {
        None => Place::Directory(files.clone()),
        Some(settings) => Place::Bucket(Arc::new(Bucket::open(settings.clone())?)),
    };
    let components = Blobs::open(&place, "components").await?;
    let (observations, alarms) = Observations::new();
    let observations = Arc::new(observations);
    let credentials = LateCredentials::default();
    let surroundings = Surroundings {
        data: data.clone(),
        pilot: configuration.pilot.clone(),
        clock: clock.clone(),
        observer: observations.clone(),
        credentials: credentials.clone(),
    };
    let registry = Arc::new(Registry::new(loader(configuration)?, surroundings));
    import_embedded(&store, &components, &*clock).await.with_context(|| match &configuration.s3 {
        None => format!("cannot store components in {}", files.display()),
        Some(s3) => format!(
            "cannot store components in bucket `{}`: is it there, are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY set, and is `s3.endpoint` right?",
            s3.bucket
        ),
    })?;
    let program = program.await??;
    let parts = Parts {
        program: program.digest,
        store: store.clone(),
        policies: registry.clone(),
        clock,
        pace: configuration.pace,
        url: url.clone(),
        observations,
        server: secret::fresh().chars().take(12).collect(),
    };
    let lifecycle = Lifecycle::new(parts).await?;
    let store_shared = store.shared();
    let administrator = Administrator::new(store, components, registry, lifecycle.clone());
    let administrator = Arc::new(administrator);
    administrator.load_new_components().await?;
    administrator.restore().await?;
    if store_shared {
        administrator.catch_up().await?;
        lifecycle.meet_others().await?;
    }
    lifecycle.wake_up().await?;
    let sessions = Sessions::new(session::Parts {
        store: lifecycle.store.clone(),
        documents: lifecycle.clone(),
        keys: keys.clone(),
        clock: Arc::new(SystemClock),
        url: url.clone(),
        redirects: configuration.redirects.clone(),
        secrets: data.join("secrets"),
        seal: Seal::open(&files.join("keys/seal.key"))?,
    })?;
    sessions.look_at_bans().await?;
    let sessions = Arc::new(sessions);
    let source: Arc<dyn CredentialSource> = sessions.clone();
    credentials.come_from(&source);
    let blobs = Blobs::open(&place, "sandboxes").await?;
    let mut tasks = lifecycle.run();
    tasks.also(administrator.clone().heed(alarms));
    tasks.also(administrator.clone().follow());
    tasks.also(watch_bans(sessions.clone()));
    if let Some(feed) = configuration.downtimes.clone() {
        tasks.also(downtimes::follow(lifecycle.clone(), feed));
    }
    tasks.also(clear_sandboxes(lifecycle.clone(), blobs.clone()));
    let metrics = metrics()?;
    let security_contact = configuration.security_contact.clone();
    let origins = configuration.origins.clone();
    let administration = administrator;
    let app = App {
        lifecycle,
        keys,
        sessions,
        administration,
        blobs,
        program,
        security_contact,
        origins,
        metrics,
    };
    let app = Arc::new(app);
    tasks.also(app.lifecycle.clone().relay_forever(spinor_api::front(app.clone())));
    Ok(Running { url, app, listener, tasks })
}

/// Sandboxes that nobody needs are looked for this often, and so many at a time.
const CLEARING: Duration = Duration::from_secs(600);
const CLEARED: u32 = 500;
/// Content that was brought again since is kept.
const BROUGHT: Duration = Duration::from_secs(3600);

/// What was sent to a bucket and never named is taken away after this.
const SENT: Duration = Duration::from_secs(24 * 3600);

async fn clear_sandboxes(lifecycle: Arc<Lifecycle>, blobs: Blobs) {
    loop {
        tokio::time::sleep(CLEARING).await;
        if lifecycle.has_duty()
            && let Err(error) = clear_round(&lifecycle, &blobs).await
        {
            tracing::error!(%error, "old sandboxes stay");
        }
    }
}

async fn clear_round(lifecycle: &Lifecycle, blobs: &Blobs) -> Result<(), StoreError> {
    for (vo, document) in lifecycle.documents().iter() {
        let days = i64::try_from(document.limits.sandbox_days).unwrap_or(36_500).min(36_500);
        let before = Timestamp(lifecycle.now().0 - days * 24 * 3_600_000);
        loop {
            let (forgotten, gone) = lifecycle.store.expire_sandboxes(vo, before, CLEARED).await?;
            for digest in &gone {
                blobs.remove_older(digest, BROUGHT).await?;
            }
            if forgotten < u64::from(CLEARED) {
                break;
            }
        }
    }
    blobs.clear_sent(SENT).await?;
    Ok(())
}

/// Somebody who is shut out on one server is out on all after this.
const BANS: Duration = Duration::from_secs(5);

async fn watch_bans(sessions: Arc<Sessions>) {
    loop {
        tokio::time::sleep(BANS).await;
        if let Err(error) = sessions.look_at_bans().await {
            tracing::error!(%error, "who is shut out is as it was");
        }
    }
}

/// What renders all measurements of this process; the recorder is the process's.
fn metrics() -> anyhow::Result<Box<dyn Fn() -> String + Send + Sync>> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    const SECONDS: [f64; 9] = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 1.0, 10.0];
    if HANDLE.get().is_none() {
        let recorder = PrometheusBuilder::new().set_buckets(&SECONDS)?.install_recorder()?;
        drop(HANDLE.set(recorder));
    }
    Ok(Box::new(|| HANDLE.get().map(PrometheusHandle::render).unwrap_or_default()))
}

fn pilot_program(file: &Path) -> anyhow::Result<PilotProgram> {
    let unreadable =
        || format!("cannot read the pilot program {} (`pilot.program`)", file.display());
    let digest = Digest::of(&std::fs::read(file).with_context(unreadable)?);
    Ok(PilotProgram { file: file.to_owned(), digest })
}

fn loader(configuration: &Configuration) -> anyhow::Result<Loader> {
    let data = &configuration.data;
    let engines = Engines::new().map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let cache = CompiledCache::open(data.join("compiled"), &data.join("keys/compiled.key"))?;
    let compiler = Compiler::child(configuration.compiler.clone(), configuration.compile);
    Ok(Loader { engines, cache, compiler })
}

/// What is built in becomes versions like any others.
async fn import_embedded(
    store: &SqlStore,
    components: &Blobs,
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    for bytes in spinor_bundle::first_party() {
        let digest = components.put(bytes).await?;
        let new = NewComponent {
            digest,
            size: bytes.len() as u64,
            owner: None,
            source: "embedded".to_owned(),
            pushed_by: "spinor".to_owned(),
            signatures: Vec::new(),
        };
        store.add_component(new, clock.now()).await?;
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
