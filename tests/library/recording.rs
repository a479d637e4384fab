//! Recordings: the same snapshots, edges and groups again; files that go on, fill up, are torn, or are another's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use appmon::process::Service;
use appmon::snapshot::Notice;
use appmon::stream::{RecordStatus, Recorded, Recording};
use appmon::time::Monotonic;
use appmon::{FileSystemSample, ProcessSample, Processes, Result, Snapshot, SnapshotStreamExt, SourceExt, Timestamp};
use futures::executor::block_on_stream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::runtime::Runtime;

const SECOND: u64 = 1_000_000_000;

/// Both kinds of files.
const NAMES: [&str; 2] = ["night.ndjson", "night.ndjson.zst"];

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A second of it, with a process whose name no other second has.
fn tick(second: u64) -> Snapshot<ProcessSample> {
    let mut samples = Vec::new();
    for pid in 1..=20 {
        let mut process = ProcessSample::default();
        process.id.pid = pid;
        process.cpu.total_ns = second * u64::from(pid);
        process.at = Monotonic::from_nanos(second * SECOND);
        let mut info = (*process.info).clone();
        info.name = format!("p{pid}-{}", second * 7919 % 1_000_003).into();
        process.info = info.into();
        samples.push(process);
    }
    let mut snapshot: Snapshot<ProcessSample> = samples.into_iter().collect();
    snapshot.seq = second;
    snapshot.time = Timestamp::from_unix_nanos(1_700_000_000 * SECOND + second * SECOND);
    snapshot.at = Monotonic::from_nanos(second * SECOND);
    snapshot
}

fn ticks(seconds: std::ops::Range<u64>) -> impl Stream<Item = Result<Snapshot<ProcessSample>>> + Unpin {
    stream::iter(seconds.map(|second| Ok(tick(second))))
}

type Recorder<S> = Recorded<S, ProcessSample>;

/// Records seconds to their end.
fn record(path: &Path, seconds: std::ops::Range<u64>) -> RecordStatus {
    let mut recorded = ticks(seconds).record(path).lossless(true);
    run(&mut recorded)
}

fn run<S: Stream<Item = Result<Snapshot<ProcessSample>>> + Unpin>(recorded: &mut Recorder<S>) -> RecordStatus {
    runtime().block_on(async { while recorded.try_next().await.unwrap().is_some() {} });
    recorded.status()
}

fn open(path: &Path) -> Recording<ProcessSample> {
    Recording::open(path).unwrap()
}

fn seconds(recording: Recording<ProcessSample>) -> Vec<u64> {
    recording.map(|tick| tick.unwrap().seq).collect()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_live_stream_again_to_the_last_bit_with_its_edges_groups_and_windows() {
    for name in NAMES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let live: Vec<Snapshot<ProcessSample>> = runtime().block_on(async {
            let ticks = Processes::new().lives(true).every(Duration::from_millis(30)).take(12).record(&path);
            ticks.try_collect().await.unwrap()
        });
        let again: Vec<_> = runtime().block_on(open(&path).stream().try_collect()).unwrap();
        assert_eq!(live, again);

        let live = || stream::iter(live.clone().into_iter().map(Ok));
        let again = || open(&path).stream();
        let rule = || "cpu.cores >= 0 for 60ms".parse().unwrap();
        let of_live: Vec<_> = block_on_stream(live().rates().alert(rule())).map(Result::unwrap).collect();
        let edges: Vec<_> = runtime().block_on(again().rates().alert(rule()).try_collect()).unwrap();
        assert!(of_live.iter().any(|tick| !tick.is_empty()), "no edge at all");
        assert_eq!(of_live, edges);

        let of_live: Vec<_> = block_on_stream(live().group_by(Service::of).rates()).map(Result::unwrap).collect();
        let groups: Vec<_> = runtime().block_on(again().group_by(Service::of).rates().try_collect()).unwrap();
        assert_eq!(of_live, groups);

        let length = Duration::from_millis(100);
        let of_live: Vec<_> = block_on_stream(live().rates().window(length)).map(Result::unwrap).collect();
        let windows: Vec<_> = runtime().block_on(again().rates().window(length).try_collect()).unwrap();
        assert_eq!(of_live, windows);
    }
}

#[test]
fn a_jump_leads_to_each_second_forward_and_back() {
    for name in NAMES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let status = record(&path, 0..1000);
        assert_eq!((status.recorded, status.failed, status.dropped), (1000, 0, 0));
        let mut recording = open(&path);
        assert_eq!(recording.span().unwrap(), Some((tick(0).time, tick(999).time)));
        for second in [500, 0, 999, 121, 120, 119, 998, 1] {
            let between = Timestamp::from_unix_nanos(tick(second).time.as_unix_nanos() - SECOND / 2);
            for time in [tick(second).time, between] {
                recording.seek(time).unwrap();
                assert_eq!(recording.next().unwrap().unwrap(), tick(second), "{name} {second}");
                assert_eq!(recording.next().map(|tick| tick.unwrap().seq), (second < 999).then_some(second + 1));
            }
        }
        recording.seek(Timestamp::from_unix_nanos(u64::MAX)).unwrap();
        assert!(recording.next().is_none());
        recording.seek(Timestamp::default()).unwrap();
        assert_eq!(seconds(recording).len(), 1000);
    }
}

