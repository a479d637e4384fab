//! The frame of the programs in this folder: how they begin and end, and the arguments that most of them take.

#![allow(dead_code, reason = "each program uses a part of it")]

use std::fmt::Display;
use std::future::Future;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use appmon::{Directory, Error, Result, Select};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Parses the arguments and runs the program. The exit status is 2 for wrong arguments, and 1 for an error of the program.
pub(crate) fn main<A, E: Display>(
    name: &str,
    help: impl Display,
    parse: impl FnOnce() -> std::result::Result<Option<A>, lexopt::Error>,
    run: impl FnOnce(A) -> std::result::Result<ExitCode, E>,
) -> ExitCode {
    let args = match parse() {
        Ok(Some(args)) => args,
        Ok(None) => {
            println(help);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{name}: {error}\n\nTry --help.");
            return ExitCode::from(2);
        }
    };
    run(args).unwrap_or_else(|error| {
        eprintln!("{name}: {error}");
        ExitCode::FAILURE
    })
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Runs the future to its end.
pub(crate) fn block_on<T>(run: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(run)
}

/// Runs the future until the end, until Ctrl-C or SIGTERM, or until the reader closes the pipe. All of these are success.
pub(crate) fn until_stopped(run: impl Future<Output = Result<()>>) -> Result<ExitCode> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = run => match result {
                Err(error) if is_closed_pipe(&error) => Ok(()),
                result => result,
            },
            _ = tokio::signal::ctrl_c() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    });
    // Not waiting for tokio's writing thread: a reader that stops reading would block it, and the exit.
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS)
}

fn is_closed_pipe(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == ErrorKind::BrokenPipe)
}

/// Prints a line. A closed pipe is the reader's choice, and no error.
pub(crate) fn println(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Returns JSON with characters escaped that could control a terminal: anybody can put them into the name of a process or a file, and
/// JSON itself escapes only the first 32. The JSON value stays the same.
pub(crate) fn plain(json: &str) -> String {
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

/// The value of the flag `--name`, read from its text.
pub(crate) fn value<T>(parser: &mut lexopt::Parser, name: &str) -> std::result::Result<T, lexopt::Error>
where
    T: FromStr<Err: Display>,
{
    let text = string(parser)?;
    text.parse().map_err(|error| format!("--{name} {text}: {error}").into())
}

/// The duration after `--name`, such as `500ms`.
pub(crate) fn duration(parser: &mut lexopt::Parser, name: &str) -> std::result::Result<Duration, lexopt::Error> {
    let text = string(parser)?;
    humantime::parse_duration(&text).map_err(|error| format!("--{name} {text}: {error}").into())
}

/// The period after `--every`; `such_as` is an example for the error.
pub(crate) fn every(parser: &mut lexopt::Parser, such_as: &str) -> std::result::Result<Duration, lexopt::Error> {
    match duration(parser, "every")? {
        Duration::ZERO => Err(format!("--every 0: it must be longer than zero, such as {such_as}").into()),
        every => Ok(every),
    }
}

/// The selection after `--select`. The error points at the place in the text, over several lines.
pub(crate) fn select(parser: &mut lexopt::Parser) -> std::result::Result<Select, lexopt::Error> {
    string(parser)?.parse().map_err(|error| format!("--select: {error}").into())
}

/// The directory after `--name`, as NAME=PATH.
pub(crate) fn directory(parser: &mut lexopt::Parser, name: &str) -> std::result::Result<Directory, lexopt::Error> {
    let text = parser.value()?;
    let parts = text.to_str().and_then(|text| text.split_once('='));
    match parts.filter(|(name, path)| !name.is_empty() && !path.is_empty()) {
        Some((name, path)) => Ok(Directory::new(name, path)),
        None => Err(format!("--{name} {}: it must be NAME=PATH, such as logs=/var/log", text.display()).into()),
    }
}

fn string(parser: &mut lexopt::Parser) -> std::result::Result<String, lexopt::Error> {
    lexopt::ValueExt::string(parser.value()?)
}
