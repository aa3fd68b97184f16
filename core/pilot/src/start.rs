//! A payload begins: its directory, what it runs in, and its limits.

use crate::{
    cgroup::Group,
    image::{self, Images, NoImage, Root},
    isolation::{self, Isolation},
    launch::{Environment, Launch},
    means::Means,
    share::Share,
    tokens::{Communal, JOB},
};
use anyhow::Context;
use spinor_model::{plan::Plan, protocol::Assignment};
use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

/// A payload that has begun.
pub struct Begun {
    /// The leader of its processes.
    pub leader: Child,
    /// Its control group.
    pub group: Option<Group>,
    /// The program around it, as `/proc` calls it, if that would end it at once when asked to end.
    pub harsh: Option<&'static str>,
    /// File that has how it ended, if it could not begin after all.
    pub failure: PathBuf,
}

/// What a payload runs in.
pub enum Around<'a> {
    /// The worker as it is.
    Nothing,
    /// The worker without what it must not see.
    Walls(&'a Isolation),
    /// An image.
    Image(&'a Images, Root),
}

impl<'a> Around<'a> {
    /// What a job runs in. Its image, if it has one, is fetched if need be.
    pub async fn of(job: &Assignment, means: &'a Means) -> Result<Self, NotBegun> {
        let Some(image) = &job.image else {
            return Ok(means.isolation.as_ref().map_or(Self::Nothing, Self::Walls));
        };
        let none = || NotBegun::Now(format!("image {image}: this worker runs no images"));
        let images = means.images.as_ref().ok_or_else(none)?;
        Ok(Self::Image(images, images.root(image).await?))
    }

    /// Where the payload sees its directory.
    fn place<'d>(&self, directory: &'d Path) -> &'d Path {
        match self {
            Self::Image(..) => Path::new(image::PLACE),
            Self::Nothing | Self::Walls(_) => directory,
        }
    }

    /// The program around it and that program's arguments.
    fn words(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        let (program, arguments) = match self {
            Self::Nothing => return Ok(Vec::new()),
            Self::Walls(isolation) => (isolation.program(), isolation.arguments(directory)),
            Self::Image(images, root) => (images.program(), images.arguments(root, directory)?),
        };
        Ok([program.into()].into_iter().chain(arguments).collect())
    }

    fn environment(&self, variables: Vec<(String, String)>) -> Environment {
        match self {
            Self::Nothing => Environment::Own(variables),
            Self::Walls(_) => Environment::Walled(variables),
            Self::Image(images, root) => images.environment(root, variables),
        }
    }

    fn harsh(&self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Walls(_) => Some(isolation::PROGRAM),
            Self::Image(images, _) => images.harsh(),
        }
    }
}

/// Why a payload has not begun.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// Nor will it.
    #[error("{0:#}")]
    Never(anyhow::Error),
    /// It may have more luck later.
    #[error("{0}")]
    Now(String),
}

impl From<NoImage> for NotBegun {
    fn from(none: NoImage) -> Self {
        match none {
            NoImage::Refused(..) => Self::Never(none.into()),
            NoImage::Trouble(..) => Self::Now(none.to_string()),
        }
    }
}

/// Starts a job's payload in its directory, where all that it needs is.
pub fn start(
    job: &Assignment,
    directory: &Path,
    means: &Means,
    around: &Around<'_>,
    share: &Share,
) -> Result<Begun, NotBegun> {
    let group = group(job, directory, means)?;
    let beside = |what: &str| directory.with_extension(format!("{}.{what}", job.attempt));
    let variables = variables(job, around.place(directory), &means.server, share);
    let launch = Launch {
        cores: share.cores.clone(),
        group: group.as_ref().map(|group| group.path().to_owned()),
        data_mb: (group.is_none() && job.gpus == 0).then(|| far_beyond(job.memory_limit_mb)),
        file_mb: (job.scratch_mb > 0).then_some(job.scratch_mb),
        environment: around.environment(variables),
        failure: beside("failure"),
    };
    match spawn(job, directory, around, &launch, &beside("launch")) {
        Ok(leader) => Ok(Begun { leader, group, harsh: around.harsh(), failure: launch.failure }),
        Err(error) => {
            group.into_iter().for_each(Group::end);
            Err(NotBegun::Never(error))
        }
    }
}

