//! An S3 service in this process: it holds signatures, policies and sizes to what was granted.
#![allow(clippy::unwrap_used)]

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use std::{fs, path::PathBuf};
use tokio::{net::TcpListener, runtime::Runtime};

/// What a server needs to come in.
pub const ENVIRONMENT: &[(&str, &str)] =
    &[("AWS_ACCESS_KEY_ID", "spinor"), ("AWS_SECRET_ACCESS_KEY", "a-key-of-the-test")];

/// The service, until it is dropped.
pub struct Objects {
    url: String,
    folder: tempfile::TempDir,
    _runtime: Runtime,
}

impl Objects {
    /// Starts one with a bucket `lab`.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lab")).unwrap();
        let mut builder = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ENVIRONMENT[0].1, ENVIRONMENT[1].1));
        let service = builder.build();
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    drop(builder.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { url, folder, _runtime: runtime }
    }

    /// A server's configuration that puts blobs there.
    pub fn configuration(&self) -> String {
        format!("[s3]\nbucket = \"lab\"\nprefix = \"spinor\"\nendpoint = \"{}\"\n", self.url)
    }

    /// Files of a folder, by name.
    pub fn files(&self, folder: &str) -> Vec<String> {
        let mut folders: Vec<PathBuf> = vec![self.folder.path().join("lab/spinor").join(folder)];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => files.push(entry.file_name().into_string().unwrap()),
                }
            }
        }
        files
    }
}