#[test]
fn files_without_a_line_are_passed_over_for_its_span_and_in_a_jump() {
    for name in NAMES {
        let folder = tempfile::tempdir().unwrap();
        let numbered = |number: u32| folder.path().join(name.replace("night.", &format!("night.{number:06}.")));
        // Only the beginning of a file, as a process that ended at once leaves it.
        for number in [1, 3, 5, 6] {
            record(&numbered(number), 0..0);
        }
        record(&folder.path().join(name), 0..0);
        assert_eq!(open(&folder.path().join(name)).span().unwrap(), None);
        for (number, seconds) in [(2, 0..5), (4, 5..10)] {
            record(&numbered(number), seconds);
        }
        let mut recording = open(&folder.path().join(name));
        assert_eq!(recording.span().unwrap(), Some((tick(0).time, tick(9).time)), "{name}");
        for second in [7, 2, 9, 0, 5] {
            recording.seek(tick(second).time).unwrap();
            assert_eq!(recording.next().unwrap().unwrap().seq, second, "{name}");
        }
    }
}

#[test]
fn zstds_own_tool_reads_it_as_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("night.zst");
    record(&path, 0..300);
    let lines = zstd::stream::decode_all(fs::File::open(&path).unwrap()).unwrap();
    let lines: Vec<_> = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), 300);
    let first: serde_json::Value = serde_json::from_slice(lines[0]).unwrap();
    assert_eq!((&first["form"], &first["kind"], &first["schema"]), (&"snapshot".into(), &"process".into(), &1.into()));
}

/// Whatever the length at which it is cut: what was whole is there, and it goes on behind that.
#[test]
fn a_torn_end_is_cut_wherever_it_is() {
    for name in NAMES {
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().join(name);
        // Dropped and not ended, as in a crash: the last chunk is not finished.
        let mut recorded = ticks(0..5).chain(stream::pending()).record(&whole).lossless(true);
        runtime().block_on(async {
            for _ in 0..5 {
                recorded.next().await.unwrap().unwrap();
            }
            while recorded.status().recorded < 5 {
                tokio::task::yield_now().await;
            }
        });
        drop(recorded);
        let bytes = fs::read(&whole).unwrap();
        let mut seen = Vec::new();
        for len in (0..160).chain((160..bytes.len()).step_by(bytes.len() / 97)).chain([bytes.len() - 1, bytes.len()]) {
            let torn = folder.path().join(format!("torn-{len}.{}", name.split_once('.').unwrap().1));
            fs::write(&torn, &bytes[..len]).unwrap();
            let before = seconds(open(&torn));
            assert_eq!(before, (0..before.len() as u64).collect::<Vec<_>>(), "{name} {len}");
            let status = record(&torn, 100..102);
            assert_eq!(status.recorded, 2, "{name} {len} {status:?}");
            let after: Vec<u64> = before.iter().copied().chain([100, 101]).collect();
            assert_eq!(seconds(open(&torn)), after, "{name} {len}");
            if name.ends_with("zst") {
                let text = zstd::stream::decode_all(fs::File::open(&torn).unwrap()).unwrap();
                assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), after.len(), "{name} {len}");
            }
            seen.push(before.len());
            fs::remove_file(torn).unwrap();
        }
        assert_eq!((seen.first(), seen.last()), (Some(&0), Some(&5)));
        assert!((1..5).all(|count| seen.contains(&count)), "{name} {seen:?}");
    }
}

#[test]
fn full_and_old_files_get_a_number_and_only_so_many_are_kept() {
    for name in NAMES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let mut recorded = ticks(0..100).record(&path).lossless(true).max_age(Duration::from_secs(10));
        let status = run(&mut recorded);
        assert_eq!((status.recorded, status.rotated), (100, 9));
        assert_eq!(files(folder.path()).len(), 10);
        assert_eq!(seconds(open(&path)), (0..100).collect::<Vec<_>>());
        let mut recording = open(&path);
        for second in [57, 3, 99, 10, 9] {
            recording.seek(tick(second).time).unwrap();
            assert_eq!(recording.next().unwrap().unwrap().seq, second);
        }
        // Somebody else's file with such a name.
        let foreign = path.with_file_name(name.replace("night.", "night.000000."));
        fs::write(&foreign, "mine").unwrap();
        let mut recorded = ticks(100..120).record(&path).lossless(true).max_bytes(1).keep(3);
        assert_eq!(run(&mut recorded).recorded, 20);
        assert_eq!(fs::read_to_string(&foreign).unwrap(), "mine");
        fs::remove_file(foreign).unwrap();
        assert_eq!(files(folder.path()).len(), 4);
        assert_eq!(seconds(open(&path)), [116, 117, 118, 119]);
    }
}

