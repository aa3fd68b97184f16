//! Payloads in container images: by apptainer where the worker has it, by bubblewrap else. The images are
//! fetched from their registries by the pilot itself, once each, or lie unpacked on the worker.

mod layers;
mod pull;

pub use pull::{NoImage, protocol};

use crate::{
    configuration::Configuration,
    isolation::{self, Options},
    launch::Environment,
    share,
};
use anyhow::{Context, bail};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use spinor_model::image::Image;
use std::{
    collections::HashMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// A payload's directory, as it sees it in an image.
pub const PLACE: &str = "/job";
/// Where experiments have their software, in images as elsewhere.
const SOFTWARE: &str = "/cvmfs";
const APPTAINER: &str = "apptainer";
/// Of the worker's environment, what images get.
const PASSED_ON: [&str; 7] =
    ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "TZ"];
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What an image's root is given, whatever it has there.
const GIVEN: [&str; 6] = ["proc", "dev", "sys", "tmp", "job", "cvmfs"];

/// What brings payloads into images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entrance {
    Apptainer,
    Bubblewrap,
}

/// An image that is here.
#[derive(Debug, Clone)]
pub struct Root {
    path: PathBuf,
    environment: Vec<(String, String)>,
}

/// An image on its way.
type Fetching = Shared<BoxFuture<'static, Result<Root, NoImage>>>;

/// What runs payloads in images on this worker, and the images that are here.
pub struct Images {
    entrance: Entrance,
    program: PathBuf,
    devices: bool,
    store: PathBuf,
    fetches: AtomicU64,
    /// Where there may be unpacked ones.
    directories: Vec<PathBuf>,
    here: Mutex<HashMap<String, Fetching>>,
}

impl Images {
    /// Tries what this worker can do.
    pub fn find(configuration: &Configuration) -> anyhow::Result<Self> {
        let mut reasons = Vec::new();
        for entrance in [Entrance::Apptainer, Entrance::Bubblewrap] {
            match Self::by(entrance, configuration) {
                Ok(images) => return Ok(images),
                Err(error) => reasons.push(format!("{error:#}")),
            }
        }
        bail!("container images cannot be run here: {}", reasons.join("; "))
    }

    fn by(entrance: Entrance, configuration: &Configuration) -> anyhow::Result<Self> {
        let name = match entrance {
            Entrance::Apptainer => APPTAINER,
            Entrance::Bubblewrap => isolation::PROGRAM,
        };
        let program = isolation::on_path(name).with_context(|| format!("{name} is missing"))?;
        let images = Self {
            entrance,
            program,
            devices: configuration.gpus > 0,
            store: configuration.home.join("images"),
            fetches: AtomicU64::default(),
            directories: configuration.image_directories.clone(),
            here: Mutex::default(),
        };
        images
            .try_it(&configuration.home.join("tried"))
            .with_context(|| format!("{name} fails"))?;
        Ok(images)
    }

    /// The worker itself serves as an image; for apptainer, which will not have that, its programs do.
    fn try_it(&self, directory: &Path) -> anyhow::Result<()> {
        let (inside, skeleton) = (directory.join("job"), directory.join("root"));
        fs::create_dir_all(&inside)?;
        let (path, mounted) = match self.entrance {
            Entrance::Apptainer => (skeleton.clone(), programs_in(&skeleton)?),
            Entrance::Bubblewrap => (PathBuf::from("/"), Vec::new()),
        };
        let root = Root { path, environment: Vec::new() };
        let mut command = Command::new(&self.program);
        command.args(self.arguments(&root, &inside)?).arg("/bin/true").stdin(Stdio::null());
        command.env("APPTAINER_BIND", mounted.join(","));
        let output = command.output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// An image, fetched if it is not here yet. A fetch that has begun goes on if whoever asked does not wait
    /// for it.
    pub async fn root(&self, image: &Image) -> Result<Root, NoImage> {
        let name = match image {
            Image::Registry(reference) => reference,
            Image::Unpacked(path) => return self.unpacked(path),
        };
        let fetching =
            lock(&self.here).entry(name.clone()).or_insert_with(|| self.fetch(name)).clone();
        let root = fetching.await;
        if root.is_err() {
            // Whoever asks next tries again.
            lock(&self.here).remove(name);
        }
        root
    }

    /// One that lies where images may: other directories would show a payload what it is kept from.
    fn unpacked(&self, path: &str) -> Result<Root, NoImage> {
        let there = Path::new(path).canonicalize().ok().filter(|there| there.is_dir());
        let there =
            there.ok_or_else(|| NoImage::refused(path, "no such directory on this worker"))?;
        let allowed = self.directories.iter().filter_map(|folder| folder.canonicalize().ok());
        match allowed.into_iter().any(|folder| there.starts_with(folder)) {
            true => Ok(Root { path: there, environment: Vec::new() }),
            false => {
                let folders: Vec<_> =
                    self.directories.iter().map(|d| d.display().to_string()).collect();
                let why = format!("images may lie here in {}", folders.join(", "));
                Err(NoImage::refused(path, why))
            }
        }
    }

    fn fetch(&self, name: &str) -> Fetching {
        // Each attempt has a directory of its own: what was given up may still be written to.
        let n = self.fetches.fetch_add(1, Ordering::Relaxed);
        let (path, name) = (self.store.join(n.to_string()), name.to_owned());
        let broken = NoImage::refused(&name, "fetching it broke");
        let fetch = tokio::spawn(async move {
            fs::create_dir_all(&path).map_err(|error| NoImage::trouble(&name, error))?;
            let fetched = pull::pull(&name, &path).await;
            let environment = fetched.inspect_err(|_| drop(fs::remove_dir_all(&path)))?;
            Ok(Root { path, environment })
        });
        async move { fetch.await.unwrap_or(Err(broken)) }.boxed().shared()
    }

    /// What brings payloads in.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The program's name, as `/proc` has it, if it would end its payload at once when asked to end itself.
    pub fn harsh(&self) -> Option<&'static str> {
        (self.entrance == Entrance::Bubblewrap).then_some(isolation::PROGRAM)
    }

