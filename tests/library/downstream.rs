//! The texts of `examples/downstream`: ClickHouse runs them over real messages, and promtool over a real page.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use appmon::forward::{Encoder, Host};
use appmon::stream::GroupSample;
use appmon::{ProcessSample, Processes, Rated, Sample, Snapshot, SnapshotStreamExt, Text};
use common::python::python_with;
use common::{next, require, ticks};
use serde_json::{Value, json};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/downstream");

/// Prints the answer to each query, one row a line, and an empty line after each.
const CLICKHOUSE: &str = r#"
import sys
from chdb.session import Session

folder, *texts = sys.argv[1:]
session = Session(folder + "/data")
for text in texts:
    for query in text.split(";\n"):
        if query.strip():
            print(session.query(query, "JSONEachRow"))
"#;

fn text(file: &str) -> String {
    std::fs::read_to_string(Path::new(FOLDER).join(file)).unwrap()
}

fn lines<T: Sample + serde::Serialize>(encoder: &mut Encoder, snapshots: &[Snapshot<T>]) -> Vec<String> {
    let encoded = snapshots.iter().map(|snapshot| encoder.encode(snapshot));
    let messages = encoded.flat_map(|encoded| {
        assert_eq!(encoded.oversize, 0);
        encoded.messages
    });
    messages.map(|message| String::from_utf8(message.payload.to_vec()).unwrap()).collect()
}

