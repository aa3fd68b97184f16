//! What was bound before: read from the revisions of a document.

use spinor_model::{
    id::Digest,
    registry::{Binding, BindingPath, Mode, VoDocument},
};
use spinor_store::StoredDocument;
use std::collections::{BTreeMap, BTreeSet};

/// Bindings of a place that are looked back at.
const DEEP: usize = 10;

type Bound = (Binding, Digest);

/// What was bound in each place of a document, the latest first.
pub fn before(
    revisions: &[StoredDocument],
    document: &VoDocument,
) -> BTreeMap<BindingPath, Vec<Bound>> {
    document.bindings().map(|(path, _)| (path.clone(), of_place(revisions, &path))).collect()
}

/// What was bound in a place, the latest first, without candidates. What somebody rolled back from
/// is left out: it is no place to go back to.
pub fn of_place(revisions: &[StoredDocument], path: &BindingPath) -> Vec<Bound> {
    let mut withdrawn = BTreeSet::new();
    let mut found: Vec<Bound> = Vec::new();
    let mut rolled_back_to: Option<(Digest, Digest)> = None;
    for stored in revisions.iter().rev() {
        let bound = stored.effective.binding(path).zip(stored.resolutions.get(&path.to_string()));
        let Some((binding, digest)) = bound else {
            rolled_back_to = None;
            continue;
        };
        let key = (*digest, binding.settings_digest());
        if rolled_back_to.take().is_some_and(|to| to != key) {
            withdrawn.insert(key);
        }
        if stored.change.action == "rollback" {
            rolled_back_to = Some(key);
        }
        let known = |(b, d): &Bound| (*d, b.settings_digest()) == key && b.grants == binding.grants;
        if withdrawn.contains(&key) || binding.mode == Mode::Off || found.iter().any(known) {
            continue;
        }
        found.push((Binding { candidate: None, ..binding.clone() }, *digest));
        if found.len() == DEEP {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use spinor_model::time::Timestamp;
    use spinor_store::Change;

    fn revision(number: i64, version: &str, action: &str) -> StoredDocument {
        let text = format!(
            "vo = \"vo\"\n[groups.g]\n[matching]\nplugin = \"matching/x\"\nversion = \"={version}\""
        );
        let document = VoDocument::from_toml(&text).unwrap();
        StoredDocument {
            effective: document.clone(),
            document,
            revision: number,
            resolutions: BTreeMap::from([("matching".to_owned(), Digest::of(version.as_bytes()))]),
            change: Change {
                author: "a".to_owned(),
                action: action.to_owned(),
                note: String::new(),
            },
            applied: Timestamp(number),
        }
    }

    fn versions(revisions: &[StoredDocument]) -> Vec<String> {
        let found = of_place(revisions, &BindingPath::Matching);
        found.into_iter().map(|(binding, _)| binding.version.to_string()).collect()
    }

    #[test]
    fn the_latest_comes_first_and_each_once() {
        let revisions = [
            revision(1, "1.0.0", "apply"),
            revision(2, "1.1.0", "bind"),
            revision(3, "1.1.0", "apply"),
            revision(4, "1.2.0", "promote"),
        ];
        assert_eq!(versions(&revisions), ["=1.2.0", "=1.1.0", "=1.0.0"]);
    }

    #[test]
    fn what_was_rolled_back_from_is_no_place_to_go_back_to() {
        let revisions = [
            revision(1, "1.0.0", "apply"),
            revision(2, "1.1.0", "bind"),
            revision(3, "1.2.0", "bind"),
            revision(4, "1.1.0", "rollback"),
        ];
        assert_eq!(versions(&revisions), ["=1.1.0", "=1.0.0"]);
    }
}