#[test]
fn what_is_anothers_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let of_file_systems = folder.path().join("fs.ndjson");
    runtime().block_on(async {
        let empty = stream::iter([Ok(Snapshot::<FileSystemSample>::default())]);
        empty.record(&of_file_systems).try_collect::<Vec<_>>().await.unwrap();
    });
    let text = folder.path().join("notes.txt");
    fs::write(&text, "{\"appmon\":\"notes\"}\n").unwrap();
    let link = folder.path().join("link.ndjson");
    std::os::unix::fs::symlink(&text, &link).unwrap();
    let held = folder.path().join("held.ndjson");
    record(&held, 0..1);
    let lock = fs::File::open(&held).unwrap();
    lock.try_lock().unwrap();
    let folder_itself = folder.path().to_owned();
    for path in [of_file_systems, text, link, held, folder_itself, PathBuf::from("..")] {
        let before = fs::read(&path).ok();
        let mut recorded = ticks(0..3).record(&path);
        let items: Vec<_> = runtime().block_on(recorded.by_ref().collect());
        // The first item is the reason, and then the stream goes on.
        let error = items[0].as_ref().unwrap_err();
        assert!(error.is_config() && error.path().is_some(), "{error:?}");
        assert_eq!(items.len(), 4, "{}", path.display());
        let last = items[3].as_ref().unwrap();
        assert!(matches!(&last.notices[..], [Notice::NotRecorded { .. }]), "{:?}", last.notices);
        assert_eq!((recorded.status().recorded, recorded.status().failed), (0, 3));
        assert_eq!(fs::read(&path).ok(), before);
    }
}

#[test]
fn errors_of_the_disk_do_not_stop_the_stream_and_it_goes_on_when_they_are_over() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("below");
    let path = below.join("night.ndjson");
    let mut recorded = ticks(0..200).record(&path).lossless(true);
    runtime().block_on(async {
        let error = recorded.next().await.unwrap().unwrap_err();
        assert!(error.is_not_found(), "{error:?}");
        for _ in 0..5 {
            let tick = recorded.next().await.unwrap().unwrap();
            assert!(matches!(&tick.notices[..], [Notice::NotRecorded { .. }]));
        }
        fs::create_dir(&below).unwrap();
        while recorded.next().await.is_some() {}
    });
    let status = recorded.status();
    assert_eq!(status.recorded + status.failed, 200);
    assert!(status.recorded > 60 && status.error.is_none(), "{status:?}");
    assert_eq!(seconds(open(&path)).last(), Some(&199));
}

#[test]
fn damage_in_the_middle_costs_what_is_damaged() {
    for name in NAMES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        record(&path, 0..1000);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 200].fill(0xff);
        fs::write(&path, &bytes).unwrap();
        let items: Vec<_> = open(&path).collect();
        let errors: Vec<_> = items.iter().filter_map(|item| item.as_ref().err()).collect();
        assert!((1..=2).contains(&errors.len()) && errors.iter().all(|error| error.is_malformed()), "{errors:?}");
        let whole: Vec<u64> = items.iter().filter_map(|item| Some(item.as_ref().ok()?.seq)).collect();
        assert!(whole.len() > 800 && whole.contains(&0) && whole.contains(&999), "{name} {}", whole.len());
        // It is continued: nothing behind the damage is cut off.
        record(&path, 1000..1001);
        let after: Vec<u64> = open(&path).filter_map(|item| Some(item.ok()?.seq)).collect();
        assert_eq!(after, whole.into_iter().chain([1000]).collect::<Vec<_>>());
    }
}

#[test]
fn its_time_goes_at_the_speed_that_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("night.zst");
    record(&path, 0..61);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let began = tokio::time::Instant::now();
        let mut replay = open(&path).stream().speed(10.0);
        let mut times = Vec::new();
        while replay.try_next().await.unwrap().is_some() {
            times.push(began.elapsed().as_millis() / 100);
        }
        assert_eq!(times, (0..=60).collect::<Vec<_>>());
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let mut replay = open(&path).stream().speed(speed);
            assert!(replay.next().await.unwrap().unwrap_err().is_config());
            assert!(replay.next().await.is_none());
        }
    });
}

#[test]
fn no_recording_is_an_error_that_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no.ndjson");
    assert!(Recording::<ProcessSample>::open(&path).unwrap_err().is_not_found());
    fs::write(&path, "{}\n").unwrap();
    assert!(Recording::<ProcessSample>::open(&path).unwrap_err().is_malformed());
    fs::remove_file(&path).unwrap();
    record(&path, 0..1);
    let error = Recording::<FileSystemSample>::open(&path).unwrap_err();
    assert!(error.is_config() && error.path() == Some(&*path), "{error:?}");
}
