//! What identity providers say of membership: entitlements in AARC's form (AARC-G002 and G069), as EGI
//! Check-in sends them, and `wlcg.groups`.

use spinor_model::registry::VoDocument;
use std::collections::BTreeSet;

/// Claims that hold entitlements or groups.
const CLAIMS: [&str; 5] =
    ["eduperson_entitlement", "entitlements", "entitlement", "wlcg.groups", "groups"];

/// Everything that claims say of membership.
pub fn of_claims(claims: &serde_json::Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for claim in CLAIMS {
        match &claims[claim] {
            serde_json::Value::String(one) => drop(found.insert(one.clone())),
            serde_json::Value::Array(items) => {
                found.extend(items.iter().filter_map(|item| Some(item.as_str()?.to_owned())));
            }
            _ => {}
        }
    }
    found
}

/// Whether one of `has` is what the registry asks for. The authority behind `#` counts only where the
/// registry names one; `urn:geant:` and `urn:mace:` of one meaning are told apart, as they are
/// different names.
fn covers(wanted: &str, has: &BTreeSet<String>) -> bool {
    let plain = |text: &str| text.split('#').next().unwrap_or_default().to_owned();
    match wanted.contains('#') {
        true => has.contains(wanted),
        false => has.iter().any(|own| plain(own) == wanted),
    }
}

/// The groups of a VO that somebody is in. Names do not count: at many providers people choose theirs.
pub fn groups(
    document: &VoDocument,
    sub: &str,
    entitlements: &BTreeSet<String>,
) -> BTreeSet<spinor_model::id::GroupName> {
    let listed = |group: &spinor_model::registry::Group| group.subs.contains(sub);
    let entitled = |group: &spinor_model::registry::Group| {
        group.entitlements.iter().any(|wanted| covers(wanted, entitlements))
    };
    let registers = document.identity.as_ref().is_some_and(|identity| identity.register);
    let is_in =
        |group: &spinor_model::registry::Group| listed(group) || (registers && entitled(group));
    document.groups.iter().filter(|(_, group)| is_in(group)).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"
        vo = "lab"
        identity = { issuer = "https://idp", client_id = "c" }
        [groups.admin]
        entitlements = ["urn:mace:egi.eu:group:lab:role=admin#aai.egi.eu"]
        [groups.user]
        entitlements = ["urn:mace:egi.eu:group:lab:role=member", "/lab/member"]
        [groups.listed]
        users = ["ada"]
        subs = ["9@egi.eu"]
    "#;

    fn groups_of(sub: &str, claims: serde_json::Value) -> Vec<String> {
        let document = VoDocument::from_toml(DOCUMENT).unwrap();
        let found = groups(&document, sub, &of_claims(&claims));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn entitlements_make_members() {
        let member = "urn:mace:egi.eu:group:lab:role=member#aai.egi.eu";
        let claims = serde_json::json!({"eduperson_entitlement": [member]});
        assert_eq!(groups_of("1", claims), ["user"]);
        let claims = serde_json::json!({"wlcg.groups": ["/lab", "/lab/member"]});
        assert_eq!(groups_of("1", claims), ["user"]);
        let admin =
            serde_json::json!({"entitlements": "urn:mace:egi.eu:group:lab:role=admin#aai.egi.eu"});
        assert_eq!(groups_of("1", admin), ["admin"]);
        let other = serde_json::json!({"entitlements": ["urn:mace:egi.eu:group:lab:role=admin#evil.org",
            "urn:mace:egi.eu:group:lab:role=members", "/lab"]});
        assert!(groups_of("1", other).is_empty());
    }

    #[test]
    fn the_document_lists_others_by_number_alone() {
        assert!(groups_of("1", serde_json::json!({"preferred_username": "ada"})).is_empty());
        assert_eq!(groups_of("9@egi.eu", serde_json::json!({})), ["listed"]);
    }
}
