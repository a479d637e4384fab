//! Prints the usage of file systems and of directories on them.

#[path = "support/cli.rs"]
mod cli;

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use appmon::fs::WatchMode;
use appmon::{Directory, FileSystemSample, FileSystems, Rated, Result, Snapshot, SnapshotStreamExt, SourceExt};
use futures::TryStreamExt;
use tokio::io::AsyncWriteExt as _;

const HELP: &str = "\
Prints the usage of all mounted file systems, and of chosen directories on them, at every tick.
For finding out which directory fills a disk, and how fast.

Usage: disks [--directory NAME=PATH]... [--watch NAME=PATH]... [--ttl DURATION] [--every DURATION] [--count TICKS]

  --directory NAME=PATH  report this directory separately, as a part of its file system; repeatable
  --watch NAME=PATH      the same, kept up to date at each tick by inotify instead of scans
  --ttl DURATION         time between two scans of a directory, such as 30s, 5m  [default: 1m]
  --every DURATION       time between two ticks, such as 500ms, 1s, 5m  [default: 1s]
  --count TICKS          end after so many ticks  [default: go on until Ctrl-C]
  --help                 this text

Example: disks --every 10s --directory logs=/var/log --watch data=/srv/data

The first tick waits for the first scans.";

struct Args {
    directories: Vec<Directory>,
    ttl: Duration,
    every: Duration,
    count: Option<u64>,
}

fn main() -> ExitCode {
    cli::main("disks", HELP, parse, |args| cli::until_stopped(run(args)))
}

async fn run(args: Args) -> Result<()> {
    let mut disks = FileSystems::mounted();
    for directory in args.directories {
        disks = disks.directory(directory.ttl(args.ttl));
    }
    let mut ticks = disks.every(args.every).rates();
    let mut out = tokio::io::stdout();
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(tick) = ticks.try_next().await? else { break };
        out.write_all(table(&tick).as_bytes()).await.map_err(appmon::Error::io)?;
        out.flush().await.map_err(appmon::Error::io)?;
        left = left.saturating_sub(1);
    }
    Ok(())
}

fn table(tick: &Snapshot<Rated<FileSystemSample>>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(out, "#{} at {}, took {:?}", tick.seq, tick.time, tick.took);
    for fs in tick {
        let growth =
            fs.rates.as_ref().map_or_else(String::new, |rates| format!(", growing {:.0} B/s", rates.used_bytes));
        let full = fs.rates.as_ref().and_then(|rates| rates.time_to_full);
        let full = full.map_or_else(String::new, |time| format!(", full in {:.1} h", time.as_secs_f64() / 3600.0));
        let stalled = if fs.stalled.is_some() { ", does not answer" } else { "" };
        let _ = writeln!(
            out,
            "{} ({}, {}) {} B{growth}{full}{stalled}",
            fs.mount_point, fs.device, fs.fs_type, fs.total_bytes
        );
        for part in &fs.parts {
            let age =
                part.age.map_or_else(|| "not yet known".to_owned(), |age| format!("{:.1} s old", age.as_secs_f64()));
            let watch = part.watch.map_or_else(String::new, |watch| match watch.mode {
                WatchMode::Watched => ", watched".to_owned(),
                mode => format!(", {mode:?} with {} of {} watches", watch.watches, watch.directories),
            });
            let incomplete = if part.complete { "" } else { ", not complete" };
            let _ = writeln!(
                out,
                "  {:<20} {:>18} B {:5.1} %  {age}{watch}{incomplete}",
                part.name,
                part.bytes,
                part.fraction * 100.0
            );
        }
    }
    out
}

/// The arguments; `None` for `--help`.
fn parse() -> std::result::Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut args =
        Args { directories: Vec::new(), ttl: Duration::from_secs(60), every: Duration::from_secs(1), count: None };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("directory") => args.directories.push(cli::directory(&mut parser, "directory")?),
            Long("watch") => args.directories.push(cli::directory(&mut parser, "watch")?.watched()),
            Long("ttl") => args.ttl = cli::duration(&mut parser, "ttl")?,
            Long("every") => args.every = cli::every(&mut parser, "1s")?,
            Long("count") => args.count = Some(cli::value(&mut parser, "count")?),
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(args))
}
