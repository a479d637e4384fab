//! The wire form: pinned as it is written, and read back to the same.

use std::fmt::Debug;
use std::sync::Arc;

use appmon::cgroup::{ControlGroupEvent, ControlGroupSample};
use appmon::events::{ConnectorObstacle, EventMethod, ProcessEvent};
use appmon::process::{Io, ProcessInfo, ProcessState};
use appmon::snapshot::Notice;
use appmon::stream::{Change, Record};
use appmon::text::WirePath;
use appmon::time::Monotonic;
use appmon::{
    Fields, ProcessSample, ProcessTree, Rated, Reading, Result, Select, Snapshot, SnapshotStreamExt, SourceExt, Text,
    Timestamp,
};
use futures::executor::block_on;
use futures::{StreamExt, stream};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use common::full::{full_sample, full_snapshot, odd_sample};

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

/// Writes, reads and compares, in JSON and in MessagePack; the second with the names of the fields.
fn both_ways<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> Result<(), TestCaseError> {
    let json = serde_json::to_string(value).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let read = serde_json::from_str::<T>(&json).map_err(|error| TestCaseError::fail(format!("{error}: {json}")))?;
    prop_assert_eq!(&read, value, "{}", json);
    let pack = rmp_serde::to_vec_named(value).map_err(|error| TestCaseError::fail(error.to_string()))?;
    let read = rmp_serde::from_slice::<T>(&pack).map_err(|error| TestCaseError::fail(format!("{error}: {json}")))?;
    prop_assert_eq!(&read, value, "as MessagePack, {}", json);
    Ok(())
}

#[track_caller]
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    both_ways(value).unwrap_or_else(|error| panic!("{error}"));
}

/// Two ticks of two processes, as the combinators give them.
fn rated() -> Snapshot<Rated<ProcessSample>> {
    let (before, mut after) = (full_sample(), full_sample());
    after.at = before.at.plus(std::time::Duration::from_millis(250));
    after.cpu.total_ns += 100_000_000;
    after.cpu.user_ns += 75_000_000;
    after.cpu.system_ns += 25_000_000;
    after.faults.minor += 3;
    let mut io = *before.io.value().unwrap();
    io.write_bytes = io.write_bytes.map(|bytes| bytes + 4096);
    io.write_syscalls = io.write_syscalls.map(|calls| calls + 1);
    after.io = Reading::Value(io);
    let ticks = [full_snapshot(vec![before]), full_snapshot(vec![odd_sample(), after])].map(Ok);
    block_on(stream::iter(ticks).rates().skip(1).next()).unwrap().unwrap()
}

fn record<T>(snapshot: Snapshot<T>) -> Record<T> {
    block_on(stream::iter([Ok(snapshot)]).samples().host("db-1").next()).unwrap().unwrap()
}

mod pinned {
    use super::*;

    #[test]
    fn process_sample() {
        insta::assert_snapshot!(pretty(&full_sample()));
        check(&full_sample());
    }

    #[test]
    fn odd_process_sample() {
        insta::assert_snapshot!(pretty(&odd_sample()));
        check(&odd_sample());
    }

    #[test]
    fn smallest_process_sample() {
        insta::assert_snapshot!(pretty(&ProcessSample::default()));
        check(&ProcessSample::default());
    }

