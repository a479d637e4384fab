//! Shows a selection of processes as a table at every tick, with rates.

#[path = "support/cli.rs"]
mod cli;

use std::process::ExitCode;
use std::time::Duration;

use appmon::{Fields, ProcessSample, Processes, Rated, Select, Snapshot, SnapshotStreamExt, SourceExt};
use futures::TryStreamExt;
use tokio::io::AsyncWriteExt;

const HELP: &str = "\
Shows which of the selected processes use the machine: a table at every tick, of those that hold
more than 1 MiB of memory. For a look at a terminal; for lines of JSON see the example `stream`.

Usage: watch [--every DURATION] [--count TICKS] [EXPRESSION]

  EXPRESSION        the processes, such as 'with_descendants(name=postgres) | user=www-data';
                    its grammar is below  [default: !kernel_thread]
  --every DURATION  time between two ticks, such as 500ms, 1s, 5m  [default: 1s]
  --count TICKS     number of ticks; the first has no rates, and its table is empty
                    [default: until Ctrl-C]
  --help            this text

Columns: CORES is the CPU time used per second, so 1.000 is one core; RSS is resident memory;
WRITE/s is bytes per second sent to storage; SWITCHES counts voluntary context switches since the
process began. A - marks a value that may not be read: run as root, or as the user of the process.
";

struct Args {
    every: Duration,
    count: Option<u64>,
    select: Select,
}

fn main() -> ExitCode {
    cli::main("watch", format!("{HELP}\n{}", Select::GRAMMAR), parse, |args| cli::until_stopped(watch(args)))
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
        let text = table(&tick);
        out.write_all(text.as_bytes()).await?;
        out.flush().await?;
    }
    Ok(())
}

/// A table of at most 80 columns.
fn table(tick: &Snapshot<Rated<ProcessSample>>) -> String {
    let mut text =
        format!("tick {}, read in {:.1?}, {} ended while being read\n", tick.seq, tick.took, tick.skipped.vanished);
    let (rss, write, switches) = ("RSS", "WRITE/s", "SWITCHES");
    text.push_str(&format!("{:>7} {:<16} {:>8} {rss:>10} {write:>10} {switches:>9}\n", "PID", "NAME", "CORES"));
    for process in tick {
        let Some(rates) = &process.rates else { continue }; // Its first tick: nothing to compare with.
        let name: String = process.info.name.to_string().chars().take(16).collect();
        let rss = bytes(process.memory.rss_bytes as f64);
        let write = rates.io.value().map_or_else(|| "-".to_owned(), |io| bytes(io.write_bytes));
        let switches = process.status.value().and_then(|status| status.voluntary_ctxt_switches);
        let switches = switches.map_or_else(|| "-".to_owned(), |count| scaled(count as f64, 1000.0, &COUNTS));
        let (pid, cores) = (process.id.pid, rates.cpu.cores);
        text.push_str(&format!("{pid:>7} {name:<16} {cores:>8.3} {rss:>10} {write:>10} {switches:>9}\n"));
    }
    text.push('\n');
    text
}

const BYTES: [&str; 7] = [" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"];
const COUNTS: [&str; 7] = ["", " k", " M", " G", " T", " P", " E"];

fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &BYTES)
}

/// The value in the largest unit that leaves at least 1 of it; each unit is `step` times the one before.
fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut units = units.iter().peekable();
    let mut unit = "";
    let mut decimals = 0;
    while let Some(next) = units.next() {
        unit = next;
        // One that is rounded up to a whole step belongs to the next unit.
        if value < step - 0.5 || units.peek().is_none() {
            break;
        }
        value /= step;
        decimals = 1;
    }
    format!("{value:.decimals$}{unit}")
}

/// The arguments; `None` for `--help`.
fn parse() -> Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut args = Args { every: Duration::from_secs(1), count: None, select: !Select::kernel_threads() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("every") => args.every = cli::every(&mut parser, "1s")?,
            Long("count") => args.count = Some(cli::value(&mut parser, "count")?),
            Value(text) => {
                // The error points at the place in the text, over several lines.
                args.select = text.string()?.parse().map_err(|error| format!("EXPRESSION: {error}"))?;
            }
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(args))
}
