//! What somebody who logs in asks for: a VO, a group of it, and more properties.

use spinor_model::{
    id::{GroupName, VoName},
    registry::VoDocument,
};
use std::collections::BTreeSet;

/// What was asked for, checked against the VO's document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The VO.
    pub vo: VoName,
    /// A group of it.
    pub group: GroupName,
    /// The properties of the token: the group's, and those asked for beside them.
    pub properties: BTreeSet<String>,
    /// Those asked for beside the group's own.
    pub extra: BTreeSet<String>,
}

/// A scope that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadScope {
    /// Words of another kind.
    #[error("Unrecognised scopes: {0:?}: write `vo:NAME`, `group:NAME`, `property:NAME`")]
    Unrecognised(Vec<String>),
    /// No VO.
    #[error("No vo scope requested, available values: {0}")]
    NoVo(String),
    /// Several.
    #[error("Only one vo is allowed but got {0}")]
    ManyVos(String),
    /// Several.
    #[error("Only one group is allowed but got {0}")]
    ManyGroups(String),
    /// There is none of this name.
    #[error("VO {0} is not known to this installation")]
    UnknownVo(String),
    /// There is none of this name.
    #[error("{group} not in {vo} groups: it has {known}")]
    UnknownGroup {
        /// The VO.
        vo: VoName,
        /// What was asked for.
        group: String,
        /// What there is.
        known: String,
    },
    /// No group has them.
    #[error("{0:?} are not valid properties")]
    UnknownProperties(BTreeSet<String>),
}

impl Scope {
    /// Reads a scope; `document` finds a VO's document, `vos` names them all.
    pub fn parse<'d>(
        text: &str,
        document: impl FnOnce(&VoName) -> Option<&'d VoDocument>,
        vos: &[VoName],
    ) -> Result<Self, BadScope> {
        let of = |kind: &str| -> Vec<String> {
            text.split_whitespace()
                .filter_map(|word| word.strip_prefix(kind))
                .map(str::to_owned)
                .collect()
        };
        let (asked_vos, groups, extra) = (of("vo:"), of("group:"), of("property:"));
        let known =
            |word: &&str| !["vo:", "group:", "property:"].iter().any(|k| word.starts_with(k));
        let unknown: Vec<String> =
            text.split_whitespace().filter(known).map(str::to_owned).collect();
        if !unknown.is_empty() {
            return Err(BadScope::Unrecognised(unknown));
        }
        let vo = match &asked_vos[..] {
            [] => {
                let all = vos.iter().map(|vo| format!("'vo:{vo}'")).collect::<Vec<_>>();
                return Err(BadScope::NoVo(all.join(" ")));
            }
            [vo] => vo,
            _ => return Err(BadScope::ManyVos(asked_vos.join(", "))),
        };
        let found = vo.parse().ok().and_then(|vo| document(&vo));
        let document = found.ok_or_else(|| BadScope::UnknownVo(vo.clone()))?;
        let unknown_group = |group: &str| BadScope::UnknownGroup {
            vo: document.vo.clone(),
            group: group.to_owned(),
            known: document.groups.keys().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let named = match &groups[..] {
            [] => document.default_group().cloned(),
            [group] => group.parse().ok(),
            _ => return Err(BadScope::ManyGroups(groups.join(", "))),
        };
        let asked = groups.first().map(String::as_str).unwrap_or_default();
        let group = named.ok_or_else(|| unknown_group(asked))?;
        let found = document.groups.get(&group).ok_or_else(|| unknown_group(asked))?;
        let extra: BTreeSet<String> =
            extra.into_iter().filter(|p| !found.properties.contains(p)).collect();
        let any = |p: &String| document.groups.values().any(|group| group.properties.contains(p));
        let unknown: BTreeSet<String> = extra.iter().filter(|p| !any(p)).cloned().collect();
        if !unknown.is_empty() {
            return Err(BadScope::UnknownProperties(unknown));
        }
        let properties = found.properties.union(&extra).cloned().collect();
        Ok(Self { vo: document.vo.clone(), group, properties, extra })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scope, String> {
        let document = VoDocument::from_toml(
            "vo = \"lab\"\ndefault_group = \"user\"\n[groups.admin]\nproperties = [\"JobAdministrator\"]\n[groups.user]\n",
        )
        .unwrap();
        let vos = ["lab".parse().unwrap()];
        let find = |vo: &VoName| (*vo == document.vo).then_some(&document);
        Scope::parse(text, find, &vos).map_err(|error| error.to_string())
    }

    #[test]
    fn a_vo_its_default_group_and_more_properties() {
        let scope = parse("vo:lab").unwrap();
        assert_eq!((scope.group.as_str(), scope.extra.len()), ("user", 0));
        let scope =
            parse("vo:lab group:user property:JobAdministrator property:NormalUser").unwrap();
        let all: Vec<_> = scope.properties.iter().map(String::as_str).collect();
        assert_eq!(all, ["JobAdministrator", "NormalUser"]);
        assert_eq!(scope.extra, BTreeSet::from(["JobAdministrator".to_owned()]));
    }

    #[test]
    fn mistakes_are_told_as_diracx_tells_them() {
        for (text, expected) in [
            ("", "No vo scope requested, available values: 'vo:lab'"),
            ("vo:lab vo:x", "Only one vo is allowed but got lab, x"),
            ("vo:x", "VO x is not known to this installation"),
            ("vo:lab group:x", "x not in lab groups"),
            ("vo:lab openid", "Unrecognised scopes: [\"openid\"]"),
            ("vo:lab property:Foo", "{\"Foo\"} are not valid properties"),
        ] {
            let told = parse(text).unwrap_err();
            assert!(told.contains(expected), "{text}: {told}");
        }
    }
}
