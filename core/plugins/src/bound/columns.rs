//! Offers and classes on their way into a guest: by columns, each distinct string once.

use crate::bindings::rule::{
    exports::spinor::matching::rule::{Batch, Offer as WitOffer},
    spinor::matching::types::{Column, ColumnValues, TextLists},
};
use spinor_model::{offer::Offer, policy::RequirementClass};
use std::{collections::HashMap, sync::Arc};

/// An offer, with the attributes that a rule reads.
pub fn wit_offer(offer: &Offer, reads: &[String]) -> WitOffer {
    let attribute = |name: &String| Some((name.clone(), offer.attributes.get(name)?.clone()));
    WitOffer {
        site: offer.site.to_string(),
        ce: offer.ce.to_string(),
        queue: offer.queue.to_string(),
        cores: offer.cores,
        memory_mib: offer.memory_mb,
        gpus: offer.gpus,
        wall_seconds: offer.wall_time,
        architecture: offer.architecture.clone(),
        tags: offer.tags.iter().cloned().collect(),
        attributes: reads.iter().filter_map(attribute).collect(),
    }
}

/// Each distinct string once.
#[derive(Default)]
struct Dictionary {
    ids: HashMap<String, u32>,
    strings: Vec<String>,
}

impl Dictionary {
    fn id(&mut self, text: &str) -> u32 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = u32::try_from(self.strings.len()).unwrap_or(u32::MAX);
        self.ids.insert(text.to_owned(), id);
        self.strings.push(text.to_owned());
        id
    }
}

/// Classes as the columns that a rule reads.
pub fn batch(fields: &[String], classes: &[Arc<RequirementClass>]) -> Batch {
    let mut dictionary = Dictionary::default();
    let columns = fields
        .iter()
        .map(|name| Column { name: name.clone(), values: column(name, classes, &mut dictionary) })
        .collect();
    let rows = u32::try_from(classes.len()).unwrap_or(u32::MAX);
    Batch { rows, dictionary: dictionary.strings, columns }
}

/// A column by its field's name; a name that this server does not know is a column of nothing.
fn column(
    name: &str,
    classes: &[Arc<RequirementClass>],
    dictionary: &mut Dictionary,
) -> ColumnValues {
    let integers = |field: &dyn Fn(&RequirementClass) -> u64| {
        let value = |class: &Arc<RequirementClass>| i64::try_from(field(class)).unwrap_or(i64::MAX);
        ColumnValues::Integers(classes.iter().map(value).collect())
    };
    let mut texts = |field: &dyn for<'c> Fn(&'c RequirementClass) -> &'c str| {
        ColumnValues::Texts(classes.iter().map(|class| dictionary.id(field(class))).collect())
    };
    match name {
        "group" => texts(&|c| c.group.as_str()),
        "job-type" => texts(&|c| c.job_type.as_str()),
        "cores-min" => integers(&|c| c.requirement.cpu.num_cores.min.into()),
        "cores-max" => integers(&|c| c.requirement.cpu.num_cores.max().into()),
        "memory-mib" => integers(&|c| c.requirement.cpu.ram_mb.request),
        "wall-seconds" => integers(&|c| c.requirement.wall_time),
        "gpus" => integers(&|c| c.requirement.gpus().into()),
        "scratch-mib" => integers(&|c| c.requirement.io.scratch_mb),
        "architecture" => texts(&|c| c.requirement.cpu.architecture.as_deref().unwrap_or_default()),
        "tags" => {
            let tags = |c: &Arc<RequirementClass>| {
                let text = c.requirement.tags.as_ref().map(ToString::to_string);
                dictionary.id(&text.unwrap_or_default())
            };
            ColumnValues::Texts(classes.iter().map(tags).collect())
        }
        "sites" => lists(classes, dictionary, |c| {
            c.requirement.sites.iter().map(ToString::to_string).collect()
        }),
        "banned-sites" => lists(classes, dictionary, |c| {
            c.requirement.banned_sites.iter().map(ToString::to_string).collect()
        }),
        other => {
            let attribute = other.strip_prefix("attribute:").unwrap_or(other);
            texts(&|c| c.requirement.attributes.get(attribute).map_or("", String::as_str))
        }
    }
}

fn lists(
    classes: &[Arc<RequirementClass>],
    dictionary: &mut Dictionary,
    field: impl Fn(&RequirementClass) -> Vec<String>,
) -> ColumnValues {
    let mut offsets = vec![0];
    let mut items = Vec::new();
    for class in classes {
        items.extend(field(class).iter().map(|text| dictionary.id(text)));
        offsets.push(u32::try_from(items.len()).unwrap_or(u32::MAX));
    }
    ColumnValues::TextLists(TextLists { offsets, items })
}
