//! Payloads in container images: by apptainer where the worker has it, by bubblewrap else. The images are
//! fetched from their registries by the pilot itself, once each, or lie unpacked on the worker.

mod layers;
mod pull;

pub use pull::NoImage;

use crate::{configuration::Configuration, isolation};
use anyhow::{Context, bail};
use spinor_model::{id::Digest, image::Image};
use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};
use tokio::sync::{Mutex, OnceCell};

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

/// What runs payloads in images on this worker, and the images that are here.
pub struct Images {
    entrance: Entrance,
    program: PathBuf,
    devices: bool,
    store: PathBuf,
    here: Mutex<HashMap<String, Arc<OnceCell<Root>>>>,
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
        let program = on_path(name).with_context(|| format!("{name} is missing"))?;
        let images = Self {
            entrance,
            program,
            devices: configuration.gpus > 0,
            store: configuration.home.join("images"),
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
        let mounted = programs_in(&skeleton)?;
        let path = match self.entrance {
            Entrance::Apptainer => skeleton,
            Entrance::Bubblewrap => PathBuf::from("/"),
        };
        let root = Root { path, environment: Vec::new() };
        let mut command = Command::new(&self.program);
        command.args(self.arguments(&root, &inside)?).arg("/bin/true").stdin(Stdio::null());
        self.furnish(&mut command, &root, Vec::new());
        command.env("APPTAINER_BIND", mounted.join(","));
        let output = command.output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// An image, fetched if it is not here yet.
    pub async fn root(&self, image: &Image) -> Result<Root, NoImage> {
        let name = match image {
            Image::Registry(reference) => reference,
            Image::Unpacked(path) => {
                let there = Path::new(path).is_dir();
                let none = || NoImage::refused(path, "no such directory on this worker");
                return there
                    .then(|| Root { path: path.into(), environment: Vec::new() })
                    .ok_or_else(none);
            }
        };
        let cell = self.here.lock().await.entry(name.clone()).or_default().clone();
        cell.get_or_try_init(|| self.fetch(name)).await.cloned()
    }

    async fn fetch(&self, name: &str) -> Result<Root, NoImage> {
        let path = self.store.join(Digest::of(name.as_bytes()).to_string());
        let anew = || {
            drop(fs::remove_dir_all(&path));
            fs::create_dir_all(&path)
        };
        anew().map_err(|error| NoImage::trouble(name, error))?;
        let environment = pull::pull(name, &path).await?;
        Ok(Root { path, environment })
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
            let amd = Path::new("/dev/kfd").exists();
            arguments.extend(words(&[if amd { "--rocm" } else { "--nv" }]));
        }
        arguments.push(root.path.as_os_str().to_owned());
        arguments
    }

    fn bubblewrap(&self, root: &Root, directory: &Path) -> io::Result<Vec<OsString>> {
        let mut arguments = Vec::new();
        let mut add = |option: &str, paths: &[&Path]| {
            arguments.push(OsString::from(option));
            arguments.extend(paths.iter().map(|path| path.as_os_str().to_owned()));
        };
        for entry in fs::read_dir(&root.path)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            if GIVEN.iter().any(|given| name == *given) {
                continue;
            }
            let place = Path::new("/").join(&name);
            match fs::read_link(&path) {
                Ok(to) => add("--symlink", &[&to, &place]),
                Err(_) => add("--ro-bind", &[&path, &place]),
            }
        }
        for file in ["/etc/resolv.conf", "/etc/hosts"].map(Path::new) {
            // Where there is none nothing can be mounted.
            let place = file.strip_prefix("/").map(|inner| root.path.join(inner));
            if place.is_ok_and(|place| fs::symlink_metadata(place).is_ok_and(|p| p.is_file())) {
                add("--ro-bind-try", &[file, file]);
            }
        }
        let dev = Path::new("/dev");
        match self.devices {
            true => {
                add("--dev-bind", &[dev, dev]);
                add("--tmpfs", &[Path::new("/dev/shm")]);
            }
            false => add("--dev", &[dev]),
        }
        add("--proc", &[Path::new("/proc")]);
        add("--ro-bind-try", &[Path::new("/sys"), Path::new("/sys")]);
        add("--ro-bind-try", &[Path::new(SOFTWARE), Path::new(SOFTWARE)]);
        add("--tmpfs", &[Path::new("/tmp")]);
        add("--bind", &[directory, Path::new(PLACE)]);
        add("--chdir", &[Path::new(PLACE)]);
        arguments.extend(words(&["--unshare-pid", "--unshare-ipc", "--die-with-parent", "--"]));
        Ok(arguments)
    }

    /// Gives a payload its environment, and the image's.
    pub fn furnish(&self, command: &mut Command, root: &Root, own: Vec<(String, String)>) {
        let passed_on = PASSED_ON
            .iter()
            .filter_map(|name| std::env::var(name).ok().map(|value| ((*name).to_owned(), value)));
        let path = ("PATH".to_owned(), PATH.to_owned());
        let all = [path].into_iter().chain(passed_on).chain(root.environment.clone()).chain(own);
        match self.entrance {
            Entrance::Apptainer => {
                let given = all.filter(|(name, _)| name != "HOME");
                command.envs(given.map(|(name, value)| (format!("APPTAINERENV_{name}"), value)));
            }
            Entrance::Bubblewrap => {
                command.env_clear().envs(all);
            }
        }
    }
}

/// An image in which only the places of the worker's programs are; these are to be mounted.
fn programs_in(root: &Path) -> io::Result<Vec<&'static str>> {
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

/// A program, where the worker's PATH has it.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsStr::new(PATH).to_owned());
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
