//! A campaign: VO documents, submissions, what to expect of them, and a swap.

use anyhow::{Context, bail};
use rust_embed::RustEmbed;
use serde::Deserialize;
use spinor_model::{
    id::{GroupName, UserName, VoName},
    registry::{BindingPath, VoDocument},
    state::JobState,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

#[derive(RustEmbed)]
#[folder = "../../examples/campaigns/two-communities"]
struct BuiltIn;

/// A campaign, as `campaign.toml` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// For people.
    pub title: String,
    /// Files of VO documents.
    pub documents: Vec<PathBuf>,
    /// What is submitted, in this order.
    #[serde(rename = "submission")]
    pub submissions: Vec<Submission>,
    /// The policy that is swapped in the middle.
    pub swap: Option<Swap>,
    /// Its directory.
    #[serde(skip)]
    pub directory: PathBuf,
}

/// A submission, and what to expect of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// What is remarkable about it.
    pub what: String,
    /// Whose.
    pub vo: VoName,
    /// Whose.
    pub group: GroupName,
    /// Whose.
    pub user: UserName,
    /// File of the description.
    pub description: PathBuf,
    /// The state its jobs end in; `Waiting` for what nothing can run.
    pub expect: JobState,
    /// Attempts that each job takes.
    pub attempts: Option<u32>,
    /// Program that checks the outputs. It runs where the output of job N lies in `job-N`, prints
    /// one line, and exits with 0 if they are what they should be.
    pub check: Option<Vec<String>>,
}

/// The policy that is swapped in the middle.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swap {
    /// In which VO.
    pub vo: VoName,
    /// In which place.
    pub path: BindingPath,
    /// To this version of the plugin that is bound there.
    pub to: semver::VersionReq,
    /// Once so many of the VO's jobs are Done.
    pub after_done: u64,
    /// Where each version sends jobs: `version -> site`.
    pub sites: std::collections::BTreeMap<String, String>,
}

impl Campaign {
    /// Reads the campaign in `directory`, or puts the one that is built in there.
    pub fn read(given: Option<&Path>, scratch: &Path) -> anyhow::Result<Self> {
        let directory = match given {
            Some(directory) => directory.to_owned(),
            None => unpack(scratch)?,
        };
        let file = directory.join("campaign.toml");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut campaign: Self =
            toml::from_str(&text).with_context(|| format!("in {}", file.display()))?;
        campaign.directory = directory;
        Ok(campaign)
    }

    /// The campaign's VO documents, with their text.
    pub fn vos(&self) -> anyhow::Result<Vec<(VoDocument, String)>> {
        let mut vos = Vec::new();
        for file in &self.documents {
            let path = self.directory.join(file);
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let document =
                VoDocument::from_toml(&text).with_context(|| format!("in {}", path.display()))?;
            vos.push((document, text));
        }
        if vos.is_empty() {
            bail!("{}: `documents` is empty: name a VO's document", self.directory.display());
        }
        Ok(vos)
    }
}

fn unpack(scratch: &Path) -> anyhow::Result<PathBuf> {
    for name in BuiltIn::iter() {
        let path = scratch.join(&*name);
        if let (Some(file), Some(folder)) = (BuiltIn::get(&name), path.parent()) {
            fs::create_dir_all(folder)?;
            fs::write(&path, file.data)?;
        }
    }
    Ok(scratch.to_owned())
}
