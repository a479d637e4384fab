//! Watches a selection of processes, with rates.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use appmon::{Fields, ProcessSample, Processes, Rated, Select, Snapshot, SnapshotStreamExt, SourceExt};
use futures::TryStreamExt;
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
Shows the selected processes at every tick: CPU in cores, memory, and what they write.

Usage: watch [--every DURATION] [--count TICKS] [EXPRESSION]

  EXPRESSION        which processes  [default: !kernel_thread]
  --every DURATION  time between two ticks, such as 500ms, 1s, 5m  [default: 1s]
  --count TICKS     end after so many ticks  [default: go on until Ctrl-C]
  --help            this text

Such an expression is 'with_descendants(name=postgres) | user=www-data'.";

struct Args {
    every: Duration,
    count: Option<u64>,
    select: Select,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = match parse() {
        Ok(Some(args)) => args,
        Ok(None) => {
            // A closed pipe is the reader's choice.
            let _ = writeln!(std::io::stdout(), "{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("watch: {error}\n\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match watch(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("watch: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn watch(args: Args) -> appmon::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).map_err(appmon::Error::io)?;
    let mut ticks = Processes::new()
        .select(args.select)
        .fields(Fields::DEFAULT | Fields::STATUS)
        .every(args.every)
        .rates()
        .retain(|process| process.memory.rss_bytes > 1 << 20);
    for _ in 0..args.count.unwrap_or(u64::MAX) {
        let tick = tokio::select! {
            tick = ticks.try_next() => tick?,
            _ = tokio::signal::ctrl_c() => None,
            _ = terminate.recv() => None,
        };
        let Some(tick) = tick else { break };
        match show(&tick) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            shown => shown.map_err(appmon::Error::io)?,
        }
    }
    Ok(())
}

fn show(tick: &Snapshot<Rated<ProcessSample>>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "#{} took {:?}, {} vanished", tick.seq, tick.took, tick.skipped.vanished)?;
    for process in tick {
        let Some(rates) = &process.rates else { continue }; // first sight
        writeln!(
            out,
            "{:>7} {:<16} {:6.3} cores {:>12} B, written {:?} B/s, {:?} voluntary switches",
            process.id.pid,
            process.info.name,
            rates.cpu.cores,
            process.memory.rss_bytes,
            rates.io.value().map(|io| io.write_bytes),
            process.status.value().and_then(|status| status.voluntary_ctxt_switches),
        )?;
    }
    out.flush()
}

/// The arguments; `None` where only help is wanted.
fn parse() -> Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut args = Args { every: Duration::from_secs(1), count: None, select: !Select::kernel_threads() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("every") => {
                let text = parser.value()?.string()?;
                args.every = humantime::parse_duration(&text).map_err(|error| format!("--every {text}: {error}"))?;
                if args.every.is_zero() {
                    return Err("--every 0: there must be some time between two ticks".into());
                }
            }
            Long("count") => {
                let text = parser.value()?.string()?;
                args.count = Some(text.parse().map_err(|error| format!("--count {text}: {error}"))?);
            }
            Value(text) => args.select = text.string()?.parse().map_err(|error: appmon::Error| error.to_string())?,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(args))
}
