//! Payloads in container images: from a real registry, and unpacked on the worker.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/image.rs"]
mod image;
#[path = "support/registry.rs"]
mod registry;
mod support;

use image::{SAID, description, publish};
use registry::Registry;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};
use support::{LAB, Server};

/// A server whose pilots run images; one image lies in `unpacked`. The worker's apptainer is of no use.
fn with_images() -> Server {
    let broken = tempfile::tempdir().unwrap().keep();
    let apptainer = broken.join("apptainer");
    fs::write(&apptainer, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(apptainer, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", broken.display(), std::env::var("PATH").unwrap());
    let server = Server::start_in("", &[("PATH", &path)]);
    let images = format!(
        "images = true, image_directories = [\"{}\"], cores = 2, memory_mb",
        server.scratch().join("unpacked").display()
    );
    server.apply(&LAB.replace("cores = 2, memory_mb", &images)).unwrap();
    server.file("in.txt", "brought along\n");
    server
}

#[test]
fn a_payload_runs_in_an_image_of_a_registry() {
    let (server, registry) = (with_images(), Registry::start());
    let reference = format!("{}/science/tools:1", registry.host);
    publish(&reference);
    let job = server.submit(&description(&format!("docker://{reference}"))).unwrap()[0];
    server.until_status(job, "Done");
    assert_eq!(server.printed("ada", job), SAID);
    let none = format!("docker://{}/science/none:1", registry.host);
    let job = server.submit(&description(&none)).unwrap()[0];
    server.until_status(job, "Failed");
    let shown = server.json(&server.member("lab_user", "ada"), &["job", "show", &job.to_string()]);
    let why = shown.to_string();
    assert!(why.contains("science/none:1") && why.contains("anifest"), "{why}");
}

#[test]
fn a_payload_runs_in_an_image_that_lies_on_the_worker() {
    let server = with_images();
    let root = server.scratch().join("unpacked/tools");
    for folder in ["usr/bin", "etc"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("usr/bin/busybox")).unwrap();
    for name in ["sh", "cat", "touch"] {
        std::os::unix::fs::symlink("busybox", root.join("usr/bin").join(name)).unwrap();
    }
    std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
    fs::write(root.join("etc/whose"), "of the directory\n").unwrap();
    let job = server.submit(&description(root.to_str().unwrap())).unwrap()[0];
    server.until_status(job, "Done");
    let said = server.printed("ada", job);
    assert!(said.starts_with("of the directory\ngone\n\n/job\n/job\nbrought along\n"), "{said}");
    assert!(!Path::new("/etc/new").exists());
    // What lies elsewhere is no image, whatever leads there.
    std::os::unix::fs::symlink("/", server.scratch().join("unpacked/all")).unwrap();
    for elsewhere in ["/tmp", root.with_file_name("all").to_str().unwrap()] {
        let job = server.submit(&description(elsewhere)).unwrap()[0];
        server.until_status(job, "Failed");
        let member = server.member("lab_user", "ada");
        let shown = server.json(&member, &["job", "show", &job.to_string()]).to_string();
        assert!(shown.contains("images may lie here in"), "{shown}");
    }
}

#[test]
fn without_a_slot_that_runs_images_a_job_waits_and_says_why() {
    let server = Server::with_lab();
    server.file("in.txt", "");
    let why = server.submit(&description("debian:12")).unwrap_err();
    assert!(why.contains("docker://REGISTRY/NAME:TAG"), "{why}");
    let job = server.submit(&description("docker://docker.io/library/debian:12")).unwrap()[0];
    let ada = server.member("lab_user", "ada");
    let why = String::from_utf8(server.run(&ada, &["job", "explain", &job.to_string()]).stdout);
    let why = why.unwrap();
    assert!(why.contains("the slot has nothing that runs images"), "{why}");
}
