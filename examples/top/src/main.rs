//! A terminal monitor of services, processes and disks: live, or of a recording.

mod analysis;
mod args;
mod collect;
mod draw;
#[cfg(test)]
mod fixture;
mod input;
mod machine;
mod picture;
mod player;
mod rows;
mod state;
mod terminal;
#[cfg(test)]
mod tests;
mod units;

use std::io::Write;
use std::process::ExitCode;

use args::{Args, Parsed};

fn main() -> ExitCode {
    let args = match args::parse(lexopt::Parser::from_env()) {
        Ok(Parsed::Run(args)) => *args,
        Ok(Parsed::Help) => {
            // A closed pipe is no error of help.
            let _ = writeln!(std::io::stdout(), "{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("appmon-top: {error}\n\nTry --help.");
            return ExitCode::from(2);
        }
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("appmon-top: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> appmon::Result<()> {
    if let Some(size) = args.svg {
        let svg = picture::of(&args, size)?;
        std::io::stdout().write_all(svg.as_bytes())?;
        return Ok(());
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(terminal::run(args))
}
