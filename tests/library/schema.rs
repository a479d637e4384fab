//! The published schema: the checked-in files are those of the code, and the output is valid by them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use appmon::{Fields, FileSystems, ProcessTree, Processes, Sample, Snapshot, SnapshotStreamExt, Source, SourceExt};
use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};

use common::full::{full_sample, full_snapshot, odd_sample};

/// Run with the environment variable `UPDATE_SCHEMA=1`, this writes the files instead.
#[test]
fn the_files_are_those_of_the_code() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join("schema");
    let expected: BTreeMap<_, _> = appmon::schema::all()
        .into_iter()
        .map(|(name, text)| (folder.join(name).with_extension("json"), text))
        .collect();
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        for (path, text) in &expected {
            std::fs::write(path, text).unwrap();
        }
    }
    let help = "if the wire form was to change, write them again: UPDATE_SCHEMA=1 cargo test -p appmon-tests --features schema \
                --test library schema";
    for (path, text) in &expected {
        let found = std::fs::read_to_string(path).unwrap_or_default();
        let line = found.lines().zip(text.lines()).position(|(found, text)| found != text);
        assert!(found == *text, "{} is not what the code says, from line {line:?} (from 0) on; {help}", path.display());
    }
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        assert!(expected.contains_key(&path), "{} is of no type; {help}", path.display());
    }
}

fn schema(name: &str) -> Value {
    serde_json::from_str(&appmon::schema::all()[name]).unwrap()
}

fn faults(name: &str, value: &Value) -> Vec<String> {
    let schema = schema(name);
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(value).map(|error| format!("{error} at {}", error.instance_path())).collect()
}

#[track_caller]
fn valid(name: &str, value: &impl Serialize) {
    let value = json!(value);
    assert_eq!(faults(name, &value), [""; 0], "{name}: {value:#}");
}

/// A snapshot, its samples as lines, and its changes.
fn all_forms<T: Sample + Clone + Serialize>(kind: &str, snapshot: Snapshot<T>) {
    valid(&format!("{kind}-snapshot"), &snapshot);
    let records: Vec<_> = block_on(stream::iter([Ok(snapshot)]).samples().host("db-1").try_collect()).unwrap();
    assert!(!records.is_empty());
    for record in records {
        valid(&format!("{kind}-record"), &record);
    }
}

#[test]
fn samples_with_every_field_are_valid() {
    all_forms("process", full_snapshot(vec![full_sample(), odd_sample()]));
    let nowhere = block_on(stream::iter([Ok(full_snapshot(vec![odd_sample()]))]).samples().next()).unwrap().unwrap();
    valid("process-record", &nowhere);
    let changed = {
        let mut sample = full_sample();
        sample.info = odd_sample().info.clone();
        sample
    };
    let ticks = [vec![full_sample()], vec![changed], vec![]].map(full_snapshot).map(Ok);
    for tick in block_on(stream::iter(ticks).changes().try_collect::<Vec<_>>()).unwrap() {
        assert_eq!(tick.samples.len(), 1);
        valid("process-changes", &tick);
        for event in block_on(stream::iter([Ok(tick)]).samples().try_collect::<Vec<_>>()).unwrap() {
            valid("process-change-record", &event);
        }
    }
}

#[test]
fn control_groups_with_every_field_are_valid() {
    let mut unreadable = common::full::full_control_group();
    (unreadable.cpu, unreadable.memory) = (appmon::Reading::Denied, appmon::Reading::NotApplicable);
    all_forms("control-group", full_snapshot(vec![unreadable, common::full::full_control_group()]));
    valid("rated-control-group-snapshot", &full_snapshot(vec![common::full::rated_control_group()]));
    for event in [json!({"event": "created"}), json!({"event": "oom_killed", "count": 2})] {
        let mut wire = json!({"number": 7, "path": "/a", "id": 9, "info": {"controllers": []}, "at": 11});
        wire.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
        let event: appmon::cgroup::ControlGroupEvent = serde_json::from_value(wire).unwrap();
        valid("control-group-event-snapshot", &full_snapshot(vec![event.clone()]));
        for line in events(full_snapshot(vec![event])) {
            valid("control-group-event-record", &line);
        }
    }
}

/// The samples of a snapshot as lines.
fn events<T>(snapshot: Snapshot<T>) -> Vec<appmon::stream::Record<T>> {
    block_on(stream::iter([Ok(snapshot)]).samples().try_collect()).unwrap()
}

