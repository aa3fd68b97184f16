//! Changes of a document, before they are made ready: what a bind, a rollout, a rollback does to it.

use super::previous;
use spinor_api::administration::AdminError;
use spinor_model::{
    finding::Finding,
    id::Digest,
    registry::{Binding, BindingPath, Candidate, Grants, Mode, VoDocument},
};
use spinor_store::StoredDocument;
use std::collections::{BTreeMap, BTreeSet};

/// A document on its way into force.
pub struct Draft {
    /// The document.
    pub document: VoDocument,
    /// Digests that its places were resolved to.
    pub pinned: BTreeMap<String, Digest>,
    /// Places that its VO inherits.
    pub inherited: BTreeSet<BindingPath>,
    /// Whether these are all that will do.
    pub strict: bool,
    /// A place that begins anew.
    pub renewed: Option<BindingPath>,
    /// The revision that it was made from, which must still be in force; whichever is, if none.
    pub after: Option<i64>,
}

impl Draft {
    /// A document as somebody wrote it, with what its places must be resolved to.
    pub fn new(document: VoDocument, pinned: BTreeMap<String, Digest>, strict: bool) -> Self {
        Self { document, pinned, inherited: BTreeSet::new(), strict, renewed: None, after: None }
    }

    /// A document that is, or was, in force.
    pub fn of(stored: &StoredDocument) -> Self {
        Self {
            document: stored.document.clone(),
            pinned: stored.resolutions.clone(),
            inherited: super::inherited(&stored.document, &stored.effective),
            strict: false,
            renewed: None,
            after: Some(stored.revision),
        }
    }

    /// What is bound in a place.
    pub fn there(&self, path: &BindingPath) -> Result<Binding, AdminError> {
        self.document.binding(path).cloned().ok_or_else(|| {
            let vo = &self.document.vo;
            if self.inherited.contains(path) {
                let text = format!(
                    "`{path}` of VO {vo} is the installation's: its operator changes it there"
                );
                return AdminError::Refused(text);
            }
            AdminError::NotFound(format!("nothing is bound to `{path}` in VO {vo}"))
        })
    }

    /// Puts a binding in a place on the version that the place is on.
    pub fn keep(&mut self, path: &BindingPath, binding: Binding) -> Result<(), AdminError> {
        self.document.bind(path, Some(binding)).map_err(|bad| AdminError::Findings(bad.0))
    }

    /// Puts a binding in a place, resolved anew, or takes it away.
    pub fn put(&mut self, path: &BindingPath, binding: Option<Binding>) -> Result<(), AdminError> {
        self.document.bind(path, binding).map_err(|bad| AdminError::Findings(bad.0))?;
        self.pinned.remove(&path.to_string());
        self.pinned.remove(&path.candidate_key());
        self.renewed = Some(path.clone());
        Ok(())
    }

    /// Lets a candidate in, or takes it away; what was done, in words.
    pub fn let_in(
        &mut self,
        path: &BindingPath,
        candidate: Option<Candidate>,
    ) -> Result<(&'static str, String), AdminError> {
        let binding = self.there(path)?;
        let Some(candidate) = candidate else {
            let Some(gone) = binding.candidate else {
                return Err(AdminError::NotFound(format!("`{path}` has no candidate")));
            };
            self.pinned.remove(&path.candidate_key());
            self.keep(path, Binding { candidate: None, ..binding })?;
            return Ok((
                "rollback",
                format!("candidate {} {} taken away", gone.plugin, gone.version),
            ));
        };
        let same = binding.candidate.as_ref().is_some_and(|there| {
            there.plugin == candidate.plugin && there.version == candidate.version
        });
        if !same {
            self.pinned.remove(&path.candidate_key());
        }
        let Candidate { stage, share, .. } = &candidate;
        let share = match stage.as_str() {
            "canary" => format!(" for {share} %"),
            _ => String::new(),
        };
        let detail = format!("as {}{share}", stage.as_str());
        self.keep(path, Binding { candidate: Some(Box::new(candidate)), ..binding })?;
        Ok(("rollout", detail))
    }

    /// Puts the candidate in the place of what is bound.
    pub fn promote(&mut self, path: &BindingPath) -> Result<(), AdminError> {
        let binding = self.there(path)?;
        let Some(candidate) = binding.candidate else {
            let text =
                format!("`{path}` has no candidate: let one in with `spinor plugin rollout`");
            return Err(AdminError::Refused(text));
        };
        let promoted = Binding { fallback: binding.fallback, ..candidate.binding() };
        if let Some(digest) = self.pinned.remove(&path.candidate_key()) {
            self.pinned.insert(path.to_string(), digest);
        }
        self.keep(path, promoted)
    }

