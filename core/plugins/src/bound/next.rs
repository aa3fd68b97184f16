//! A later version of the contract of rules, for tests alone: it shows what hosting one takes, which is
//! this file, a line in [`crate::inspect::RULES`] and one in [`super::contract::contract`].

use super::contract::{Answered, Columns, Contract, Reads};
use crate::state::HostState;
use bindings::{RulePre, exports::spinor::matching::rule as wit};
use spinor_model::{offer::Offer, policy::RequirementClass};
use std::sync::Arc;
use wasmtime::{Store, component::InstancePre};

/// Hook `spinor:matching/rule` 0.2.
#[allow(missing_docs, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({
        inline: "package spinor:core-next; world rule { export spinor:matching/rule@0.2.0; }",
        path: ["../../wit/host", "../../tests/wit-next/matching"],
        world: "spinor:core-next/rule",
        with: { "spinor:host/types@0.1.0": crate::bindings::host::spinor::host::types },
    });
}

/// `spinor:matching` 0.2.
pub struct V02(RulePre<HostState>);

impl V02 {
    /// Over a component that exports it.
    pub fn new(pre: InstancePre<HostState>) -> wasmtime::Result<Self> {
        RulePre::new(pre).map(Self)
    }
}

impl Contract for V02 {
    fn reads(&self, _: &mut Store<HostState>, _: &str) -> Answered<Reads> {
        Ok(Ok(Reads::default()))
    }

    fn evaluate(
        &self,
        store: &mut Store<HostState>,
        settings: &str,
        _: &Reads,
        offer: &Offer,
        classes: &[Arc<RequirementClass>],
    ) -> Answered<Columns> {
        let offer = wit::Offer { site: offer.site.to_string(), cores: offer.cores.into() };
        let class = |class: &Arc<RequirementClass>| wit::Class {
            job_type: class.job_type.to_string(),
            wall_seconds: class.requirement.wall_time,
        };
        let classes: Vec<_> = classes.iter().map(class).collect();
        let instance = self.0.instantiate(&mut *store)?;
        let answer =
            instance.spinor_matching_rule().call_evaluate(store, settings, &offer, &classes)?;
        Ok(answer.map(columns))
    }
}

fn columns(verdicts: Vec<wit::Verdict>) -> Columns {
    let mut columns = Columns::default();
    for verdict in verdicts {
        let (score, rejection) = match verdict {
            wit::Verdict::Accept(score) => (score, 0),
            wit::Verdict::Reject(reason) => {
                columns.reasons.push(reason);
                (0, columns.reasons.len() as u32)
            }
        };
        columns.scores.push(score);
        columns.rejections.push(rejection);
    }
    columns
}

#[cfg(test)]
mod tests {
    use crate::{
        bound::Surroundings, compiled::CompiledCache, compiler::Compiler, engine::Engines,
        load::Loader, registry::Registry,
    };
    use spinor_model::{
        policy::{RequirementClass, Unobserved, Verdict},
        registry::{Binding, BindingPath},
        time::ManualClock,
    };
    use std::{collections::BTreeSet, sync::Arc};

    const OLD: &[u8] = include_bytes!("../../../../tests/components/short-first-1.0.0.wasm");

    fn class(job_type: &str, wall_time: u64) -> Arc<RequirementClass> {
        let requirement = serde_json::json!({"wall_time": wall_time});
        Arc::new(RequirementClass {
            id: spinor_model::id::ClassId(1),
            vo: "vo".parse().unwrap(),
            group: "g".parse().unwrap(),
            job_type: job_type.parse().unwrap(),
            requirement: serde_json::from_value(requirement).unwrap(),
        })
    }

    #[tokio::test]
    async fn two_versions_of_the_contract_are_hosted_side_by_side() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().to_owned();
        let cache = CompiledCache::open(data.join("compiled"), &data.join("key")).unwrap();
        let loader = Loader { engines: Engines::new().unwrap(), cache, compiler: Compiler::here() };
        let (clock, observer) = (Arc::new(ManualClock::default()), Arc::new(Unobserved));
        let registry = Registry::new(
            loader,
            Surroundings { data, pilot: Vec::new(), clock, observer, credentials: <_>::default() },
        );
        for bytes in [OLD, spinor_rogues::next()] {
            let version = registry.try_out(bytes, None).await.unwrap();
            registry.add(version, None, BTreeSet::new(), "test");
        }
        let offer = serde_json::json!({"site": "A", "ce": "c", "queue": "q", "cores": 1,
            "memory_mb": 1, "wall_time": 9, "architecture": "x86_64"});
        let offer: spinor_model::offer::Offer = serde_json::from_value(offer).unwrap();
        for (version, never) in
            [("=1.0.0", Verdict::Accept(-7)), ("=2.0.0", Verdict::Reject("never at A".into()))]
        {
            let binding = Binding::new(
                "matching/short-first",
                version.parse().unwrap(),
                serde_json::json!({}),
            );
            let (vo, path) = ("vo".parse().unwrap(), BindingPath::Matching);
            let bound = registry.bind_aside(&vo, &path, &binding, None).await.unwrap();
            let crate::bound::Policy::Matching(rule) = bound.policy else { panic!("no rule") };
            let (offer, classes) = (offer.clone(), [class("user", 5), class("never", 7)]);
            let asked = tokio::task::spawn_blocking(move || rule.evaluate(&offer, &classes));
            assert_eq!(asked.await.unwrap().unwrap(), [Verdict::Accept(-5), never], "{version}");
        }
    }
}
