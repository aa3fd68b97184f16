//! A real Slurm cluster, reached in four ways: by its command line, by slurmrestd, and by SSH, on to the
//! cluster or to the bare machine. Each passes the conformance kit; then a campaign runs on three of them.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/kit.rs"]
mod kit;
#[path = "support/plugins.rs"]
mod plugins;
#[path = "support/real.rs"]
mod real;
mod support;

use kit::Kit;
use real::{Real, Slurm};
use spinor_model::policy::ComputingBackend;
use std::{path::Path, sync::Arc};
use support::Server;

const STRANGER: &str = "4000000:00000000000000000000000000000000";

async fn bound(data: &Path, table: &str) -> Arc<dyn ComputingBackend> {
    let table = table.replace("[ces.cluster", "[ces.ce").replace("queues.short", "queues.long");
    let (_, backend) = table.split_once("[ces.ce.backend]").unwrap();
    plugins::backend(&plugins::host(data).await, &format!("[ces.ce.backend]{backend}")).await
}

async fn conforms(slurm: &Slurm, example: &str, change: impl FnOnce(&mut Kit)) {
    let data = tempfile::tempdir().unwrap();
    slurm.put_secrets(&data.path().join("secrets/vo"));
    let probe = slurm.shared().join("probe");
    kit::put_probe(&probe);
    let directory = slurm.shared().display().to_string();
    let own = format!("directory = \"{directory}\"");
    let with_probe = format!("{own}, worker.program = \"{}\"", probe.display());
    let table = slurm.table(example);
    // Only the plugin's settings have a worker, in whichever form they are written.
    let table = match example {
        "slurm" => table.replacen(&own, &with_probe.replace(", ", "\n"), 1),
        _ => table.replacen(&own, &with_probe, 1),
    };
    let mut kit = Kit {
        backend: bound(data.path(), &table).await,
        queue: "short",
        no_queue: Some("nowhere"),
        gives_outputs: true,
        stranger: STRANGER,
    };
    change(&mut kit);
    kit.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_slurm_conforms_and_a_campaign_runs_on_three_at_once() {
    let slurm = Slurm::up();
    conforms(&slurm, "slurm", |_| {}).await;
    conforms(&slurm, "slurm-rest", |kit| kit.gives_outputs = false).await;
    conforms(&slurm, "ssh-slurm", |_| {}).await;
    conforms(&slurm, "ssh-host", |kit| {
        (kit.no_queue, kit.stranger) = (None, "00000000000000000000000000000000");
    })
    .await;
    tokio::task::spawn_blocking(move || campaign(&slurm)).await.unwrap();
}

/// Ten jobs and three CEs that could each take them all.
fn campaign(slurm: &Slurm) {
    let server = Server::start();
    slurm.put_secrets(&server.data().join("secrets/lab"));
    let lab = support::LAB.split("[sites.HERE]").next().unwrap();
    let rest = support::LAB.split("[matching]").nth(1).unwrap();
    let ces = ["slurm", "slurm-rest", "ssh-slurm"]
        .map(|example| slurm.table(example).replace("cluster", &format!("by-{example}")));
    let document = format!("{lab}[sites.SITE]\n{}\n[matching]{rest}", ces.join("\n"));
    server.apply(&document.replace("by-ssh-slurm-key", "cluster-key")).unwrap();
    let script = server.file("count.sh", "echo counted $1; sleep 1\n");
    let description = format!(
        r#"{{"executable": "sh", "arguments": ["count.sh", "{{i}}"], "input_sandbox": ["{script}"],
            "stdout": "out", "output_sandbox": ["out"], "parameters": {{"i": {{"start": 0, "step": 1, "count": 10}}}}}}"#
    );
    let jobs = server.submit(&description).unwrap();
    assert_eq!(jobs.len(), 10);
    for job in &jobs {
        server.until_status(*job, "Done");
    }
    let pilots = server.json(&server.operator(), &["pilot", "list", "--vo", "lab", "--ended"]);
    let pilots = pilots.as_array().unwrap();
    let used: std::collections::BTreeSet<_> =
        pilots.iter().map(|pilot| pilot["ce"].as_str().unwrap()).collect();
    assert!((8..=12).contains(&pilots.len()), "{pilots:#?}");
    assert_eq!(used.len(), 3, "{used:?}");
}
