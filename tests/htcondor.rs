//! A real HTCondor: a pool passes the conformance kit; a campaign runs on the CE before it, by token of a
//! real OpenID provider.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/install.rs"]
mod install;
#[path = "support/kit.rs"]
mod kit;
#[path = "support/plugins.rs"]
mod plugins;
#[path = "support/provider.rs"]
mod provider;
#[path = "support/real.rs"]
mod real;
mod support;

use kit::Kit;
use provider::{Provider, SECRET};
use real::Htcondor;
use std::path::Path;
use support::{Server, free_port};

/// It takes two minutes and Debian's archive to make another Debian's root, once: so it is asked for.
fn asked_for() -> bool {
    let asked = std::env::var_os("SPINOR_TEST_HTCONDOR").is_some();
    if !asked {
        println!("not run: SPINOR_TEST_HTCONDOR=1 runs it");
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_conforms_and_a_ce_runs_a_campaign() {
    if !asked_for() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (authority, certificate) = real::authority(directory.path());
    let port = free_port();
    let condor = Htcondor::up(&format!("https://localhost:{port}"), &authority);
    conforms(&condor).await;
    let campaign = move || {
        campaign(&condor, port, &authority, &certificate);
        gpus(&condor);
    };
    tokio::task::spawn_blocking(campaign).await.unwrap();
}

async fn conforms(condor: &Htcondor) {
    let shared = condor.0.told("CONDOR_SHARED");
    // What the programs find beside them must be where they see it.
    drop(tempfile::env::override_temp_dir(Path::new(&shared)));
    let probe = Path::new(&shared).join("probe");
    kit::put_probe(&probe);
    let data = tempfile::tempdir().unwrap();
    let with_probe = format!("directory = \"{shared}\", worker.program = \"{}\"", probe.display());
    let table = condor.table(false).replacen(&format!("directory = \"{shared}\""), &with_probe, 1);
    let backend = table.split_once("[ces.cluster.backend]").unwrap().1;
    let table = format!("[ces.ce.backend]{backend}").replace("[ces.cluster", "[ces.ce");
    let kit = Kit {
        backend: plugins::backend(&plugins::host(data.path()).await, &table).await,
        queue: "short",
        no_queue: None,
        carries_files: false,
        gives_outputs: true,
        stranger: "999999.0:00000000000000000000000000000000",
    };
    kit.run().await;
}

fn campaign(condor: &Htcondor, port: u16, authority: &Path, certificate: &Path) {
    let shared = condor.0.told("CONDOR_SHARED");
    let environment =
        [("SSL_CERT_FILE", authority.display().to_string()), ("TMPDIR", shared.clone())];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let server = Server::start_in("", &environment);
    let provider = Provider::start_on(port, &server.url(), Some(certificate));
    let secrets = server.data().join("secrets/lab");
    std::fs::create_dir_all(&secrets).unwrap();
    std::fs::write(secrets.join("identity"), SECRET).unwrap();
    let identity =
        format!("[identity]\nissuer = \"{}\"\nclient_id = \"spinor\"\n", provider.issuer);
    server.apply(&support::lab_with(&identity, &with_pilot(condor, true))).unwrap();
    let description = r#"{"executable": "echo", "arguments": ["hello from HTCondor"], "stdout": "out",
        "output_sandbox": ["out"], "requirements": {"wall_time": 600}, "parameters": {"i": {"start": 0, "step": 1, "count": 4}}}"#;
    for job in server.submit(description).unwrap() {
        server.until_status(job, "Done");
    }
}

/// The table of the CE or of the pool, with a pilot program where its workers see it: they have nothing to fetch
/// one with.
fn with_pilot(condor: &Htcondor, for_ce: bool) -> String {
    let shared = condor.0.told("CONDOR_SHARED");
    let pilot = format!("{shared}/spinor-pilot");
    if !Path::new(&pilot).exists() {
        std::fs::copy(support::SPINOR, &pilot).unwrap();
    }
    let own = format!("directory = \"{shared}\"");
    condor.table(for_ce).replacen(&own, &format!("{own}, worker.program = \"{pilot}\""), 1)
}

/// Two GPUs that the pool gives a pilot go to a job each, by the names that the pool has for them.
fn gpus(condor: &Htcondor) {
    let shared = condor.0.told("CONDOR_SHARED");
    let server = Server::start_in("", &[("TMPDIR", &shared)]);
    let table = with_pilot(condor, false).replace("{ cores = 1,", "{ cores = 2, gpus = 2,");
    assert!(table.contains("gpus"), "{table}");
    server.apply(&support::lab_with("", &table)).unwrap();
    assert_eq!(server.gpus_of_jobs(), ["1 GPU-a\n", "1 GPU-b\n", "0 -1\n"]);
}
