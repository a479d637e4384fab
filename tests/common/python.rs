//! Python with the packages that `tests/install` installs.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::require;

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/python/bin/python3");

/// A command that runs it, where it has this module.
pub fn python_with(module: &str) -> Option<Command> {
    let import = format!("import {module}");
    let check = Command::new(PYTHON).args(["-c", &import]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_here = Path::new(PYTHON).exists() && check.is_ok_and(|status| status.success());
    require(is_here, &format!("Python's {module}, by tests/install")).then(|| Command::new(PYTHON))
}
