//! Prints all processes and mounted file systems as lines of JSON on standard output.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use appmon::stream::Record;
use appmon::{Directory, FileSystems, Processes, Result, Sample, Select, SnapshotStreamExt, SourceExt};
use futures::Stream;
use serde::Serialize;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::signal::unix::{SignalKind, signal};
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
    let args = match parse() {
        Ok(Some(args)) => args,
        Ok(None) => {
            println(&format!("{HELP}\n{}", Select::GRAMMAR));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("stream: {error}\n\nTry --help.");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("stream: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(until_stopped(run(args)));
    // Not waiting for tokio's writing thread: a reader that stops reading would block it, and the exit.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stream: {error}");
            ExitCode::FAILURE
        }
    }
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
            let mut line = plain(&serde_json::to_string(&record).ok()?);
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

/// JSON with characters escaped that could control a terminal: anybody can put them into the name of a process, and JSON itself
/// escapes only the first 32. The JSON value stays the same.
fn plain(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            _ => text.push(char),
        }
    }
    text
}

/// Runs until the end, until Ctrl-C or SIGTERM, or until the reader closes the pipe. All of these are success.
async fn until_stopped(run: impl Future<Output = Result<()>>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).map_err(appmon::Error::io)?;
    tokio::select! {
        result = run => match result {
            Err(error) if is_closed_pipe(&error) => Ok(()),
            result => result,
        },
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

fn is_closed_pipe(error: &appmon::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

fn println(text: &str) {
    // A closed pipe is the reader's choice.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), format!("{text}\n").as_bytes());
}

/// The arguments; `None` for `--help`.
fn parse() -> std::result::Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut args = Args { every: Duration::from_secs(1), count: None, select: Select::all(), directories: Vec::new() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("every") => {
                let text = parser.value()?.string()?;
                args.every = humantime::parse_duration(&text).map_err(|error| format!("--every {text}: {error}"))?;
                if args.every.is_zero() {
                    return Err("--every 0: it must be longer than zero, such as 1s".into());
                }
            }
            Long("count") => {
                let text = parser.value()?.string()?;
                args.count = Some(text.parse().map_err(|error| format!("--count {text}: {error}"))?);
            }
            Long("select") => {
                let text = parser.value()?.string()?;
                // The error points at the place in the text, over several lines.
                args.select = text.parse().map_err(|error| format!("--select: {error}"))?;
            }
            Long("directory") => {
                let text = parser.value()?;
                let (name, path) = text
                    .to_str()
                    .and_then(|text| text.split_once('='))
                    .filter(|(name, path)| !name.is_empty() && !path.is_empty())
                    .ok_or_else(|| {
                        format!("--directory {}: it must be NAME=PATH, such as logs=/var/log", text.display())
                    })?;
                args.directories.push(Directory::new(name, path));
            }
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(args))
}
