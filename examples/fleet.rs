//! Shows the busiest processes and the fullest file systems of all hosts that forward to a JetStream stream.

#[path = "support/cli.rs"]
mod cli;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use appmon::broker::nats::Consumer;
use appmon::{Error, FileSystemSample, ProcessSample, Rated, Result, Select, Snapshot, SnapshotStreamExt, Text};
use futures::StreamExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

const HELP: &str = "\
Shows the busiest processes and the fullest file systems of all hosts that forward theirs to NATS,
as the example `forward` does. For an overview of many hosts in one terminal.

Usage: fleet --from URL --stream NAME [OPTION]...

  --from URL          the NATS server, such as nats://127.0.0.1:4222
  --stream NAME       the stream of JetStream that the hosts forward to
  --subjects PREFIX   the subjects are PREFIX.process.HOST and PREFIX.file_system.HOST
                      [default: appmon]
  --select EXPRESSION the processes, such as 'unit=nginx | name=postgres & !user=root'; those
                      with too little data to decide are left out  [default: all]
  --every DURATION    time between two tables  [default: 2s]
  --count TABLES      end after so many tables  [default: go on until Ctrl-C]
  --top LINES         lines of each table  [default: 10]
  --oldest            begin with the oldest stored message instead of new ones
  --help              this text";

struct Args {
    from: String,
    stream: String,
    subjects: String,
    select: Select,
    every: Duration,
    count: usize,
    top: usize,
    oldest: bool,
}

fn main() -> ExitCode {
    cli::main("fleet", format!("{HELP}\n\nThe grammar of EXPRESSION:\n\n{}", Select::GRAMMAR), parse, |args| {
        cli::block_on(run(args)).map(|()| ExitCode::SUCCESS)
    })
}

async fn run(args: Args) -> Result<()> {
    let subject = |kind: &str| format!("{}.{kind}.*", args.subjects);
    let mut processes = Consumer::<ProcessSample>::new(&*args.from, &*args.stream)?.subject(subject("process"));
    let mut disks = Consumer::<FileSystemSample>::new(&*args.from, &*args.stream)?.subject(subject("file_system"));
    if args.oldest {
        (processes, disks) = (processes.from_oldest(), disks.from_oldest());
    }
    // Rates are computed here, for each host separately.
    let mut processes = processes.stream().rates().select(args.select);
    let mut disks = disks.stream();
    let mut fleet = Fleet::default();
    let mut tables = 0;
    // Longer intervals could overflow the clock.
    let every = args.every.min(Duration::from_secs(30 * 365 * 86_400));
    let mut clock = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::io)?;
    while tables < args.count {
        tokio::select! {
            Some(snapshot) = processes.next() => fleet.take(snapshot, |fleet| &mut fleet.processes),
            Some(snapshot) = disks.next() => fleet.take(snapshot, |fleet| &mut fleet.disks),
            _ = clock.tick() => {
                let missing = processes.get_ref().get_ref().received().missing + disks.received().missing;
                if print(&fleet.table(args.top, missing)).is_err() {
                    break; // The reader has closed the pipe.
                }
                tables += 1;
            }
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        }
    }
    processes.into_inner().into_inner().close().await;
    disks.close().await;
    Ok(())
}

/// The latest samples of each host.
#[derive(Default)]
struct Fleet {
    processes: Latest<Rated<ProcessSample>>,
    disks: Latest<FileSystemSample>,
    /// The last error printed.
    last_error: String,
}

type Latest<T> = HashMap<Arc<str>, Vec<T>>;

impl Fleet {
    fn take<T>(&mut self, snapshot: Result<Snapshot<T>>, latest: impl FnOnce(&mut Self) -> &mut Latest<T>) {
        match snapshot {
            Ok(snapshot) => {
                self.last_error.clear();
                let host = snapshot.host.unwrap_or_else(|| "(no name)".into());
                latest(self).insert(host, snapshot.samples);
            }
            Err(error) => {
                let error = error.to_string();
                // Printed once, and not at each attempt.
                if self.last_error != error {
                    eprintln!("fleet: {error}");
                    self.last_error = error;
                }
            }
        }
    }