    /// Takes the candidate away, else switches the place on again, else puts back what was bound
    /// before; with a revision, what was bound then. Says what it did.
    pub fn roll_back(
        &mut self,
        path: &BindingPath,
        to: Option<i64>,
        stored: &StoredDocument,
        revisions: &[StoredDocument],
    ) -> Result<String, AdminError> {
        if let Some(number) = to {
            let found = revision(revisions, number)?;
            let binding = found.document.binding(path).cloned();
            self.put(path, binding)?;
            for key in [path.to_string(), path.candidate_key()] {
                if let Some(digest) = found.resolutions.get(&key) {
                    self.pinned.insert(key, *digest);
                }
            }
            return Ok(format!("to revision {number}"));
        }
        let binding = stored.document.binding(path);
        if binding.is_some_and(|binding| binding.candidate.is_some()) {
            return self.let_in(path, None).map(|(_, detail)| detail);
        }
        if let Some(binding) = binding.filter(|binding| binding.mode == Mode::Off) {
            self.keep(path, Binding { mode: Mode::Enforce, ..binding.clone() })?;
            return Ok("switched on again".to_owned());
        }
        let now = binding.zip(stored.resolutions.get(&path.to_string()));
        let before = previous::of_place(revisions, path).into_iter().find(|(earlier, digest)| {
            now.is_none_or(|(binding, now)| {
                digest != now
                    || earlier.settings_digest() != binding.settings_digest()
                    || earlier.grants != binding.grants
            })
        });
        let Some((earlier, digest)) = before else {
            let text = format!(
                "nothing else was bound to `{path}` before: there is nothing to go back to"
            );
            return Err(AdminError::Refused(text));
        };
        let detail = format!("to {} {}", earlier.plugin, digest.short());
        self.put(path, Some(earlier))?;
        self.pinned.insert(path.to_string(), digest);
        Ok(detail)
    }
}

/// A revision by its number.
pub fn revision(revisions: &[StoredDocument], number: i64) -> Result<&StoredDocument, AdminError> {
    revisions.iter().find(|stored| stored.revision == number).ok_or_else(|| {
        let last = revisions.last().map_or(0, |stored| stored.revision);
        AdminError::NotFound(format!("there is no revision {number}; the last is {last}"))
    })
}

/// Whether places were resolved to what they are pinned to.
pub fn hold_to(
    pinned: &BTreeMap<String, Digest>,
    resolutions: &BTreeMap<String, Digest>,
) -> Result<(), AdminError> {
    let missed = |(place, pin): (&String, &Digest)| {
        let got = resolutions.get(place)?;
        (got != pin).then(|| Finding {
            field: format!("{place}.plugin"),
            value: pin.to_string(),
            message: format!(
                "is what the place is pinned to, and is not here or not in the version range (there is {}): push it first",
                got.short()
            ),
        })
    };
    let missed: Vec<Finding> = pinned.iter().filter_map(missed).collect();
    if missed.is_empty() { Ok(()) } else { Err(AdminError::Findings(missed)) }
}

/// Capabilities that a place has after a change and had not before.
pub fn newly_granted(
    before: &VoDocument,
    after: &VoDocument,
    path: &BindingPath,
) -> Vec<&'static str> {
    let ceiling = grants(before, path);
    let beyond = grants(after, path).into_iter().flat_map(|grants| grants.beyond(&ceiling));
    beyond.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What is granted in a place: to what is bound there, and to its candidate.
fn grants<'a>(document: &'a VoDocument, path: &BindingPath) -> Vec<&'a Grants> {
    let Some(binding) = document.binding(path) else { return Vec::new() };
    let candidate = binding.candidate.as_ref().map(|candidate| &candidate.grants);
    std::iter::once(&binding.grants).chain(candidate).collect()
}

/// Whether a policy manager's change stays within what an operator granted: to the place as it is,
/// or to the VO for its managers to use.
pub fn within_grants(
    before: &VoDocument,
    after: &VoDocument,
    path: &BindingPath,
) -> Result<(), AdminError> {
    let mut ceiling = grants(before, path);
    ceiling.push(&before.grants);
    for wanted in grants(after, path) {
        let beyond = wanted.beyond(&ceiling);
        if !beyond.is_empty() {
            let names = beyond.into_iter().collect::<Vec<_>>().join(", ");
            return Err(AdminError::Forbidden(format!(
                "only an operator grants capabilities: `{names}` of `{path}` is beyond what the place has and what VO {} lets its policy managers grant (`grants` of its document)",
                before.vo
            )));
        }
    }
    Ok(())
}
