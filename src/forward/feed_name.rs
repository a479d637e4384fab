//! Names of streams.

use crate::{Error, Result};

/// The longest name, in bytes.
const LONGEST: usize = 64;

/// Checks the name of a stream: it is part of headers, subjects and keys.
///
/// # Errors
///
/// [`Error::is_config`], with the name.
pub(crate) fn check(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > LONGEST || !name.bytes().all(allowed) {
        return Err(Error::config(format!(
            "stream name {name:?}: it must have 1 to {LONGEST} letters, digits, '-', '_' or '.', of ASCII"
        )));
    }
    Ok(())
}
