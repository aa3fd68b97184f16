use super::*;
use spinor_model::{id::Digest, requirement::Requirement};

fn decider(version: &str) -> Decider {
    let digest = Digest::of(version.as_bytes());
    Decider {
        plugin: "matching/test".to_owned(),
        version: version.parse().unwrap(),
        digest,
        settings: digest,
    }
}

fn class(id: i64, group: &str, cores: u32) -> Arc<RequirementClass> {
    let mut requirement = Requirement { wall_time: 60, ..Requirement::default() };
    requirement.cpu.num_cores.min = cores;
    Arc::new(RequirementClass {
        id: ClassId(id),
        vo: "vo".parse().unwrap(),
        group: group.parse().unwrap(),
        job_type: "user".parse().unwrap(),
        requirement,
    })
}

fn offer(cores: u32) -> Offer {
    serde_json::from_value(serde_json::json!({
        "site": "A", "ce": "c", "queue": "q", "cores": cores, "memory_mb": 99999,
        "wall_time": 3600, "architecture": "x86_64",
    }))
    .unwrap()
}

fn key(class: i64, owner: &str) -> QueueKey {
    QueueKey { class: ClassId(class), owner: owner.parse().unwrap() }
}

fn index(classes: &[Arc<RequirementClass>], offer: &Offer) -> Index {
    let mut index = Index::default();
    index.add_classes(classes.to_vec());
    accept_all(&mut index, offer, &decider("1.0.0"));
    index
}

fn accept_all(index: &mut Index, offer: &Offer, decider: &Decider) -> usize {
    let vo = "vo".parse().unwrap();
    let Some(unjudged) = index.unjudged(&vo, offer, decider) else { return 0 };
    let asked = unjudged.fitting.len();
    let verdicts = unjudged.fitting.iter().map(|class| Verdict::Accept(class.id.0)).collect();
    index.judge(&vo, offer, decider, unjudged, verdicts);
    asked
}

fn choose(index: &mut Index, offer: &Offer) -> Option<(i64, String, u32)> {
    let shares = |group: &GroupName| if group.as_str() == "big" { 3000 } else { 1000 };
    let vo = "vo".parse().unwrap();
    let decider = decider("1.0.0");
    let slot = Slot { vo: &vo, offer, decider: &decider, free: offer };
    let (_, queue, cores) = index.choose(slot, None, &shares, &HashSet::new())?;
    Some((queue.class.0, queue.owner.to_string(), cores))
}

#[test]
fn a_rule_is_asked_once_about_each_pair() {
    let offer = offer(4);
    let mut index = index(&[class(1, "g", 1), class(2, "g", 8)], &offer);
    assert_eq!(accept_all(&mut index, &offer, &decider("1.0.0")), 0, "all is known");
    index.add_classes(vec![class(1, "g", 1), class(3, "g", 2)]);
    assert_eq!(accept_all(&mut index, &offer, &decider("1.0.0")), 1, "only the new one");
    assert_eq!(
        accept_all(&mut index, &offer, &decider("1.1.0")),
        2,
        "another rule: those that fit"
    );
}

#[test]
fn the_best_score_that_waits_goes_first() {
    let offer = offer(4);
    let mut index = index(&[class(1, "g", 1), class(2, "g", 2), class(3, "g", 8)], &offer);
    assert_eq!(choose(&mut index, &offer), None);
    index.set(&key(1, "alice"), 1);
    index.set(&key(3, "alice"), 1);
    assert_eq!(choose(&mut index, &offer), Some((1, "alice".to_owned(), 1)), "3 does not fit");
    index.set(&key(2, "alice"), 1);
    assert_eq!(choose(&mut index, &offer), Some((2, "alice".to_owned(), 2)));
    index.change(&key(2, "alice"), -1);
    index.change(&key(1, "alice"), -5);
    assert_eq!(choose(&mut index, &offer), None);
}

#[test]
fn groups_are_served_by_their_shares_and_owners_in_turn() {
    let offer = offer(1);
    let mut index = index(&[class(1, "big", 1), class(2, "small", 1)], &offer);
    for (class, owner) in [(1, "alice"), (1, "bob"), (2, "carol")] {
        index.set(&key(class, owner), 1_000_000);
    }
    let mut served: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..4000 {
        let (_, owner, _) = choose(&mut index, &offer).unwrap();
        *served.entry(owner).or_default() += 1;
    }
    let expected = [("alice", 1500), ("bob", 1500), ("carol", 1000)];
    for (owner, count) in expected {
        assert!(served[owner].abs_diff(count) <= 2, "{served:?}");
    }
}

#[test]
fn changes_may_arrive_in_another_order_than_they_were_made() {
    let offer = offer(4);
    let mut index = index(&[class(1, "g", 1)], &offer);
    index.set(&key(1, "alice"), 1);
    // Two were claimed, one of them submitted a moment before and not yet told of.
    index.change(&key(1, "alice"), -2);
    index.change(&key(1, "alice"), 1);
    assert!(index.waiting(&"vo".parse().unwrap()).is_empty());
    assert_eq!(choose(&mut index, &offer), None);
}
