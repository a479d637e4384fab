//! Where a recording goes, and when it goes on in another file.

use std::path::PathBuf;
use std::time::Duration;

use crate::{Error, Result};

/// The settings of a recording.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) path: PathBuf,
    pub(super) max_bytes: u64,
    pub(super) max_age: Duration,
    pub(super) keep: Option<usize>,
    pub(super) lossless: bool,
}

impl Settings {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, max_bytes: 1 << 30, max_age: Duration::from_secs(24 * 60 * 60), keep: None, lossless: false }
    }

    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::config(what).at(&self.path));
        if self.path.file_name().is_none() {
            return wrong("the path of a recording must name a file");
        }
        if self.max_bytes == 0 {
            return wrong("max_bytes of a recording must be more than zero");
        }
        if self.max_age.is_zero() {
            return wrong("max_age of a recording must be longer than zero");
        }
        Ok(())
    }

    /// Whether the lines of a new file are compressed.
    pub(super) fn is_compressed(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "zst")
    }
}