    /// What stands between the program and a payload's command.
    pub fn arguments(&self, root: &Root, directory: &Path) -> io::Result<Vec<OsString>> {
        match self.entrance {
            Entrance::Apptainer => Ok(self.apptainer(root, directory)),
            Entrance::Bubblewrap => self.bubblewrap(root, directory),
        }
    }

    fn apptainer(&self, root: &Root, directory: &Path) -> Vec<OsString> {
        let mut home = directory.as_os_str().to_owned();
        home.push(format!(":{PLACE}"));
        let mut arguments = words(&["--quiet", "exec", "--cleanenv", "--no-eval", "--contain"]);
        arguments.extend(words(&["--pid", "--ipc", "--pwd", PLACE, "--home"]));
        arguments.push(home);
        if Path::new(SOFTWARE).is_dir() {
            arguments.extend(words(&["--bind", SOFTWARE]));
        }
        if self.devices {
            arguments.extend(words(&[if share::amd() { "--rocm" } else { "--nv" }]));
        }
        arguments.push(root.path.as_os_str().to_owned());
        arguments
    }

    fn bubblewrap(&self, root: &Root, directory: &Path) -> io::Result<Vec<OsString>> {
        let mut options = Options::default();
        for entry in fs::read_dir(&root.path)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            if GIVEN.iter().any(|given| name == *given) {
                continue;
            }
            let place = Path::new("/").join(&name);
            match fs::read_link(&path) {
                Ok(to) => options.add("--symlink", &[&to, &place]),
                Err(_) => options.add("--ro-bind", &[&path, &place]),
            }
        }
        for file in ["/etc/resolv.conf", "/etc/hosts"].map(Path::new) {
            // Where there is none nothing can be mounted.
            let place = file.strip_prefix("/").map(|inner| root.path.join(inner));
            if place.is_ok_and(|place| fs::symlink_metadata(place).is_ok_and(|p| p.is_file())) {
                options.add("--ro-bind-try", &[file, file]);
            }
        }
        options.devices(self.devices);
        for folder in ["/sys", SOFTWARE].map(Path::new) {
            options.add("--ro-bind-try", &[folder, folder]);
        }
        options.add("--tmpfs", &[Path::new("/tmp")]);
        Ok(options.end(directory, Path::new(PLACE)))
    }

    /// A payload's environment: its own, and the image's.
    pub fn environment(&self, root: &Root, own: Vec<(String, String)>) -> Environment {
        let passed_on = PASSED_ON
            .iter()
            .filter_map(|name| std::env::var(name).ok().map(|value| ((*name).to_owned(), value)));
        let path = ("PATH".to_owned(), PATH.to_owned());
        let all = [path].into_iter().chain(passed_on).chain(root.environment.clone()).chain(own);
        match self.entrance {
            Entrance::Bubblewrap => Environment::Alone(all.collect()),
            Entrance::Apptainer => {
                let given = all.filter(|(name, _)| name != "HOME");
                let named = |(name, value)| (format!("APPTAINERENV_{name}"), value);
                Environment::Own(given.map(named).collect())
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An image in which only the places of the worker's programs are; these are to be mounted.
fn programs_in(root: &Path) -> io::Result<Vec<&'static str>> {
    fs::create_dir_all(root)?;
    pull::complete(root)?;
    let mut mounted = Vec::new();
    for folder in ["/usr", "/bin", "/lib", "/lib64"] {
        let place = root.join(&folder[1..]);
        match fs::read_link(folder) {
            Ok(to) => std::os::unix::fs::symlink(to, place)?,
            Err(_) if Path::new(folder).is_dir() => {
                fs::create_dir(place)?;
                mounted.push(folder);
            }
            Err(_) => {}
        }
    }
    Ok(mounted)
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}