    #[test]
    fn readings() {
        let readings = [
            Reading::Value(7_u64),
            Reading::Denied,
            Reading::Unsupported,
            Reading::NotApplicable,
            Reading::Skipped,
            Reading::Failed,
            Reading::NotRequested,
        ];
        insta::assert_snapshot!(serde_json::to_string(&readings).unwrap(), @r#"[7,{"unavailable":"denied"},{"unavailable":"unsupported"},{"unavailable":"not_applicable"},{"unavailable":"skipped"},{"unavailable":"failed"},{"unavailable":"not_requested"}]"#);
        check(&readings);
    }

    #[test]
    fn states() {
        let states = b"RSDZTtXIPKW?".map(ProcessState::from_letter);
        insta::assert_snapshot!(serde_json::to_string(&states).unwrap(), @r#"["running","sleeping","disk_sleep","zombie","stopped","tracing_stop","dead","idle","parked","wakekill","waking","?"]"#);
        check(&states);
    }

    #[test]
    fn snapshot() {
        let snapshot = full_snapshot(vec![1_u32, 2]);
        insta::assert_snapshot!(pretty(&snapshot));
        check(&snapshot);
        insta::assert_snapshot!(serde_json::to_string(&Snapshot::<u32>::default()).unwrap(), @r#"{"seq":0,"boot_id":"00000000-0000-0000-0000-000000000000","time":"1970-01-01T00:00:00.000000000Z","at":0,"took":0,"lag":0,"skipped":{"vanished":0,"denied":0,"malformed":0,"failed":0,"fields":0,"undecided":0},"samples":[]}"#);
    }

    #[test]
    fn rates() {
        let rated = rated().samples;
        assert_eq!(rated[0].rates, None);
        insta::assert_snapshot!(pretty(&rated[1].rates));
        // The sample, with one more field.
        let (mut with, without) = (json!(rated[1]), json!(rated[1].sample));
        assert_eq!(with.as_object_mut().unwrap().remove("rates"), Some(json!(rated[1].rates)));
        assert_eq!(with, without);
        assert_eq!(json!(rated[0]), json!(rated[0].sample), "no rates, no field");
        check(&super::rated());
    }

    #[test]
    fn record_line() {
        let line = record(full_snapshot(vec![odd_sample()]));
        insta::assert_snapshot!(serde_json::to_string(&line).unwrap());
        check(&line);
        let nowhere =
            block_on(stream::iter([Ok(full_snapshot(vec![odd_sample()]))]).samples().next()).unwrap().unwrap();
        let mut with_host = json!(line);
        assert_eq!(with_host.as_object_mut().unwrap().remove("host"), Some(json!("db-1")));
        assert_eq!(json!(nowhere), with_host, "no host, no field");
    }

    #[cfg(feature = "forward")]
    #[test]
    fn messages_of_changes() {
        use appmon::forward::{Encoder, Form, Host};

        let processes = |now: u64| {
            let mut snapshot = full_snapshot((1..6).map(|pid| numbered(pid, now)).collect());
            (snapshot.seq, snapshot.at) = (now, Monotonic::from_nanos(now));
            snapshot
        };
        let mut encoder = Encoder::new(Host::new("db-1").unwrap()).only_changed(std::time::Duration::from_secs(600));
        let _ = encoder.encode_as(Some(&"web".into()), &processes(100));
        let mut later = processes(200);
        // One is gone, one ran, one was read again, one is new, and two stand still.
        later.samples.remove(0);
        later.samples[1].cpu.total_ns = 7;
        later.samples[2].read_at = Monotonic::from_nanos(200);
        later.samples.push(numbered(9, 200));
        let encoded = encoder.encode_as(Some(&"web".into()), &later);
        let [message] = &encoded.messages[..] else { panic!("{encoded:?}") };
        assert_eq!(
            (message.form, message.samples, message.event_type()),
            (Form::Delta, 2, "appmon.process.delta".into())
        );
        insta::assert_snapshot!(std::str::from_utf8(&message.payload).unwrap());
    }

    #[cfg(feature = "forward")]
    fn numbered(pid: u32, now: u64) -> ProcessSample {
        let mut process = ProcessSample::default();
        process.id.pid = pid;
        (process.at, process.read_at) = (Monotonic::from_nanos(now), Monotonic::from_nanos(50));
        process
    }

    #[test]
    fn record_line_with_rates() {
        let mut snapshot = rated();
        snapshot.samples.remove(0);
        let line = record(snapshot);
        let value = json!(line);
        let own = ["schema", "kind", "stream", "host", "boot_id", "seq", "time"];
        for name in own {
            assert!(value.get(name).is_some(), "{name}");
        }
        assert_eq!(value.as_object().unwrap().len(), own.len() + json!(line.sample).as_object().unwrap().len());
        assert_eq!(value["rates"], json!(line.rates));
        check(&line);
    }

    #[test]
    fn changes() {
        let before = ProcessSample::default();
        let mut after = ProcessSample::default();
        let mut info = ProcessInfo::clone(&odd_sample().info);
        info.execs = 1;
        after.info = Arc::new(info);
        let ticks = [vec![before.clone()], vec![after], vec![]].map(|samples| Ok(full_snapshot(samples)));
        let changes: Vec<_> =
            block_on(stream::iter(ticks).changes().flat_map(|tick| stream::iter(tick.unwrap())).collect());
        let [Change::Appeared(_), Change::Changed { .. }, Change::Gone(_)] = changes.as_slice() else {
            panic!("{changes:?}");
        };
        let names = ["appeared", "changed", "gone"];
        for (change, name) in changes.iter().zip(names) {
            let value = json!(change);
            assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), [name]);
            check(change);
        }
        assert_eq!(json!(changes[0])["appeared"], json!(before));
        for change in &changes {
            let line = record(full_snapshot(vec![change.clone()]));
            assert_eq!(json!(line)["kind"], "change");
            check(&line);
        }
        insta::assert_snapshot!(pretty(&changes[1]));
    }

    #[test]
    fn control_group() {
        let sample = common::full::full_control_group();
        insta::assert_snapshot!(pretty(&sample));
        check(&sample);
        check(&common::full::rated_control_group());
        insta::assert_snapshot!(pretty(&ControlGroupSample::default()));
        check(&ControlGroupSample::default());
        let mut unreadable = sample;
        unreadable.memory = Reading::NotApplicable;
        unreadable.pressure = Reading::Unsupported;
        check(&unreadable);
        let line = record(full_snapshot(vec![unreadable]));
        assert_eq!(json!(line)["kind"], "control_group");
        check(&line);
    }

    #[test]
    fn control_group_events() {
        let event = |kind: Value| {
            let mut wire = json!({
                "number": 7, "path": "/a.slice/b.service", "id": 9,
                "info": {"slice": "a.slice", "unit": "b.service", "controllers": ["memory"]}, "at": 11,
            });
            wire.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
            serde_json::from_value::<ControlGroupEvent>(wire).unwrap()
        };
        for kind in ["created", "removed", "populated", "emptied", "frozen", "thawed"] {
            check(&event(json!({"event": kind})));
        }
        let killed = event(json!({"event": "oom_killed", "count": 2}));
        check(&killed);
        insta::assert_snapshot!(serde_json::to_string(&record(full_snapshot(vec![killed]))).unwrap());
        let mut brief = event(json!({"event": "removed"}));
        brief.id = None;
        check(&brief);
    }

    #[test]
    fn own_process() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let meter = appmon::Processes::new().metered().meter();
        let mut source = appmon::OwnProcess::new().runtime(runtime.handle().clone()).source("processes", meter);
        let mut read = || SourceExt::read(&mut source, &appmon::Cancel::new());
        let ticks = [read(), read()];
        let rated = block_on(stream::iter(ticks).rates().skip(1).next()).unwrap().unwrap();
        let line = record(rated);
        check(&line);
        let value = json!(line);
        assert_eq!((&value["kind"], &value["id"]["pid"]), (&json!("own_process"), &json!(std::process::id())));
        assert!(value["threads"].is_u64() && value["threads_by_name"][0]["cpu_ns"].is_u64(), "{value:#}");
        assert!(value["runtime"]["workers"][0]["park_count"].is_u64(), "{value:#}");
        assert_eq!(
            value["sources"],
            json!([{
                "name": "processes", "readings": 0, "failed_readings": 0, "samples": 0, "elapsed_ns": 0, "cpu_ns": 0,
            }])
        );
        assert!(value["rates"]["cpu"]["cores"].is_f64() && value["rates"]["threads_by_name"][0]["cores"].is_f64());
        assert!(value["rates"]["runtime"]["workers"][0]["busy"].is_f64(), "{value:#}");
    }

