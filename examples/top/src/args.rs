//! The arguments.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use appmon::stream::Alert;
use appmon::{ProcessSample, Rated, Select, Timestamp};
use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
A terminal monitor of services, processes and disks: live, or of a recording.

  appmon-top [--every 1s] [--select EXPR] [--alert RULE]… [--record FILE] [--record-disks FILE]
  appmon-top --replay FILE [--replay DISKS] [--at TIME] [--speed N] [--svg WxH]

  --every TIME         how often it reads; default 1s
  --select EXPR        which processes are read, such as 'name=postgres | user=web'; default all
  --alert RULE         a rule for processes, such as 'cpu.cores > 0.9 for 30s', which is the default
  --record FILE        records the processes it shows; compressed if FILE ends in .zst
  --record-disks FILE  records the disks
  --replay FILE        shows a recording; a second one adds the disks
  --at TIME            begins there, such as 2026-11-28T03:00:00Z
  --speed N            how fast the recording goes; default 1
  --svg WxH            prints one frame of so many columns and lines as a picture, and ends: at --at, else the last
  -h, --help           this text

Press ? for the keys. Colours are left out if NO_COLOR is set.";

/// What to show.
pub(crate) struct Args {
    pub(crate) every: Duration,
    pub(crate) select: Select,
    pub(crate) rules: Vec<String>,
    pub(crate) record: Option<PathBuf>,
    pub(crate) record_disks: Option<PathBuf>,
    pub(crate) replay: Vec<PathBuf>,
    pub(crate) at: Option<Timestamp>,
    pub(crate) speed: f64,
    pub(crate) svg: Option<(u16, u16)>,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(1),
            select: Select::all(),
            rules: Vec::new(),
            record: None,
            record_disks: None,
            replay: Vec::new(),
            at: None,
            speed: 1.0,
            svg: None,
        }
    }
}

impl Args {
    /// The rules, or the one by default.
    pub(crate) fn rules(&self) -> Vec<String> {
        if self.rules.is_empty() { vec!["cpu.cores > 0.9 for 30s".to_owned()] } else { self.rules.clone() }
    }
}

pub(crate) enum Parsed {
    Run(Box<Args>),
    Help,
}

pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Parsed, lexopt::Error> {
    let mut args = Args::default();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("every") => args.every = every(&parser.value()?.string()?)?,
            Long("select") => {
                let text = parser.value()?.string()?;
                args.select = text.parse().map_err(|error| format!("--select: {error}"))?;
            }
            Long("alert") => {
                let text = parser.value()?.string()?;
                text.parse::<Alert<Rated<ProcessSample>>>().map_err(|error| format!("--alert: {error}"))?;
                args.rules.push(text);
            }
            Long("record") => args.record = Some(parser.value()?.into()),
            Long("record-disks") => args.record_disks = Some(parser.value()?.into()),
            Long("replay") => args.replay.push(parser.value()?.into()),
            Long("at") => args.at = Some(named("at", &parser.value()?.string()?)?),
            Long("speed") => {
                args.speed = named("speed", &parser.value()?.string()?)?;
                if !(args.speed.is_finite() && args.speed > 0.0) {
                    return Err("--speed: it must be above zero".into());
                }
            }
            Long("svg") => args.svg = Some(size(&parser.value()?.string()?)?),
            Short('h') | Long("help") => return Ok(Parsed::Help),
            _ => return Err(arg.unexpected()),
        }
    }
    if args.replay.len() > 2 {
        return Err("--replay: one recording of processes and one of disks at most".into());
    }
    if args.replay.is_empty() && (args.at.is_some() || args.svg.is_some()) {
        return Err("--at and --svg need --replay FILE".into());
    }
    if !args.replay.is_empty() && (args.record.is_some() || args.record_disks.is_some()) {
        return Err("--record: what is replayed is recorded already".into());
    }
    Ok(Parsed::Run(Box::new(args)))
}

fn named<T: FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, lexopt::Error> {
    text.parse().map_err(|error| format!("--{name} {text}: {error}").into())
}

fn every(text: &str) -> Result<Duration, lexopt::Error> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("--every 0: it must be longer than zero, such as 1s".into()),
        Ok(every) => Ok(every),
        Err(error) => Err(format!("--every {text}: {error}").into()),
    }
}

fn size(text: &str) -> Result<(u16, u16), lexopt::Error> {
    let size = text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    size.filter(|(width, height)| (1..=500).contains(width) && (1..=500).contains(height))
        .ok_or_else(|| format!("--svg {text}: it must be columns and lines, such as 100x30").into())
}
