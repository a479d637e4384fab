//! What the services of this machine use: containers, systemd units, and programs that are in neither.

#[path = "support/cli.rs"]
mod cli;

use std::collections::VecDeque;
use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use appmon::events::{ProcessEvent, ProcessEventKind, ProcessEvents};
use appmon::process::Service;
use appmon::snapshot::Notice;
use appmon::stream::{GroupKey, GroupSample};
use appmon::{Processes, Rated, Result, Select, Snapshot, SnapshotStreamExt, SourceExt, Timestamp};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::io::AsyncWriteExt as _;

const HELP: &str = "\
Shows what each service uses, the busiest first: a container, else a systemd
unit, else a program. CPU is in cores, as of the last period. MEMORY is what is
resident; what processes share counts for each. SEEN and ENDED are how many
processes the service had since the start, and how many of them ended.

Usage: services [--events] [--top N] [--select EXPRESSION] [--every DURATION]
                [--count TABLES]

  --events             also what began and ended, the last few of each period
  --top N              how many services; all others are one line  [default: 10]
  --select EXPRESSION  which processes, such as 'user=www-data & !name=cron'
                       [default: all]
  --every DURATION     time between two tables, such as 500ms, 1s, 5m
                       [default: 1s]
  --count TABLES       end after so many tables  [default: go on until Ctrl-C]
  --help               this text

On a terminal each table takes the place of the one before. The first one comes
after one period; on a terminal there is one without rates before it.";

/// What a line may be long.
const WIDTH: usize = 79;
const NAME_WIDTH: usize = 25;
/// How many events are kept for a table: with these, and the top ten, it fits 24 lines.
const EVENTS: usize = 8;

type Services = Snapshot<Rated<GroupSample<Service>>>;

struct Args {
    events: bool,
    top: usize,
    select: Select,
    every: Duration,
    count: Option<u64>,
}

fn main() -> ExitCode {
    cli::main("services", HELP, parse, |args| cli::until_stopped(run(args)))
}

/// What comes from the two streams.
enum Tick {
    Services(Services),
    Events(Snapshot<ProcessEvent>),
}

async fn run(args: Args) -> Result<()> {
    let services = Processes::new()
        .select(args.select.clone())
        .lives(true)
        .every(args.every)
        .group_by(Service::of)
        .rates()
        .top(args.top, cores)
        .hysteresis(0.0)
        .with_rest()
        .map_ok(Tick::Services);
    let events = match args.events {
        true => ProcessEvents::new().select(args.select).every(args.every).map_ok(Tick::Events).boxed(),
        false => stream::empty().boxed(),
    };
    let mut ticks = stream::select(services, events);
    let mut recent = args.events.then(Recent::default);
    let mut out = Output { stdout: tokio::io::stdout(), is_terminal: std::io::stdout().is_terminal() };
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut is_first = true;
    while left > 0 {
        match ticks.try_next().await? {
            // Nothing has a rate yet: that is better than an empty screen, and no more.
            Some(Tick::Services(_)) if is_first && !out.is_terminal => is_first = false,
            Some(Tick::Services(tick)) => {
                let mut text = table(&tick);
                recent.iter_mut().for_each(|recent| recent.show(&mut text, out.is_terminal));
                out.write(&text).await?;
                left = left.saturating_sub(u64::from(!is_first));
                is_first = false;
            }
            Some(Tick::Events(tick)) => recent.iter_mut().for_each(|recent| recent.add(&tick)),
            None => break,
        }
    }
    Ok(())
}

fn cores(group: &Rated<GroupSample<Service>>) -> f64 {
    group.rates.as_ref().map_or(0.0, |rates| rates.cpu.cores)
}

struct Output {
    stdout: tokio::io::Stdout,
    is_terminal: bool,
}

impl Output {
    /// Writes a table; on a terminal over the one before it.
    async fn write(&mut self, text: &str) -> Result<()> {
        // Home; each line to its end, and all below. Nothing is cleared before it is written anew, so nothing flickers.
        let text = match self.is_terminal {
            true => format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")),
            false => format!("{text}\n"),
        };
        self.stdout.write_all(text.as_bytes()).await.map_err(appmon::Error::io)?;
        self.stdout.flush().await.map_err(appmon::Error::io)
    }
}