    #[test]
    fn process_events() {
        let own = |kind: Value| {
            let mut value = json!({
                "number": 7, "id": { "pid": 42, "start_ticks": 104_716 }, "ppid": 1,
                "name": "sh", "at": 1_047_160_000_123_u64,
            });
            value.as_object_mut().unwrap().extend(kind.as_object().unwrap().clone());
            value
        };
        let exited = |status: Value| {
            own(json!({ "event": "exited", "status": status, "cpu_ns": 7, "usage": "exact", "usage_at": 9 }))
        };
        let mut odd = exited(json!({ "signal": { "number": 6, "core_dumped": true } }));
        let more = json!({
            "derived": true, "undecided": true, "name": { "unavailable": "failed" }, "cpu_ns": { "unavailable": "failed" },
            "peak_rss_bytes": 4096, "io": { "unavailable": "denied" }, "usage": "at_least",
        });
        odd.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let forms = [
            own(json!({ "event": "started" })),
            own(json!({ "event": "execed" })),
            own(json!({ "event": "renamed" })),
            own(json!({ "event": "reparented", "from": 8 })),
            exited(json!({ "code": 7 })),
            exited(json!({ "unavailable": "denied" })),
            odd.clone(),
        ];
        for form in forms {
            let read: ProcessEvent = serde_json::from_value(form.clone()).unwrap();
            assert_eq!(json!(read), form);
            check(&read);
            let line = record(full_snapshot(vec![read]));
            assert_eq!((&json!(line)["kind"], &json!(line)["event"]), (&json!("process_event"), &form["event"]));
            check(&line);
        }
        insta::assert_snapshot!(pretty(&record(full_snapshot(vec![
            serde_json::from_value::<ProcessEvent>(odd).unwrap()
        ]))));
        let mut snapshot = full_snapshot(Vec::<ProcessEvent>::new());
        snapshot.skipped.lost = 3;
        assert_eq!(json!(snapshot)["skipped"]["lost"], 3);
        check(&snapshot);
        for (by, no_connector) in
            [(EventMethod::Connector, None), (EventMethod::Polling, Some(ConnectorObstacle::PidNamespace))]
        {
            snapshot.notices = vec![Notice::ProcessEvents { by, no_connector }];
            check(&snapshot);
        }
        let notice = json!({ "kind": "process_events", "by": "polling", "no_connector": "pid_namespace" });
        assert_eq!(json!(snapshot)["notices"], json!([notice]));
    }

