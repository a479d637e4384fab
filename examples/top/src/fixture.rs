//! A machine that never was: services, processes and disks that are the same each time, for pinned frames and for the picture.

use std::f64::consts::TAU;
use std::path::Path;

use appmon::fs::{Part, PartKind};
use appmon::process::{Io, ProcessId};
use appmon::time::Monotonic;
use appmon::{BootId, FileSystemSample, ProcessSample, Reading, Result, Snapshot, SnapshotStreamExt, Timestamp};
use futures::{TryStreamExt, stream};

const SECOND: u64 = 1_000_000_000;

/// The seconds it lasts.
pub(crate) const SECONDS: u64 = 60;

/// Unit, program, arguments, processes, cores of all in the mean, MiB of each, KiB written in a second by all.
type Kind = (&'static str, &'static str, &'static str, u32, f64, u64, u64);

const KINDS: [Kind; 12] = [
    ("postgresql.service", "postgres", "checkpointer", 9, 1.6, 210, 5200),
    ("nginx.service", "nginx", "worker process", 5, 0.42, 18, 340),
    ("api.service", "api-server", "--listen 0.0.0.0:8080", 3, 1.1, 380, 90),
    ("redis-server.service", "redis-server", "127.0.0.1:6379", 1, 0.31, 96, 700),
    ("worker.service", "python3", "-m worker --queue mail", 4, 0.74, 122, 45),
    ("prometheus.service", "prometheus", "--storage.tsdb.path=/srv/tsdb", 1, 0.12, 640, 410),
    ("ssh.service", "sshd", "-D", 2, 0.0, 9, 0),
    ("cron.service", "cron", "-f", 1, 0.0, 3, 0),
    ("systemd-journald.service", "systemd-journal", "", 1, 0.05, 41, 120),
    ("dbus.service", "dbus-daemon", "--system", 1, 0.0, 5, 0),
    ("backup.service", "restic", "backup /srv/data", 1, 0.96, 260, 15_400),
    ("init.scope", "systemd", "--system", 1, 0.01, 13, 0),
];

pub(crate) fn time(second: u64) -> Timestamp {
    Timestamp::from_unix_nanos((1_785_000_000 + second) * SECOND)
}

/// How busy something is at a second: around 1, the same each time.
fn wave(second: u64, of: u64) -> f64 {
    let phase = (of * 7 % 13) as f64 / 13.0;
    let slow = (TAU * (second as f64 / 41.0 + phase)).sin();
    let fast = (TAU * (second as f64 / (3.0 + (of % 5) as f64) + phase)).sin();
    (1.0 + 0.6 * slow + 0.35 * fast).max(0.0)
}

/// The sum of the waves up to a second: a counter.
fn waves(second: u64, of: u64) -> f64 {
    (0..=second).map(|second| wave(second, of)).sum()
}

fn head<T>(samples: Vec<T>, second: u64) -> Snapshot<T> {
    let mut snapshot: Snapshot<T> = samples.into_iter().collect();
    snapshot.seq = second;
    snapshot.boot_id = BootId::default();
    snapshot.time = time(second);
    snapshot.at = Monotonic::from_nanos((10_000 + second) * SECOND);
    snapshot
}

/// All processes at a second; as many times as many where more are needed.
pub(crate) fn processes(second: u64, times: u32) -> Snapshot<ProcessSample> {
    let mut samples = Vec::new();
    let mut pid = 1;
    // The first is the parent of all that are no workers.
    for (nth, kind) in (0..).zip(KINDS.iter().rev()) {
        let (unit, name, arguments, members, cores, mib, kib) = *kind;
        let first = pid;
        for member in 0..members * times {
            let of = nth * 100 + u64::from(member);
            // A backup runs for a while only.
            if unit == "backup.service" && !(15..52).contains(&second) {
                pid += 1;
                continue;
            }
            let mut process = ProcessSample::default();
            process.id = ProcessId { pid, start_ticks: 100 + u64::from(pid) };
            process.ppid = if pid == 1 {
                0
            } else if member == 0 {
                1
            } else {
                first
            };
            process.threads = 1 + member % 3;
            let each = cores / f64::from(members);
            let nanos = each * waves(second, of) * 1e9;
            process.cpu.total_ns = nanos as u64;
            process.cpu.user_ns = (nanos * 0.8) as u64;
            process.cpu.system_ns = (nanos * 0.2) as u64;
            process.memory.rss_bytes = (mib << 20) + ((wave(second, of) * 3e6) as u64);
            process.memory.virtual_bytes = mib << 22;
            let mut io = Io::default();
            let written = kib as f64 * 1024.0 / f64::from(members) * waves(second, of + 3);
            (io.read_bytes, io.write_bytes) = (Some((written * 0.3) as u64), Some(written as u64));
            (io.read_chars, io.write_chars) = (io.read_bytes, io.write_bytes);
            (io.read_syscalls, io.write_syscalls, io.cancelled_write_bytes) = (Some(0), Some(0), Some(0));
            process.io = Reading::Value(io);
            process.at = Monotonic::from_nanos((10_000 + second) * SECOND);
            process.read_at = process.at;
            let mut info = (*process.info).clone();
            info.name = name.into();
            let cmdline = std::iter::once(name).chain(arguments.split(' ').filter(|part| !part.is_empty()));
            info.cmdline = Reading::Value(cmdline.map(Into::into).collect());
            info.cgroup = Reading::Value(match unit {
                "init.scope" => "/init.scope".into(),
                unit => format!("/system.slice/{unit}").into(),
            });
            info.user = Reading::Value(if mib > 50 { "service".into() } else { "root".into() });
            process.info = info.into();
            samples.push(process);
            pid += 1;
        }
    }
    head(samples, second)
}

/// The disks at a second.
pub(crate) fn disks(second: u64) -> Snapshot<FileSystemSample> {
    let gib = |gib: f64| (gib * (1_u64 << 30) as f64) as u64;
    let grown = 2_600_000 * second;
    let at = Monotonic::from_nanos((10_000 + second) * SECOND);
    let disk = |mount: &str, device: &str, total: f64, parts: &[(&str, PartKind, u64)]| {
        let mut disk = FileSystemSample::default();
        (disk.name, disk.mount_point, disk.device) = (mount.into(), mount.into(), device.into());
        (disk.fs_type, disk.total_bytes, disk.at) = ("ext4".into(), gib(total), Some(at));
        disk.used_bytes = parts.iter().map(|(_, _, bytes)| bytes).sum();
        disk.reserved_bytes = disk.total_bytes / 20;
        disk.free_bytes = disk.total_bytes - disk.reserved_bytes - disk.used_bytes;
        let rest = [("free", PartKind::Free, disk.free_bytes), ("reserved", PartKind::Reserved, disk.reserved_bytes)];
        for (name, kind, bytes) in parts.iter().copied().chain(rest) {
            let mut part = Part::default();
            (part.name, part.kind, part.bytes, part.complete) = (name.into(), kind, bytes, true);
            part.fraction = bytes as f64 / disk.total_bytes as f64;
            part.at = Some(at);
            disk.parts.push(part);
        }
        disk
    };
    head(
        vec![
            disk(
                "/",
                "/dev/vda1",
                40.0,
                &[("logs", PartKind::Directory, gib(6.5)), ("other", PartKind::Other, gib(11.2))],
            ),
            disk(
                "/srv",
                "/dev/vdb1",
                500.0,
                &[
                    ("data", PartKind::Directory, gib(301.0) + grown),
                    ("tsdb", PartKind::Directory, gib(84.0)),
                    ("other", PartKind::Other, gib(9.0)),
                ],
            ),
        ],
        second,
    )
}

/// Records it.
pub(crate) fn record(processes_path: &Path, disks_path: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ticks = stream::iter((0..SECONDS).map(|second| Ok(processes(second, 1))));
        ticks.record(processes_path).lossless(true).try_for_each(|_| async { Ok(()) }).await?;
        let ticks = stream::iter((0..SECONDS).step_by(5).map(|second| Ok(disks(second))));
        ticks.record(disks_path).lossless(true).try_for_each(|_| async { Ok(()) }).await
    })
}
