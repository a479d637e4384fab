//! The field tables: each path is that of a number in the wire form, and no number has two names.

use std::collections::BTreeSet;

use appmon::measured::{FieldTable, Measured};
use appmon::{FileSystemSample, ProcessSample, Rated};
use serde_json::{Value, json};

use common::full::full_sample;

/// Checks each field of the table against the wire form of a sample in which all is there.
#[track_caller]
fn check<T: Measured + serde::Serialize>(sample: &T, derived: &[&str]) {
    let wire = serde_json::to_value(sample).unwrap();
    let table = FieldTable::<T>::new();
    assert!(!table.is_empty());
    let mut names = BTreeSet::new();
    for field in &table {
        assert!(names.insert(field.path().to_owned()), "{} twice", field.path());
        assert!(field.alias().is_none_or(|alias| names.insert(alias.to_owned())), "{:?} twice", field.alias());
        assert!(!field.help().is_empty() && !field.help().ends_with('.'), "{}", field.path());
        if derived.contains(&field.path()) {
            continue;
        }
        let pointer = format!("/{}", field.path().replace('.', "/"));
        let written = wire.pointer(&pointer).unwrap_or(&Value::Null);
        let written = match written {
            Value::Bool(is) => json!(u32::from(*is)),
            other => other.clone(),
        };
        let number = field.value(sample).unwrap_or_else(|| panic!("{} has no value", field.path())).to_f64();
        assert_eq!(written.as_f64(), Some(number), "{} is {written} in {wire}", field.path());
    }
    let metrics: BTreeSet<_> = table.iter().map(|field| (field.metric_name(), field.metric_attributes())).collect();
    let without_rates = table.iter().filter(|field| !field.path().starts_with("rates.")).count();
    let own: BTreeSet<_> = table
        .iter()
        .filter(|field| !field.path().starts_with("rates."))
        .map(|field| (field.metric_name(), field.metric_attributes()))
        .collect();
    assert_eq!(own.len(), without_rates, "each has a metric of its own: {metrics:?}");
}

#[test]
fn processes() {
    check(&full_sample(), &[]);
    let table = FieldTable::<Rated<ProcessSample>>::new();
    assert_eq!(table.find("cpu.cores").unwrap().path(), "rates.cpu.cores");
    assert_eq!(table.find("rates.faults.minor").unwrap().alias(), None, "a counter is called that");
    assert!(full_sample().labels().get("pid").is_some());
}

#[test]
fn file_systems() {
    let fs: FileSystemSample = serde_json::from_value(json!({
        "name": "/", "mount_point": "/", "device": "/dev/vda", "device_id": {"major": 254, "minor": 0}, "fs_type": "ext4",
        "total_bytes": 100, "used_bytes": 60, "free_bytes": 30, "reserved_bytes": 10,
        "inodes": {"total": 9, "used": 4, "free": 5}, "read_only": true, "parts": [], "at": 7,
    }))
    .unwrap();
    check(&fs, &["used_fraction", "stalled"]);
    assert_eq!(
        FieldTable::<FileSystemSample>::new().find("used_fraction").unwrap().value(&fs).unwrap().to_f64(),
        2.0 / 3.0
    );
    let table = FieldTable::<FileSystemSample>::new();
    let unanswered = FileSystemSample::default();
    assert_eq!(table.find("used_bytes").unwrap().value(&unanswered), None, "0 is not known");
}
