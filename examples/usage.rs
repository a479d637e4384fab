//! What directory trees hold, as JSON: `usage [--threads N] [--largest N] [--exclude GLOB] [--memory] PATH...`
//!
//! With `--memory` it says how much memory it had at its most.

use std::io::Write;

use appmon::Cancel;
use appmon::fs::Scan;
use lexopt::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut scan: Option<Scan> = None;
    let (mut threads, mut largest, mut globs, mut memory) = (None, 0, Vec::<String>::new(), false);
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("threads") => threads = Some(args.value()?.parse()?),
            Long("largest") => largest = args.value()?.parse()?,
            Long("exclude") => globs.push(args.value()?.parse()?),
            Long("memory") => memory = true,
            Value(path) => {
                scan = Some(match scan {
                    None => Scan::new(path),
                    Some(scan) => scan.and(path),
                });
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let mut scan = scan.unwrap_or_else(|| Scan::new(".")).largest(largest);
    if let Some(threads) = threads {
        scan = scan.threads(threads);
    }
    for glob in globs {
        scan = scan.exclude(&glob)?;
    }
    let usage = scan.run(&Cancel::new())?;
    let text = serde_json::to_string_pretty(&usage)?;
    writeln!(std::io::stdout().lock(), "{}", plain(&text))?;
    if memory {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let most = status.lines().find(|line| line.starts_with("VmHWM"));
        writeln!(std::io::stderr().lock(), "{}", most.unwrap_or_default())?;
    }
    Ok(())
}

/// JSON for a terminal too: file names can have what it would act on, and JSON has only the first 32 of those characters
/// escaped. It stays the same JSON.
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
