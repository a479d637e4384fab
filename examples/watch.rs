//! Watches a selection of processes, with rates.

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use appmon::{Fields, ProcessSample, Processes, Rated, Select, Snapshot, SnapshotStreamExt, SourceExt};
use futures::TryStreamExt;
use tokio::io::AsyncWriteExt;
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
Shows the selected processes that hold more than 1 MiB, at every tick: CPU in cores, memory, and what they write.

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

fn main() -> ExitCode {
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
    let result = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(appmon::Error::io);
    let result = result.and_then(|runtime| {
        let result = runtime.block_on(until_stopped(watch(args)));
        // A reader that does not read would hold up the thread that writes to it.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("watch: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn watch(args: Args) -> appmon::Result<()> {
    let mut ticks = Processes::new()
        .select(args.select)
        .fields(Fields::DEFAULT | Fields::STATUS)
        .every(args.every)
        .rates()
        .retain(|process| process.memory.rss_bytes > 1 << 20);
    let mut out = tokio::io::stdout();
    for _ in 0..args.count.unwrap_or(u64::MAX) {
        let Some(tick) = ticks.try_next().await? else { break };
        let text = show(&tick);
        match out.write_all(text.as_bytes()).await.and(out.flush().await) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            written => written.map_err(appmon::Error::io)?,
        }
    }
    Ok(())
}

/// Runs until it ends by itself or is told to stop.
async fn until_stopped(run: impl Future<Output = appmon::Result<()>>) -> appmon::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).map_err(appmon::Error::io)?;
    tokio::select! {
        result = run => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

fn show(tick: &Snapshot<Rated<ProcessSample>>) -> String {
    let mut text = format!("#{} took {:?}, {} vanished\n", tick.seq, tick.took, tick.skipped.vanished);
    for process in tick {
        let Some(rates) = &process.rates else { continue }; // first sight
        text.push_str(&format!(
            "{:>7} {:<16} {:6.3} cores {:>12} B, written {:?} B/s, {:?} voluntary switches\n",
            process.id.pid,
            process.info.name,
            rates.cpu.cores,
            process.memory.rss_bytes,
            rates.io.value().map(|io| io.write_bytes),
            process.status.value().and_then(|status| status.voluntary_ctxt_switches),
        ));
    }
    text
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