#[tokio::test]
async fn samples_of_this_machine_are_valid() {
    let mut ticks = Processes::new().fields(Fields::all()).every(Duration::from_millis(1)).rates();
    let first = ticks.try_next().await.unwrap().unwrap();
    let second = ticks.try_next().await.unwrap().unwrap();
    assert!(second.samples.iter().any(|sample| sample.rates.is_some()));
    let plain: Snapshot<_> = first.samples.iter().map(|rated| rated.sample.clone()).collect();
    let tree = ProcessTree::new(&first);
    for root in tree.roots() {
        valid("process-summary", &tree.summary(root.id));
    }
    for rated in [&first, &second] {
        valid("rated-process-snapshot", rated);
    }
    valid("process-snapshot", &plain);
    for record in events(second) {
        valid("rated-process-record", &record);
    }

    let mut own = appmon::OwnProcess::new().runtime(tokio::runtime::Handle::current());
    all_forms("own-process", own.read(&appmon::Cancel::new()).unwrap());
    all_forms("machine", appmon::Machine::new().read(&appmon::Cancel::new()).unwrap());

    let mut source = appmon::events::ProcessEvents::new();
    source.read(&appmon::Cancel::new()).unwrap();
    std::process::Command::new("true").status().unwrap();
    let snapshot = source.read(&appmon::Cancel::new()).unwrap();
    valid("process-event-snapshot", &snapshot);
    for event in events(snapshot) {
        valid("process-event-record", &event);
    }

    // Where there are any, and they may be read.
    if let Ok(groups) = appmon::ControlGroups::new().read(&appmon::Cancel::new()) {
        all_forms("control-group", groups);
    }

    let mut mounted = Snapshot::default();
    FileSystems::mounted().collect(&mut mounted, &appmon::Cancel::new()).unwrap();
    all_forms("file-system", mounted);
}

#[test]
fn what_is_wrong_is_not_valid() {
    let line = block_on(stream::iter([Ok(full_snapshot(vec![full_sample()]))]).samples().next()).unwrap().unwrap();
    let wrong = |field: &str, value: Value| {
        let mut line = json!(line);
        *line.pointer_mut(field).unwrap() = value;
        let faults = faults("process-record", &line);
        assert!(!faults.is_empty(), "{field}");
    };
    wrong("/schema", json!(2));
    wrong("/kind", json!("group"));
    wrong("/seq", json!(-1));
    wrong("/id/pid", json!("1"));
    wrong("/id", json!(null));
    wrong("/cpu", json!({}));
    wrong("/state", json!("resting"));
    wrong("/io", json!({ "unavailable": "eaten" }));
    wrong("/io", json!({ "unavailable": "denied", "read_bytes": 0 }));
    wrong("/io/read_bytes", json!(0.5));
    wrong("/info/name", json!([97]));
    wrong("/info/cmdline", json!("a b"));
    for field in ["schema", "kind", "boot_id", "seq", "time", "id", "info", "cpu", "at"] {
        let mut line = json!(line);
        line.as_object_mut().unwrap().remove(field);
        assert!(!faults("process-record", &line).is_empty(), "{field} is required");
    }
    let mut more = json!(line);
    more["of_a_later_version"] = json!(1);
    assert_eq!(faults("process-record", &more), [""; 0], "fields may be added");
}

#[cfg(feature = "forward")]
#[test]
fn messages_match_their_schema() {
    use appmon::forward::{Codec, Encoder, Host};

    let mut encoder = Encoder::new(Host::new("db-1").unwrap()).max_bytes(4096);
    let samples = vec![full_sample(), odd_sample(), full_sample(), odd_sample(), full_sample()];
    let encoded = encoder.encode(&full_snapshot(samples));
    assert!(encoded.messages.len() > 1, "in parts");
    for message in &encoded.messages {
        let value: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(faults("process-message", &value), [""; 0], "{value:#}");
    }
    let mut wrong: Value = serde_json::from_slice(&encoded.messages[0].payload).unwrap();
    wrong["kind"] = json!("file_system");
    assert_ne!(faults("process-message", &wrong), [""; 0]);

    let whole = encoder.codec(Codec::Json).max_bytes(1 << 20).encode(&full_snapshot(vec![full_sample()]));
    let value: Value = serde_json::from_slice(&whole.messages[0].payload).unwrap();
    assert_eq!(faults("process-message", &value), [""; 0], "{value:#}");
    assert_eq!(value.get("part"), None);
}
