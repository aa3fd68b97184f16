//! Accounting sinks over WASM.

use super::{Bond, effect::words};
use crate::{
    bindings::sink::{SinkPre, exports::spinor::accounting::sink as wit},
    state::HostState,
};
use async_trait::async_trait;
use spinor_model::{
    policy::{AccountingSink, Decider, Delivery, Effect, Effectful, Exchange, PolicyError},
    usage::Ack,
};
use wasmtime::component::InstancePre;

/// A sink behind the trait.
pub struct Sink {
    bond: Bond,
    pre: SinkPre<HostState>,
}

impl Sink {
    /// Checks that the hook is there.
    pub fn new(bond: Bond, pre: InstancePre<HostState>) -> wasmtime::Result<Self> {
        Ok(Self { bond, pre: SinkPre::new(pre)? })
    }
}

fn wit_record(delivery: &Delivery) -> wit::UsageRecord {
    let record = &delivery.record;
    let milliseconds = |time: spinor_model::time::Timestamp| u64::try_from(time.0).unwrap_or(0);
    let attribute = |(name, value): (&String, &String)| wit::Attribute {
        name: name.clone(),
        value: value.clone(),
    };
    wit::UsageRecord {
        id: record.id.clone(),
        sequence: delivery.sequence,
        vo: record.vo.to_string(),
        group: record.group.to_string(),
        owner: record.owner.to_string(),
        job: u64::try_from(record.job.0).unwrap_or(0),
        attempt: record.attempt.0,
        job_type: record.job_type.to_string(),
        site: record.site.to_string(),
        ce: record.ce.to_string(),
        status: record.status.as_str().to_owned(),
        cores: record.cores,
        started: milliseconds(record.started),
        ended: milliseconds(record.ended),
        wall_seconds: record.consumption.wall_seconds,
        cpu_seconds: record.consumption.cpu_seconds,
        max_memory_mib: record.consumption.max_memory_mb,
        attributes: record.attributes.iter().map(attribute).collect(),
    }
}

fn ack(answer: wit::Ack) -> Ack {
    match answer {
        wit::Ack::Stored => Ack::Stored,
        wit::Ack::Repeated => Ack::Repeated,
        wit::Ack::Refused(why) => Ack::Refused(why),
        wit::Ack::Later(why) => Ack::Later(why),
    }
}

impl Sink {
    async fn deliver_in(
        &self,
        state: HostState,
        records: &[Delivery],
    ) -> Result<Vec<wit::Ack>, PolicyError> {
        let wanted: Vec<wit::UsageRecord> = records.iter().map(wit_record).collect();
        let (pre, settings) = (self.pre.clone(), self.bond.settings.clone());
        let effect = Effect::Deliver(records.to_vec());
        let acting = self.bond.act(state, effect, records.len(), move |store| {
            Box::pin(async move {
                let instance = pre.instantiate_async(&mut *store).await?;
                instance.spinor_accounting_sink().call_deliver(store, &settings, &wanted).await
            })
        });
        acting.await
    }
}

#[async_trait]
impl Effectful for Sink {
    fn decider(&self) -> &Decider {
        &self.bond.decider
    }

    async fn again(
        &self,
        effect: &Effect,
        exchanges: &[Exchange],
    ) -> Result<Vec<String>, PolicyError> {
        match effect {
            Effect::Deliver(records) => {
                let state = self.bond.state_of(exchanges);
                Ok(words(&self.deliver_in(state, records).await?))
            }
            other => Err(self.bond.broken(format!("no sink does `{}`", other.as_str()))),
        }
    }
}

#[async_trait]
impl AccountingSink for Sink {
    async fn deliver(&self, records: &[Delivery]) -> Result<Vec<Ack>, PolicyError> {
        let acks = self.deliver_in(self.bond.state(), records).await?;
        Ok(acks.into_iter().map(ack).collect())
    }
}
