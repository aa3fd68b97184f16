//! Who is asked: the policy traits over the bindings in force.

use crate::{
    bound::{Bound, Policy},
    registry::Registry,
    snapshot::{Place, VoBindings},
};
use spinor_model::{
    id::{CeName, JobType, QueueName, SinkName, Stamp, VoName},
    policy::{
        AccountingSink, ComputingBackend, Decider, JobHandler, MatchingRule, NoPolicy, Policies,
        SupplyPolicy,
    },
    registry::BindingPath,
};
use std::sync::Arc;

macro_rules! policy {
    ($self:ident, $vo:ident, $path:expr, $sticky:expr, $kind:ident) => {{
        let (snapshot, path) = ($self.snapshot.load(), $path);
        match snapshot.place($vo, &path)?.decides($vo, &path, $sticky)? {
            Policy::$kind(policy) => Ok(policy.clone()),
            _ => Err(NoPolicy::Unbound { vo: $vo.clone(), path, hint: String::new() }),
        }
    }};
}

impl Policies for Registry {
    fn rule(&self, vo: &VoName, pilot: Option<&Stamp>) -> Result<Arc<dyn MatchingRule>, NoPolicy> {
        policy!(self, vo, BindingPath::Matching, pilot.map(Stamp::as_str), Matching)
    }

    fn handler(
        &self,
        vo: &VoName,
        job_type: &JobType,
        submission: &str,
    ) -> Result<Arc<dyn JobHandler>, NoPolicy> {
        policy!(self, vo, BindingPath::Handling(job_type.clone()), Some(submission), Handling)
    }

    fn handler_that_planned(
        &self,
        vo: &VoName,
        job_type: &JobType,
        planned_by: &Decider,
    ) -> Result<Arc<dyn JobHandler>, NoPolicy> {
        let snapshot = self.snapshot.load();
        let path = BindingPath::Handling(job_type.clone());
        match snapshot.exactly(vo, &path, planned_by) {
            Some(Bound { policy: Policy::Handling(handler), breaker, .. }) => {
                match breaker.tripped() {
                    None => Ok(handler.clone()),
                    Some(reason) => {
                        let plugin = planned_by.to_string();
                        Err(NoPolicy::Tripped { vo: vo.clone(), path, plugin, reason })
                    }
                }
            }
            _ => {
                let hint = format!(" in the version that planned this job, {planned_by}");
                Err(NoPolicy::Unbound { vo: vo.clone(), path, hint })
            }
        }
    }

    fn backend(
        &self,
        vo: &VoName,
        ce: &CeName,
        queue: &QueueName,
    ) -> Result<Arc<dyn ComputingBackend>, NoPolicy> {
        let sticky = Some(queue.as_str());
        policy!(self, vo, BindingPath::Computing(ce.clone()), sticky, Computing)
    }

    fn backend_that_sent(
        &self,
        vo: &VoName,
        ce: &CeName,
        sent_by: Option<&Decider>,
    ) -> Result<Arc<dyn ComputingBackend>, NoPolicy> {
        let path = BindingPath::Computing(ce.clone());
        let snapshot = self.snapshot.load();
        let sender = sent_by.and_then(|decider| snapshot.exactly(vo, &path, decider));
        if let Some(Bound { policy: Policy::Computing(backend), .. }) = sender {
            return Ok(backend.clone());
        }
        policy!(self, vo, path, None, Computing)
    }

    fn supply(&self, vo: &VoName) -> Result<Arc<dyn SupplyPolicy>, NoPolicy> {
        policy!(self, vo, BindingPath::Supply, None, Supply)
    }

    fn sinks(&self, vo: &VoName) -> Vec<(SinkName, Arc<dyn AccountingSink>)> {
        let snapshot = self.snapshot.load();
        let sink = |(path, place): (&BindingPath, &Place)| {
            let BindingPath::Accounting(name) = path else { return None };
            match place.decides(vo, path, None) {
                Ok(Policy::Accounting(sink)) => Some((name.clone(), sink.clone())),
                _ => None,
            }
        };
        snapshot.vo(vo).into_iter().flat_map(VoBindings::iter).filter_map(sink).collect()
    }
}
