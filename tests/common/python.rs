//! Python with the packages that `tests/install` installs.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::skipped::report;

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/python/bin/python3");

/// A command that runs it, where it has this module. Where not, that is reported and no failure: the modules are no packages of Debian,
/// and their registry may be out of reach.
pub fn python_with(module: &str) -> Option<Command> {
    let import = format!("import {module}");
    let check = Command::new(PYTHON).args(["-c", &import]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_here = Path::new(PYTHON).exists() && check.is_ok_and(|status| status.success());
    if !is_here {
        report(&format!("Python's {module}, by tests/install"));
    }
    is_here.then(|| Command::new(PYTHON))
}