    fn table(&self, top: usize, missing: u64) -> String {
        let mut text = format!("{:<32} {:>7} {:>6} {:>9}  PROCESS\n", "HOST", "PID", "CORES", "RSS MiB");
        for (host, process) in self.busiest(top) {
            let cores = process.rates.as_ref().map_or(0.0, |rates| rates.cpu.cores);
            let rss = process.memory.rss_bytes >> 20;
            let (host, pid, name) = (plain(host), process.id.pid, &process.info.name);
            let _ = writeln!(text, "{host:<32} {pid:>7} {cores:>6.2} {rss:>9}  {name}");
        }
        let _ = writeln!(text, "\n{:<32} {:>7} {:>9}  FILE SYSTEM", "HOST", "USED %", "FREE GiB");
        for (host, disk) in self.fullest(top) {
            let free = disk.free_bytes >> 30;
            let _ = writeln!(text, "{:<32} {:>7.1} {free:>9}  {}", plain(host), used(disk), disk.mount_point);
        }
        let hosts = self.processes.len().max(self.disks.len());
        let processes: usize = self.processes.values().map(Vec::len).sum();
        let _ = writeln!(text, "\n{hosts} hosts, {processes} processes, {missing} messages missing\n");
        text
    }

    fn busiest(&self, top: usize) -> Vec<(&str, &Rated<ProcessSample>)> {
        let cores = |process: &Rated<ProcessSample>| process.rates.as_ref().map_or(0.0, |rates| rates.cpu.cores);
        top_of(&self.processes, top, |process| cores(process))
    }

    fn fullest(&self, top: usize) -> Vec<(&str, &FileSystemSample)> {
        top_of(&self.disks, top, used)
    }
}

/// A received name, with characters escaped that could control a terminal. The names in samples are escaped by their type.
fn plain(host: &str) -> Text {
    Text::from(host)
}

fn top_of<T>(latest: &Latest<T>, top: usize, by: impl Fn(&T) -> f64) -> Vec<(&str, &T)> {
    let mut all: Vec<_> = latest.iter().flat_map(|(host, all)| all.iter().map(move |one| (&**host, one))).collect();
    all.sort_by(|(_, a), (_, b)| by(b).total_cmp(&by(a)));
    all.truncate(top);
    all
}

/// The usage in percent, as in `df`: of the space that ordinary users can use.
fn used(disk: &FileSystemSample) -> f64 {
    disk.used_fraction().map_or(0.0, |fraction| 100.0 * fraction)
}

fn print(text: &str) -> std::io::Result<()> {
    std::io::Write::write_all(&mut std::io::stdout(), format!("{text}\n").as_bytes())
}

/// The arguments; `None` for `--help`.
fn parse() -> std::result::Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut args = Args {
        from: String::new(),
        stream: String::new(),
        subjects: "appmon".to_owned(),
        select: Select::all(),
        every: Duration::from_secs(2),
        count: usize::MAX,
        top: 10,
        oldest: false,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("from") => args.from = parser.value()?.string()?,
            Long("stream") => args.stream = parser.value()?.string()?,
            Long("subjects") => args.subjects = parser.value()?.string()?,
            Long("select") => args.select = cli::select(&mut parser)?,
            Long("every") => args.every = cli::every(&mut parser, "2s")?,
            Long("count") => args.count = cli::value(&mut parser, "count")?,
            Long("top") => args.top = cli::value(&mut parser, "top")?,
            Long("oldest") => args.oldest = true,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    for (name, value, example) in [("from", &args.from, "nats://127.0.0.1:4222"), ("stream", &args.stream, "APPMON")] {
        if value.is_empty() {
            return Err(format!("--{name} is missing: give one, such as --{name} {example}").into());
        }
    }
    Ok(Some(args))
}
