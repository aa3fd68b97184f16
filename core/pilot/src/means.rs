//! What a worker can do for payloads: found out before the first is asked for.

use crate::{
    cgroup::Groups, configuration::Configuration, image::Images, isolation::Isolation,
    share::Shares,
};
use spinor_model::registry::{IMAGES, LIMITS_CORES, LIMITS_MEMORY};
use std::collections::BTreeSet;

/// What a worker can do for payloads.
pub struct Means {
    /// Where they find the server.
    pub server: String,
    /// Keeps them apart.
    pub isolation: Option<Isolation>,
    /// Runs them in images.
    pub images: Option<Images>,
    /// Has the kernel hold them to their limits.
    pub groups: Option<Groups>,
    binds: bool,
}

impl Means {
    /// Tries what was promised, and what else there may be. A promise that cannot be kept is an error: jobs
    /// would have nowhere to run.
    pub fn find(configuration: &Configuration, shares: &Shares) -> anyhow::Result<Self> {
        let isolation =
            configuration.isolate.then(|| Isolation::find(configuration)).transpose()?;
        let images = configuration.images.then(|| Images::find(configuration)).transpose()?;
        let groups = Groups::divide()
            .inspect_err(|error| tracing::debug!("no control groups for payloads: {error:#}"))
            .ok();
        let server = configuration.server.clone();
        Ok(Self { server, isolation, images, groups, binds: shares.binds() })
    }

    /// The tags of a slot, of which some are this worker's to say.
    pub fn tags(&self, told: &BTreeSet<String>) -> BTreeSet<String> {
        let cores = self.binds || self.groups.as_ref().is_some_and(Groups::holds_cores);
        let own = [
            (IMAGES, self.images.is_some()),
            (LIMITS_MEMORY, self.groups.is_some()),
            (LIMITS_CORES, cores),
        ];
        let mut tags = told.clone();
        for (tag, can) in own {
            match can {
                true => tags.insert(tag.to_owned()),
                false => tags.remove(tag),
            };
        }
        tags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_that_are_not_kept_are_taken_back() {
        let means = Means {
            server: String::new(),
            isolation: None,
            images: None,
            groups: None,
            binds: true,
        };
        let told = ["cvmfs", LIMITS_MEMORY].map(str::to_owned).into();
        let tags = means.tags(&told);
        assert_eq!(tags, ["cvmfs", LIMITS_CORES].map(str::to_owned).into());
    }
}
