use super::*;
use std::{cell::RefCell, collections::BTreeMap};

#[derive(Default)]
struct Memory(RefCell<BTreeMap<String, Vec<u8>>>);

impl Directory for Memory {
    fn size(&self, file: &str) -> Result<u64, DirectoryError> {
        self.0.borrow().get(file).map(|f| f.len() as u64).ok_or(DirectoryError::NotFound)
    }
    fn read(&self, file: &str, offset: u64, max: u32) -> Result<Vec<u8>, DirectoryError> {
        let files = self.0.borrow();
        let content = files.get(file).ok_or(DirectoryError::NotFound)?;
        Ok(content.iter().skip(offset as usize).take(max as usize).copied().collect())
    }
    fn append(&self, file: &str, content: &[u8]) -> Result<(), DirectoryError> {
        self.0.borrow_mut().entry(file.to_owned()).or_default().extend_from_slice(content);
        Ok(())
    }
    fn truncate(&self, file: &str, size: u64) -> Result<(), DirectoryError> {
        self.0.borrow_mut().entry(file.to_owned()).or_default().truncate(size as usize);
        Ok(())
    }
}

fn record(sequence: u64) -> UsageRecord {
    UsageRecord {
        id: format!("{sequence}.1"),
        sequence,
        vo: "aurora".to_owned(),
        group: "g".to_owned(),
        owner: "alice".to_owned(),
        job: sequence,
        attempt: 1,
        job_type: "executable".to_owned(),
        site: "NORTH".to_owned(),
        ce: "ce".to_owned(),
        status: "Done".to_owned(),
        cores: 1,
        started: 1_795_000_000_000,
        ended: 1_795_000_001_000,
        wall_seconds: 1.0,
        cpu_seconds: 0.5,
        max_memory_mib: 10,
        attributes: Vec::new(),
    }
}

fn deliver(directory: &Memory, sequences: std::ops::RangeInclusive<u64>) -> Vec<Ack> {
    let records: Vec<_> = sequences.map(record).collect();
    let stored = last_sequence(directory, "f").unwrap();
    append(directory, "f", stored, &records).unwrap()
}

fn sequences(directory: &Memory) -> Vec<u64> {
    let content = String::from_utf8(directory.0.borrow()["f"].clone()).unwrap();
    let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    content.lines().map(|line| parse(line)["sequence"].as_u64().unwrap()).collect()
}

#[test]
fn a_repeated_batch_is_skipped() {
    let directory = Memory::default();
    assert_eq!(deliver(&directory, 1..=3), [Ack::Stored, Ack::Stored, Ack::Stored]);
    assert_eq!(deliver(&directory, 1..=4)[2..], [Ack::Repeated, Ack::Stored]);
    assert_eq!(sequences(&directory), [1, 2, 3, 4]);
}

#[test]
fn a_torn_tail_is_cut_wherever_it_tore() {
    let whole = Memory::default();
    deliver(&whole, 1..=3);
    let content = whole.0.borrow()["f"].clone();
    for length in 0..content.len() {
        let torn = Memory::default();
        torn.append("f", &content[..length]).unwrap();
        deliver(&torn, 1..=3);
        assert_eq!(torn.0.borrow()["f"], content, "torn at {length}");
    }
}

#[test]
fn files_are_named_by_month() {
    assert_eq!(month::file_name("usage", 1_795_000_000_000), "usage-2026-11.jsonl");
    assert_eq!(month::rfc3339(1_795_000_000_000), "2026-11-18T11:06:40.000Z");
}

#[test]
fn a_prefix_is_plain() {
    assert!(spinor_sdk::validate::<Files>(r#"{"prefix": "a/b"}"#)[0].field == "/prefix");
    assert!(spinor_sdk::validate::<Files>("{}").is_empty());
}