    #[test]
    fn summary() {
        let mut sample = full_sample();
        sample.id.pid = 3659;
        let snapshot = full_snapshot(vec![full_sample(), odd_sample()]);
        let tree = ProcessTree::new(&snapshot);
        let summary = tree.summary(full_sample().id);
        insta::assert_snapshot!(pretty(&summary));
        check(&summary);
    }

    #[test]
    fn fields() {
        let forms = [Fields::empty(), Fields::IO, Fields::DEFAULT, Fields::all()].map(|fields| {
            check(&fields);
            serde_json::to_string(&fields).unwrap()
        });
        insta::assert_snapshot!(forms.join("\n"), @r#"
        "none"
        "io"
        "io,user,exe,cwd,cgroup"
        "io,user,exe,cwd,cgroup,cmdline,environ,stat,status,statm,schedstat,smaps_rollup,limits,fd_count,namespaces,oom"
        "#);
        assert_eq!(serde_json::from_str::<Fields>(r#""DEFAULT | STATUS""#).unwrap(), Fields::DEFAULT | Fields::STATUS);
        let error = serde_json::from_str::<Fields>(r#""io,nonsense""#).unwrap_err().to_string();
        assert!(error.contains("nonsense"), "{error}");
    }

    #[test]
    fn select() {
        let text = "(with_descendants(name=postgres) | user=www-data) & !kernel_thread & cmdline~\"^a b\"";
        let select: Select = text.parse().unwrap();
        let json = serde_json::to_string(&select).unwrap();
        insta::assert_snapshot!(json, @r#""(with_descendants(name=postgres) | user=www-data) & !kernel_thread & cmdline~\"^a b\"""#);
        assert_eq!(serde_json::from_str::<Select>(&json).unwrap().to_string(), text);
        let pack = rmp_serde::to_vec_named(&select).unwrap();
        assert_eq!(rmp_serde::from_slice::<Select>(&pack).unwrap().to_string(), text);
        let error = serde_json::from_str::<Select>(r#""nmae=a""#).unwrap_err().to_string();
        assert!(error.contains("nmae"), "{error}");
        assert!(serde_json::to_string(&Select::matching(|_| true)).is_err(), "a function has no text");
    }
}

mod compatible {
    use super::*;

    /// Puts a field of a later version into each object but those that hold a process's own names.
    fn extend(value: &mut Value) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(extend),
            Value::Object(fields) => {
                fields.iter_mut().filter(|(name, _)| *name != "other").for_each(|(_, value)| extend(value));
                // `{"bytes": ..}` and `{"unavailable": ..}` stand for a text and a reading: they are no structs.
                if !fields.contains_key("bytes") && !fields.contains_key("unavailable") {
                    fields.insert("of_a_later_version".into(), json!({ "a": [1, null, "b"] }));
                }
            }
            _ => {}
        }
    }

    #[track_caller]
    fn tolerated<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
        let mut extended = json!(value);
        extend(&mut extended);
        assert_ne!(extended, json!(value));
        assert_eq!(serde_json::from_value::<T>(extended).unwrap(), *value);
    }

    #[test]
    fn fields_of_a_later_version_are_passed_over() {
        tolerated(&full_sample());
        tolerated(&odd_sample());
        tolerated(&full_snapshot(vec![full_sample(), odd_sample()]));
        tolerated(&rated());
        tolerated(&record(rated()));
        tolerated(&ProcessTree::new(&full_snapshot(vec![full_sample()])).summary(full_sample().id));
    }

    #[test]
    fn fields_not_requested_may_be_absent() {
        let mut value = json!(ProcessSample::default());
        for field in ["io", "stat", "environ"] {
            assert!(value.get(field).is_none());
            value[field] = json!({ "unavailable": "not_requested" });
        }
        assert_eq!(serde_json::from_value::<ProcessSample>(value).unwrap(), ProcessSample::default());
    }

    #[test]
    fn a_reason_of_a_later_version_is_no_value() {
        // Least of all a value whose fields are all left out.
        let later = json!({ "unavailable": "eaten_by_a_later_version" });
        assert_eq!(serde_json::from_value::<Reading<u64>>(later.clone()).unwrap(), Reading::Skipped);
        let namespaces = serde_json::from_value::<Reading<appmon::process::Namespaces>>(later.clone()).unwrap();
        assert_eq!(namespaces, Reading::Skipped);
        let mut sample = json!(full_sample());
        sample["io"] = later;
        assert_eq!(serde_json::from_value::<ProcessSample>(sample).unwrap().io, Reading::Skipped);
    }

    #[test]
    fn a_line_of_another_schema_or_kind_is_refused() {
        let line = json!(record(full_snapshot(vec![full_sample()])));
        let refused = |name: &str, value: Value| {
            let mut line = line.clone();
            line[name] = value;
            serde_json::from_value::<Record<ProcessSample>>(line).unwrap_err().to_string()
        };
        assert_eq!(refused("schema", json!(2)), "schema 2 is not supported, only 1");
        assert_eq!(refused("kind", json!("group")), r#"kind "group" instead of "process""#);
    }

    #[test]
    fn a_state_of_a_later_version_is_unknown() {
        assert_eq!(serde_json::from_str::<ProcessState>(r#""resting""#).unwrap(), ProcessState::default());
    }

    #[test]
    fn an_id_that_is_none_and_a_time_that_is_none_are_refused() {
        let snapshot = json!(full_snapshot(vec![1_u32]));
        for (name, wrong) in
            [("boot_id", "no id"), ("boot_id", ""), ("time", "yesterday"), ("time", "1960-01-01T00:00:00Z")]
        {
            let mut snapshot = snapshot.clone();
            snapshot[name] = json!(wrong);
            assert!(serde_json::from_value::<Snapshot<u32>>(snapshot).is_err(), "{name} {wrong:?}");
        }
    }
}

/// An array is never taken for `{"unavailable": ..}`, whatever its first element is.
#[test]
fn a_command_line_of_one_word_is_a_command_line() {
    for word in ["denied", "unsupported", "not_applicable", "skipped", "failed", "not_requested", "unavailable"] {
        check(&Reading::Value(vec![Text::from(word)]));
        let mut info = ProcessInfo::default();
        info.cmdline = Reading::Value(vec![word.into()]);
        info.user = Reading::Value(word.into());
        check(&info);
    }
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), Just(u64::MAX), Just(1 << 63), Just((1 << 63) - 1), Just((1 << 53) + 1), 0..256_u64]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![any::<String>().prop_map(String::into_bytes), vec(any::<u8>(), 0..24)]
}

fn text() -> impl Strategy<Value = Text> {
    bytes().prop_map(Text::from)
}

fn path() -> impl Strategy<Value = WirePath> {
    bytes().prop_map(WirePath::from)
}

fn reading<T: Clone + Debug + 'static>(value: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Reading<T>> {
    prop_oneof![
        4 => value.prop_map(Reading::Value),
        1 => Just(Reading::Denied),
        1 => Just(Reading::Unsupported),
        1 => Just(Reading::NotApplicable),
        1 => Just(Reading::Skipped),
        1 => Just(Reading::Failed),
        1 => Just(Reading::NotRequested),
    ]
    .boxed()
}

/// A rate: any number that is one, and not negative.
fn rate() -> impl Strategy<Value = f64> {
    prop_oneof![
        proptest::num::f64::POSITIVE | proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL,
        Just(0.0),
        Just(f64::MAX),
        Just(0.1 + 0.2),
    ]
    .prop_filter("a number", |rate| rate.is_finite())
}

fn info() -> impl Strategy<Value = ProcessInfo> {
    let texts = (text(), reading(vec(text(), 0..4)), reading(text()), reading(text()), reading(text()));
    (texts, reading(path()), reading(path()), any::<(u32, u32, bool, u32)>()).prop_map(
        |((name, cmdline, user, group, cgroup), exe, cwd, (uid, gid, kernel_thread, execs))| {
            let mut info = ProcessInfo::default();
            info.name = name;
            info.cmdline = cmdline;
            (info.user, info.group, info.cgroup) = (user, group, cgroup);
            (info.exe, info.cwd) = (exe, cwd);
            (info.uid, info.gid, info.kernel_thread, info.execs) = (uid, gid, kernel_thread, execs);
            info
        },
    )
}

fn io() -> impl Strategy<Value = Io> {
    proptest::array::uniform7(proptest::option::of(number())).prop_map(|numbers| {
        let mut io = Io::default();
        [
            io.read_bytes,
            io.write_bytes,
            io.read_chars,
            io.write_chars,
            io.read_syscalls,
            io.write_syscalls,
            io.cancelled_write_bytes,
        ] = numbers;
        io
    })
}

fn sample() -> impl Strategy<Value = ProcessSample> {
    // One out of the fixture, with the numbers made random where they are not looked into by a parser.
    let full = full_sample();
    let rest = (
        reading(Just(full.stat.value().unwrap().clone()).prop_perturb(|stat, mut random| {
            let mut stat = appmon::process::Stat::clone(&stat);
            stat.utime_ticks = random.random();
            stat.start_code = Some(random.random());
            stat.itrealvalue_ticks = random.random();
            stat.processor = None;
            Arc::new(stat)
        })),
        reading(number().prop_map({
            let status = full.status.value().unwrap().clone();
            move |number| {
                let mut status = appmon::process::Status::clone(&status);
                status.untag_mask = Some(number);
                status.cpus_allowed = None;
                status.other.insert("Odd".into(), Text::from(&number.to_ne_bytes()[..]));
                Arc::new(status)
            }
        })),
        reading(Just(full.smaps_rollup.value().unwrap().clone())),
        reading(Just(full.limits.value().unwrap().clone())),
        reading(Just(full.namespaces.value().unwrap().clone())),
        reading(
            vec((text(), proptest::option::of(text())), 0..3).prop_map(|list| Arc::new(list.into_iter().collect())),
        ),
        reading(Just(*full.oom.value().unwrap())),
        reading(number()),
        reading(io()),
    );
    let numbers = proptest::array::uniform12(number());
    let small = (any::<u32>(), any::<u32>(), any::<u32>(), any::<i32>(), any::<u8>());
    (info(), rest, numbers, small).prop_map(|(info, rest, numbers, (pid, ppid, threads, nice, letter))| {
        let mut sample = ProcessSample::default();
        sample.info = info.into();
        let readings = &mut sample;
        (
            readings.stat,
            readings.status,
            readings.smaps_rollup,
            readings.limits,
            readings.namespaces,
            readings.environ,
            readings.oom,
            readings.fd_count,
            readings.io,
        ) = rest;
        (sample.id.pid, sample.ppid, sample.threads, sample.nice) = (pid, ppid, threads, nice);
        sample.state = ProcessState::from_letter(letter);
        let (at, read_at);
        [
            sample.id.start_ticks,
            sample.cpu.total_ns,
            sample.cpu.user_ns,
            sample.cpu.system_ns,
            sample.cpu.children_user_ns,
            sample.cpu.block_io_delay_ns,
            sample.memory.rss_bytes,
            sample.memory.virtual_bytes,
            sample.faults.minor,
            sample.faults.major,
            at,
            read_at,
        ] = numbers;
        sample.at = Monotonic::from_nanos(at);
        sample.read_at = Monotonic::from_nanos(read_at);
        sample
    })
}

fn snapshot() -> impl Strategy<Value = Snapshot<ProcessSample>> {
    (vec(sample(), 0..3), proptest::array::uniform6(number()), any::<u128>()).prop_map(|(samples, numbers, boot_id)| {
        let mut snapshot = full_snapshot(samples);
        let [seq, time, at, took, lag, vanished] = numbers;
        snapshot.seq = seq;
        snapshot.time = Timestamp::from_unix_nanos(time);
        snapshot.at = Monotonic::from_nanos(at);
        snapshot.took = std::time::Duration::from_nanos(took);
        snapshot.lag = std::time::Duration::from_nanos(lag);
        snapshot.skipped.vanished = vanished;
        let [a, b, c, d, e] = [boot_id >> 96, boot_id >> 80, boot_id >> 64, boot_id >> 48, boot_id];
        let [b, c, d] = [b, c, d].map(|group| group & 0xffff);
        let id = format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{:012x}", e & 0xffff_ffff_ffff);
        snapshot.boot_id = serde_json::from_value(json!(id)).unwrap();
        assert_eq!(snapshot.boot_id.to_string(), id);
        snapshot
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn texts_survive(bytes in bytes()) {
        both_ways(&Text::from(bytes.clone()))?;
        both_ways(&WirePath::from(bytes.clone()))?;
        let read: Text = serde_json::from_value(json!(Text::from(bytes.clone()))).unwrap();
        prop_assert_eq!(read.as_bytes(), bytes);
    }

    #[test]
    fn snapshots_survive(snapshot in snapshot()) {
        both_ways(&snapshot)?;
    }

    #[test]
    fn records_survive(snapshot in snapshot()) {
        if !snapshot.samples.is_empty() {
            both_ways(&record(snapshot))?;
        }
    }

    #[test]
    fn rates_survive(numbers in proptest::array::uniform6(rate()), sample in sample(), io in any::<bool>()) {
        // Rates are for the crate to make, so they come from their own wire form.
        let mut rated = rated().samples.remove(1);
        rated.sample = sample;
        let rates = rated.rates.as_mut().unwrap();
        [rates.cpu.cores, rates.cpu.user_cores, rates.cpu.system_cores, rates.faults.minor, rates.faults.major, _] = numbers;
        match &mut rates.io {
            Reading::Value(rates) if io => rates.read_bytes = numbers[5],
            io => *io = Reading::Denied,
        }
        both_ways(&rated)?;
        both_ways(&full_snapshot(vec![rated.clone()]))?;
        both_ways(&record(full_snapshot(vec![rated])))?;
    }

    #[test]
    fn selections_survive(name in bytes(), uid in any::<u32>()) {
        let select = (Select::name(Text::from(name).to_string_lossy().into_owned()) | Select::uid(uid)) & !Select::kernel_threads();
        let json = serde_json::to_string(&select).unwrap();
        prop_assert_eq!(serde_json::from_str::<Select>(&json).unwrap().to_string(), select.to_string());
    }

    #[test]
    fn fields_survive(bits in any::<u32>()) {
        both_ways(&Fields::from_bits_truncate(bits))?;
    }
}