fn group(job: &Assignment, directory: &Path, means: &Means) -> Result<Option<Group>, NotBegun> {
    let Some(groups) = &means.groups else { return Ok(None) };
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let made = groups.make(&name, job.memory_limit_mb, job.cores);
    made.map(Some).map_err(|error| NotBegun::Now(format!("no control group: {error}")))
}

/// Where no group holds processes to their memory they are looked at a few times a second: this is
/// against one that takes all of the worker's in between.
fn far_beyond(limit_mb: u64) -> u64 {
    limit_mb.saturating_mul(4).saturating_add(1024)
}

fn spawn(
    job: &Assignment,
    directory: &Path,
    around: &Around<'_>,
    launch: &Launch,
    told: &Path,
) -> anyhow::Result<Child> {
    let Plan { command: words, stdout, stderr, .. } = &job.plan;
    let (program, arguments) = words.split_first().context("the plan has no command")?;
    let program = found(directory, around.place(directory), program)?;
    let mut command = launch.command(told)?;
    command
        .args(around.words(directory)?)
        .arg(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(File::create(directory.join(stdout))?)
        .stderr(File::create(directory.join(stderr))?)
        .process_group(0);
    Ok(command.spawn()?)
}

/// What a payload is told: `place` is where it sees its directory.
fn variables(job: &Assignment, place: &Path, server: &str, share: &Share) -> Vec<(String, String)> {
    let at = |name: &str| place.join(name).to_string_lossy().into_owned();
    let (here, cores) = (place.to_string_lossy().into_owned(), job.cores.to_string());
    let own = [
        ("HOME", here.clone()),
        ("TMPDIR", here),
        ("OMP_NUM_THREADS", cores.clone()),
        ("SPINOR_CORES", cores),
        ("SPINOR_JOB_ID", job.job.to_string()),
        ("SPINOR_ATTEMPT", job.attempt.to_string()),
        ("SPINOR_JOB_TOKEN_FILE", at(JOB)),
        ("SPINOR_URL", server.to_owned()),
    ];
    let communal = Communal::of(job).map(|what| (what.variable(), at(what.file())));
    let named = own.into_iter().chain(communal).map(|(name, value)| (name.to_owned(), value));
    let asked = job.plan.environment.clone();
    named.chain(share.variables()).chain(asked).collect()
}

/// A program that came with the job, made executable again if that was lost on the way; else the
/// machine's, or the image's, as it is.
fn found(directory: &Path, place: &Path, program: &str) -> io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let own = directory.join(program);
    if Path::new(program).is_absolute() || !own.is_file() {
        return Ok(PathBuf::from(program));
    }
    let mut permissions = fs::metadata(&own)?.permissions();
    permissions.set_mode(permissions.mode() | 0o500);
    fs::set_permissions(&own, permissions)?;
    Ok(place.join(program))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_what_came_with_the_job_is_made_executable() {
        let (job, machine) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
        for file in [job.path().join("run.sh"), machine.path().join("tool")] {
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        }
        let place = Path::new(image::PLACE);
        assert_eq!(found(job.path(), place, "run.sh").unwrap(), place.join("run.sh"));
        assert_eq!(mode(&job.path().join("run.sh")), 0o740);
        let tool = machine.path().join("tool");
        assert_eq!(found(job.path(), place, tool.to_str().unwrap()).unwrap(), tool);
        assert_eq!(mode(&tool), 0o640);
        assert_eq!(found(job.path(), place, "python3").unwrap(), Path::new("python3"));
    }
}