fn table(tick: &Services) -> String {
    let mut out = String::new();
    let lives = tick.lives.as_ref().map_or_else(String::new, |lives| {
        let lost = if lives.lost > 0 { format!(" ({} lost)", lives.lost) } else { String::new() };
        format!("; of those seen {} began, {} ended{lost}", lives.births, lives.deaths)
    });
    let alive: u64 = tick.samples.iter().map(|group| group.alive).sum();
    line(&mut out, &format!("{} {alive} processes{lives}", seconds(tick.time)));
    for notice in &tick.notices {
        line(&mut out, &format!("note: {notice}"));
    }
    line(
        &mut out,
        &format!(
            "{:<NAME_WIDTH$} {:>5} {:>6} {:>8} {:>8} {:>8} {:>6} {:>6}",
            "SERVICE", "PROCS", "CPU", "MEMORY", "READ/s", "WRITE/s", "SEEN", "ENDED"
        ),
    );
    for group in tick {
        let rates = group.rates.as_ref();
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let io = rates.and_then(|rates| rates.io.value());
        // Here the rest is the last group.
        let name = match &group.key {
            GroupKey::Key(service) => service.to_string(),
            GroupKey::Other => "all others".to_owned(),
        };
        let row = format!(
            "{} {:>5} {:>6} {:>8} {:>8} {:>8} {:>6} {:>6}",
            padded(&name, NAME_WIDTH),
            count(group.alive),
            or_dash(rates.map(|rates| format!("{:.2}", rates.cpu.cores))),
            size(group.memory.rss_bytes as f64),
            or_dash(io.map(|io| size(io.read_bytes))),
            or_dash(io.map(|io| size(io.write_bytes))),
            count(group.seen),
            count(group.exited),
        );
        line(&mut out, &row);
    }
    out
}

/// The last events, and how many there were.
#[derive(Default)]
struct Recent {
    lines: VecDeque<String>,
    since_table: usize,
    method: Option<String>,
}

impl Recent {
    fn add(&mut self, tick: &Snapshot<ProcessEvent>) {
        let is_method = |notice: &&Notice| matches!(notice, Notice::ProcessEvents { .. });
        self.method = tick.notices.iter().find(is_method).map(ToString::to_string);
        for event in tick {
            let Some(text) = in_words(event) else { continue };
            self.since_table = self.since_table.saturating_add(1);
            self.push(text);
        }
        if tick.skipped.lost > 0 {
            self.push(format!("{} announcements were lost", tick.skipped.lost));
        }
    }

    fn push(&mut self, line: String) {
        if self.lines.len() == EVENTS {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Appends them to a table. Those of earlier tables stay on a terminal, and are not said twice elsewhere.
    fn show(&mut self, text: &mut String, is_terminal: bool) {
        if let Some(method) = &self.method {
            // All that came are counted, the last are shown.
            line(text, &format!("{} {method}", self.since_table));
        }
        for event in &self.lines {
            line(text, event);
        }
        self.since_table = 0;
        if !is_terminal {
            self.lines.clear();
        }
    }
}

/// A beginning or an end; `None` for what else happens to a process.
fn in_words(event: &ProcessEvent) -> Option<String> {
    match event.kind {
        ProcessEventKind::Started { .. } => Some(format!("+ {event}")),
        ProcessEventKind::Exited { .. } => Some(format!("- {event}")),
        _ => None,
    }
}

/// Appends a line, not longer than there is room.
fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", padded(line, WIDTH).trim_end());
}

/// The text in so many columns: cut where it has more, filled up where it has fewer.
fn padded(text: &str, columns: usize) -> String {
    let mut padded = String::with_capacity(columns);
    let mut used = 0;
    let is_short = text.chars().map(columns_of).sum::<usize>() <= columns;
    let room = if is_short { columns } else { columns.saturating_sub(1) };
    for char in text.chars() {
        let next = used + columns_of(char);
        if next > room {
            break;
        }
        padded.push(char);
        used = next;
    }
    if !is_short {
        padded.push('…');
        used += 1;
    }
    padded.extend(std::iter::repeat_n(' ', columns.saturating_sub(used)));
    padded
}

/// How many columns of a terminal a character takes: two from East Asia and of pictures, none where it is a mark on another.
fn columns_of(char: char) -> usize {
    match char {
        '\u{300}'..='\u{36f}' | '\u{fe00}'..='\u{fe0f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// A size in three digits or four, in eight columns at most.
fn size(bytes: f64) -> String {
    let mut number = bytes;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if number < 1023.5 {
            break;
        }
        (number, unit) = (number / 1024.0, larger);
    }
    let decimals = usize::from(unit != "B" && number < 99.95);
    format!("{number:.decimals$} {unit}")
}

/// A count in six columns at most.
fn count(number: u64) -> String {
    match number {
        0..=99_999 => number.to_string(),
        100_000..=9_999_999 => format!("{}k", number / 1_000),
        10_000_000..=9_999_999_999 => format!("{}M", number / 1_000_000),
        _ => format!("{}G", number / 1_000_000_000),
    }
}

/// The time of day in UTC, to the second.
fn seconds(time: Timestamp) -> String {
    let time = time.to_string();
    time.split_once('.').map_or_else(|| time.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// The arguments; `None` where only help is wanted.
fn parse() -> std::result::Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut args = Args { events: false, top: 10, select: Select::all(), every: Duration::from_secs(1), count: None };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("events") => args.events = true,
            Long("top") => args.top = cli::value(&mut parser, "top")?,
            Long("select") => args.select = cli::select(&mut parser)?,
            Long("every") => args.every = cli::every(&mut parser, "1s")?,
            Long("count") => args.count = Some(cli::value(&mut parser, "count")?),
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Some(args))
}