/// A text as ClickHouse has it: one that is no UTF-8 is the JSON that stands for it.
fn shown(text: &Text) -> Value {
    match serde_json::to_value(text).unwrap() {
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

/// A whole number has no point in it, as ClickHouse writes it.
fn number(number: f64) -> Value {
    if number.fract() == 0.0 { json!(number as u64) } else { json!(number) }
}

fn of_process(rated: &Rated<ProcessSample>) -> Value {
    let (sample, rates) = (&rated.sample, rated.rates.as_ref());
    let io = sample.io.value();
    let io_rates = rates.and_then(|rates| rates.io.value());
    json!([
        sample.id.pid,
        sample.id.start_ticks,
        shown(&sample.info.name),
        sample.info.uid,
        sample.threads,
        sample.cpu.total_ns,
        sample.memory.rss_bytes,
        io.and_then(|io| io.read_bytes),
        io.and_then(|io| io.write_bytes),
        rates.map(|rates| number(rates.cpu.cores)),
        io_rates.map(|rates| number(rates.write_bytes)),
    ])
}

fn of_group(rated: &Rated<GroupSample<Text>>) -> Value {
    let (sample, rates) = (&rated.sample, rated.rates.as_ref());
    json!([
        sample.by.as_deref(),
        sample.key.key().map(shown),
        sample.alive,
        sample.threads,
        sample.cpu.total_ns,
        sample.memory.rss_bytes,
        sample.io.read_bytes,
        sample.io.write_bytes,
        rates.map(|rates| number(rates.cpu.cores)),
    ])
}

const PROCESSES: &str =
    "pid start_ticks name uid threads cpu_ns rss_bytes read_bytes write_bytes cores write_bytes_per_second";
const GROUPS: &str = "by key alive threads cpu_ns rss_bytes read_bytes write_bytes cores";

/// In one order, whatever order they came in.
fn sorted(rows: impl Iterator<Item = Value>) -> Vec<String> {
    let mut rows: Vec<String> = rows.map(|row| row.to_string()).collect();
    rows.sort_unstable();
    rows
}

fn columns(rows: &[Value], names: &str) -> Vec<String> {
    sorted(rows.iter().map(|row| names.split(' ').map(|name| row[name].clone()).collect()))
}

#[test]
fn clickhouse_has_what_the_samples_have() {
    let Some(mut python) = python_with("chdb") else { return };
    let mut stream = ticks(Processes::new()).rates();
    let processes = [next(&mut stream), next(&mut stream)];
    let mut stream =
        ticks(Processes::new()).group_by(|process| process.info.name.clone()).by("service").max_groups(3).rates();
    let groups = [next(&mut stream), next(&mut stream)];
    assert!(processes[1].samples.iter().any(|rated| rated.rates.is_some()));

    let mut encoder = Encoder::new(Host::new("web-17").unwrap());
    let mut messages = lines(&mut encoder, &processes);
    messages.extend(lines(&mut encoder, &groups));
    // They come twice, and there is one of only what changed, and one of another kind.
    let mut other: Value = serde_json::from_str(&messages[0]).unwrap();
    (other["stream"], other["delta"]) = ("changes".into(), json!({}));
    messages.extend([other.to_string(), messages.join("\n"), json!({"schema": 1, "kind": "machine"}).to_string()]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("messages");
    std::fs::write(&file, messages.join("\n")).unwrap();
    let insert = format!("INSERT INTO appmon_messages SELECT line FROM file('{}', LineAsString)", file.display());
    let all = "SELECT * FROM appmon_processes FINAL;\nSELECT * FROM appmon_groups FINAL;\n";
    python.args(["-c", CLICKHOUSE]).arg(folder.path());
    let output = python
        .args([&text("clickhouse.sql"), &insert, all, &text("clickhouse_queries.sql")])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());

    let output = String::from_utf8(output.stdout).unwrap();
    let rows = output.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (mut of_processes, mut of_groups, mut top, mut minutes) = (vec![], vec![], vec![], vec![]);
    for row in rows {
        assert_eq!(row["host"], "web-17");
        let into = if row.get("minute").is_some() {
            &mut minutes
        } else if row.get("cpu_seconds").is_some() {
            &mut top
        } else if row.get("pid").is_some() {
            &mut of_processes
        } else {
            &mut of_groups
        };
        into.push(row);
    }
    let expected = processes.iter().flat_map(|snapshot| &snapshot.samples).map(of_process);
    assert_eq!(columns(&of_processes, PROCESSES), sorted(expected));
    let expected = groups.iter().flat_map(|snapshot| &snapshot.samples).map(of_group);
    assert_eq!(columns(&of_groups, GROUPS), sorted(expected));
    let time = serde_json::to_value(processes[0].time).unwrap();
    let time = time.as_str().unwrap().trim_end_matches('Z').trim_end_matches('0').replace('T', " ");
    assert!(of_processes.iter().any(|row| row["time"].as_str().unwrap().starts_with(&time)), "{time}");

    let mut used: BTreeMap<(u32, u64), Vec<u64>> = BTreeMap::new();
    for Rated { sample, .. } in processes.iter().flat_map(|snapshot| &snapshot.samples) {
        used.entry((sample.id.pid, sample.id.start_ticks)).or_default().push(sample.cpu.total_ns);
    }
    let most = used.values().map(|used| used.iter().max().unwrap() - used.iter().min().unwrap()).max().unwrap();
    assert_eq!(top[0]["cpu_seconds"], number(most as f64 / 1e9));
    let cores = groups[1].samples.iter().filter_map(|rated| Some(rated.rates.as_ref()?.cpu.cores)).fold(0.0, f64::max);
    let shown = minutes.iter().filter_map(|row| row["most_cores"].as_f64()).fold(0.0, f64::max);
    assert_eq!(shown.to_bits(), cores.to_bits());
}

/// Whether promtool is content, and what it says.
fn promtool(arguments: &[&str], input: &str) {
    let mut promtool = Command::new("promtool");
    promtool.args(arguments).current_dir(FOLDER).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
    assert!(output.status.success(), "{arguments:?}: {said}");
}

fn has_promtool() -> bool {
    let version = Command::new("promtool").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    require(version.is_ok_and(|status| status.success()), "promtool")
}

#[test]
fn prometheus_takes_the_files() {
    if has_promtool() {
        promtool(&["check", "config", "prometheus.yml"], "");
        promtool(&["check", "rules", "prometheus_rules.yml"], "");
        promtool(&["test", "rules", "prometheus_rules_test.yml"], "");
    }
}

/// Names that no page has would never be noticed: a rule of them is silent.
#[cfg(feature = "prometheus")]
#[test]
fn the_rules_are_about_what_is_on_the_page() {
    use appmon::{Cancel, FileSystem, FileSystemSample, FileSystems, Source};

    let mut groups = ticks(Processes::new()).group_by(|process| process.info.name.clone()).by("service").observe();
    let mut source = FileSystems::new().register(FileSystem::new("root", "/"));
    let mut disks: Snapshot<FileSystemSample> = Snapshot::default();
    common::until("the file system answers", || {
        source.collect(&mut disks, &Cancel::new()).unwrap();
        disks.samples[0].at.is_some()
    });
    let mut disks = futures::stream::iter([Ok::<_, appmon::Error>(disks)]).observe();
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(groups.latest()));
    registry.register_collector(Box::new(disks.latest()));
    next(&mut groups);
    next(&mut disks);
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();

    let rules = text("prometheus_rules.yml");
    let expressions = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let words =
        expressions.flat_map(|expression| expression.split(|c: char| !c.is_ascii_alphanumeric() && !"_:".contains(c)));
    let names: Vec<&str> = words.filter(|word| word.contains('_') && !word.contains(':')).collect();
    for metric in ["process_group_cpu_seconds_total", "system_filesystem_stalled"] {
        assert!(names.contains(&metric), "{names:?}");
    }
    for name in names {
        let is_there =
            page.lines().any(|line| line.starts_with(&format!("{name}{{")) || line.contains(&format!("{name}=")));
        assert!(is_there, "{name}\n{page}");
    }
    for label in ["service=", "mount_point="] {
        assert!(page.contains(label), "{page}");
    }
}
