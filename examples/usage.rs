//! Reports the disk usage of directory trees as JSON.

#[path = "support/cli.rs"]
mod cli;

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
    cli::main("usage", HELP, parse, run)
}

fn run(args: Args) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let usage = args.scan.run(&Cancel::new())?;
    let text = serde_json::to_string_pretty(&usage)?;
    match writeln!(std::io::stdout().lock(), "{}", cli::plain(&text)) {
        // A closed pipe is the reader's choice.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.map_err(|error| format!("standard output: {error}"))?,
    }
    if args.memory {
        let status = std::fs::read_to_string("/proc/self/status").map_err(|error| format!("--memory: {error}"))?;
        let peak = status.lines().find(|line| line.starts_with("VmHWM"));
        eprintln!("{}", peak.unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}

/// The arguments; `None` for `--help`.
fn parse() -> Result<Option<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut scan: Option<Scan> = None;
    let (mut threads, mut largest, mut globs, mut memory) = (None, 0, Vec::<String>::new(), false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("threads") => threads = Some(cli::value(&mut parser, "threads")?),
            Long("largest") => largest = cli::value(&mut parser, "largest")?,
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
