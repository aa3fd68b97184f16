//! A container image for tests, and a job that tells what it finds in it.

use oci_client::{
    Client, Reference,
    client::{ClientConfig, ClientProtocol, Config, ImageLayer},
    manifest::{IMAGE_CONFIG_MEDIA_TYPE, IMAGE_LAYER_MEDIA_TYPE},
    secrets::RegistryAuth,
};
use std::fs;

/// What is in an image: a name, its content or where it leads, and its mode.
type File<'a> = (&'a str, Is, u32);

enum Is {
    Content(Vec<u8>),
    Link(&'static str),
    Directory,
}

fn text(text: &str) -> Is {
    Is::Content(text.as_bytes().to_vec())
}

fn layer(files: Vec<File<'_>>) -> ImageLayer {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, is, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        match is {
            Is::Content(content) => {
                header.set_size(content.len() as u64);
                archive.append_data(&mut header, name, &content[..]).unwrap();
            }
            Is::Link(to) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                archive.append_link(&mut header, name, to).unwrap();
            }
            Is::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                archive.append_data(&mut header, name, &[][..]).unwrap();
            }
        }
    }
    ImageLayer::new(archive.into_inner().unwrap(), IMAGE_LAYER_MEDIA_TYPE.to_owned(), None)
}

/// Busybox and a few files, in two layers.
fn layers() -> Vec<ImageLayer> {
    let busybox = fs::read("/bin/busybox")
        .expect("no busybox: install one (Debian: apt-get install busybox-static)");
    let lower = layer(vec![
        ("usr/bin/busybox", Is::Content(busybox), 0o755),
        ("usr/bin/sh", Is::Link("busybox"), 0o777),
        ("usr/bin/cat", Is::Link("busybox"), 0o777),
        ("usr/bin/touch", Is::Link("busybox"), 0o777),
        ("bin", Is::Link("usr/bin"), 0o777),
        ("etc", Is::Directory, 0o755),
        ("etc/whose", text("lower\n"), 0o644),
        ("etc/gone", text("still here\n"), 0o644),
        ("tmp", Is::Directory, 0o1777),
    ]);
    let upper = layer(vec![
        ("etc/whose", text("of the image\n"), 0o644),
        ("etc/.wh.gone", text(""), 0o644),
    ]);
    vec![lower, upper]
}

/// Puts the image into a registry.
#[tokio::main]
pub async fn publish(reference: &str) {
    spinor_plugins::tls::install();
    let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    let reference: Reference = reference.parse().unwrap();
    let about = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Env": ["PATH=/usr/bin", "GREETING=hello from the image"]},
    });
    let about =
        Config::new(about.to_string().into_bytes(), IMAGE_CONFIG_MEDIA_TYPE.to_owned(), None);
    let anonymous = RegistryAuth::Anonymous;
    Client::new(config).push(&reference, &layers(), about, &anonymous, None).await.unwrap();
}

const SCRIPT: &str = "cat /etc/whose; cat /etc/gone 2>/dev/null || echo gone; echo $GREETING; \
    pwd; echo $HOME; cat in.txt; touch /etc/new 2>/dev/null || echo read-only; \
    test -e /usr/bin/python3 || echo no python; test -r $SPINOR_JOB_TOKEN_FILE && echo token; \
    echo made >made.txt; touch /tmp/t && echo tmp";

/// A job that runs it in an image.
pub fn description(image: &str) -> String {
    serde_json::json!({
        "executable": "sh", "arguments": ["-c", SCRIPT], "stdout": "out",
        "input_sandbox": ["in.txt"], "output_sandbox": ["made.txt"],
        "requirements": {"wall_time": 600, "image": image},
    })
    .to_string()
}

/// What it says in the image.
pub const SAID: &str = "of the image\ngone\nhello from the image\n/job\n/job\nbrought along\nread-only\n\
    no python\ntoken\ntmp\n";
