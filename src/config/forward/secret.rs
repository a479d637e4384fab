//! Secrets, which settings only name: files and environment variables.

use std::path::Path;

use crate::config::keys::wrong;
use crate::{Error, Result};

/// Reads a secret from the file or the environment variable that is named; `None` if none is. The keys are `{name}_file` and `{name}_env`.
///
/// # Errors
///
/// When both are named, or the secret is missing or empty. The error does not quote it.
pub(super) fn read(name: &str, file: Option<&Path>, variable: Option<&str>) -> Result<Option<String>> {
    let (key, secret) = match (file, variable) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Error::config(format!("either {name}_file or {name}_env, not both")));
        }
        (Some(path), None) => {
            let text = std::fs::read_to_string(path).map_err(|error| Error::io(error).at(path))?;
            (format!("{name}_file"), text.trim_end().to_owned())
        }
        (None, Some(variable)) => {
            let key = format!("{name}_env");
            let secret = std::env::var(variable).map_err(|error| {
                let why = match error {
                    std::env::VarError::NotPresent => "is not set",
                    std::env::VarError::NotUnicode(_) => "is not UTF-8",
                };
                wrong(&key, format!("the environment variable `{variable}` {why}"))
            })?;
            (key, secret)
        }
    };
    if secret.is_empty() {
        return Err(wrong(&key, "the secret there is empty"));
    }
    Ok(Some(secret))
}
