//! Prints all processes and mounted file systems as lines of JSON on standard output.

#[path = "support/cli.rs"]
mod cli;

use std::process::ExitCode;
use std::time::Duration;

use appmon::stream::Record;
use appmon::{Directory, FileSystems, Processes, Result, Sample, Select, SnapshotStreamExt, SourceExt};
use futures::Stream;
use serde::Serialize;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio_stream::StreamExt;

const HELP: &str = "\
Prints every process and every mounted file system as a line of JSON, at every tick. For jq,
scripts and log shippers.

Usage: stream [--every DURATION] [--count TICKS] [--select EXPRESSION] [--directory NAME=PATH]...

  --every DURATION       time between two ticks, such as 500ms, 1s, 5m  [default: 1s]
  --count TICKS          end after so many ticks  [default: go on until Ctrl-C]
  --select EXPRESSION    which processes, such as 'name=postgres & !user=root' or
                         'with_descendants(unit=nginx) | age<1m', see below  [default: all]
  --directory NAME=PATH  report this directory separately, as a part of its file system; it is
                         scanned once a minute
  --help                 this text

The lines have rates from the second tick on.

The grammar of EXPRESSION:
";

struct Args {
    every: Duration,
    count: Option<usize>,
    select: Select,
    directories: Vec<Directory>,
}

fn main() -> ExitCode {
    cli::main("stream", format!("{HELP}\n{}", Select::GRAMMAR), parse, |args| cli::until_stopped(run(args)))
}

async fn run(args: Args) -> Result<()> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim_end();
    let ticks = args.count.unwrap_or(usize::MAX);
    let processes = Processes::new().select(args.select).every(args.every).rates().take(ticks).samples().host(host);
    let mounted = args.directories.into_iter().fold(FileSystems::mounted(), FileSystems::directory);
    let mounts = mounted.every(args.every).rates().take(ticks).samples().host(host);
    let mut lines = lines(processes).merge(lines(mounts));

    let mut out = BufWriter::with_capacity(64 << 10, tokio::io::stdout());
    loop {
        // Lines that are ready are written together. When none is ready, the tick is complete.
        let line = match futures::future::poll_immediate(lines.try_next()).await {
            Some(line) => line?,
            None => {
                out.flush().await.map_err(appmon::Error::io)?;
                lines.try_next().await?
            }
        };
        let Some(line) = line else { break };
        out.write_all(line.as_bytes()).await.map_err(appmon::Error::io)?;
    }
    out.flush().await.map_err(appmon::Error::io)
}

/// Each record as a line of JSON. The error of a failed tick is printed, and the next tick tries again.
fn lines<T: Sample + Serialize>(records: impl Stream<Item = Result<Record<T>>>) -> impl Stream<Item = Result<String>> {
    records.filter_map(|record| match record {
        Ok(record) => {
            let mut line = cli::plain(&serde_json::to_string(&record).ok()?);
            line.push('\n');
            Some(Ok(line))
        }
        Err(error) if error.is_panic() || error.is_config() => Some(Err(error)),
        Err(error) => {
            eprintln!("stream: {error}");
            None
        }
    })
}

/// The arguments; `None` for `--help`.
fn parse() -> std::result::Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut args = Args { every: Duration::from_secs(1), count: None, select: Select::all(), directories: Vec::new() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("every") => args.every = cli::every(&mut parser, "1s")?,
            Long("count") => args.count = Some(cli::value(&mut parser, "count")?),
            Long("select") => args.select = cli::select(&mut parser)?,
            Long("directory") => args.directories.push(cli::directory(&mut parser, "directory")?),
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(args))
}
