//! Reports the disk usage of directory trees as JSON.

use std::io::Write;
use std::process::ExitCode;

use appmon::Cancel;
use appmon::fs::Scan;

const HELP: &str = "\
Reports the disk usage of one or more directory trees as JSON: bytes, files, directories, the
largest files. For scripts that need more than `du` prints.

Usage: usage [--threads N] [--largest N] [--exclude GLOB]... [--memory] [PATH]...

  PATH...         the directory trees, counted together  [default: the working directory]
  --threads N     threads that read directories, at least 1  [default: chosen by the library]
  --largest N     list the N largest files  [default: 0]
  --exclude GLOB  leave out the matching entries and all below them, such as '*.log'; repeatable
  --memory        also print this program's peak resident memory (VmHWM), to standard error
  --help          this text

Example: usage --largest 10 --exclude .git /srv /home

Entries that could not be read are counted in the result. The exit status is 0 when the scan finished, 1
when it failed, and 2 for wrong arguments.";

struct Args {
    scan: Scan,
    memory: bool,
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
            eprintln!("usage: {error}\n\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("usage: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    let usage = args.scan.run(&Cancel::new())?;
    let text = serde_json::to_string_pretty(&usage)?;
    match writeln!(std::io::stdout().lock(), "{}", plain(&text)) {
        // A closed pipe is the reader's choice.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.map_err(|error| format!("standard output: {error}"))?,
    }
    if args.memory {
        let status = std::fs::read_to_string("/proc/self/status").map_err(|error| format!("--memory: {error}"))?;
        let peak = status.lines().find(|line| line.starts_with("VmHWM"));
        eprintln!("{}", peak.unwrap_or_default());
    }
    Ok(())
}

/// The arguments; `None` for `--help`.
fn parse() -> Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut scan: Option<Scan> = None;
    let (mut threads, mut largest, mut globs, mut memory) = (None, 0, Vec::<String>::new(), false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("threads") => threads = Some(number("threads", parser.value()?.string()?)?),
            Long("largest") => largest = number("largest", parser.value()?.string()?)?,
            Long("exclude") => globs.push(parser.value()?.string()?),
            Long("memory") => memory = true,
            Short('h') | Long("help") => return Ok(None),
            Value(path) => {
                scan = Some(match scan {
                    None => Scan::new(path),
                    Some(scan) => scan.and(path),
                });
            }
            other => return Err(other.unexpected()),
        }
    }
    let mut scan = scan.unwrap_or_else(|| Scan::new(".")).largest(largest);
    if let Some(threads) = threads {
        scan = scan.threads(threads);
    }
    for glob in globs {
        scan = scan.exclude(&glob).map_err(|error| format!("--exclude: {error}"))?;
    }
    Ok(Some(Args { scan, memory }))
}

/// The whole number after `--name`.
fn number(name: &str, text: String) -> Result<usize, lexopt::Error> {
    text.parse().map_err(|error| format!("--{name} {text}: {error}").into())
}

/// JSON with characters escaped that could control a terminal: file names can contain them, and JSON itself escapes only the
/// first 32. The JSON value stays the same.
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
