//! Dead bands: changes of a field that are too small to be sent.

use std::borrow::Cow;

/// A field whose small changes are not sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Band {
    /// The path of the field in the wire form, by its names.
    path: Vec<String>,
    /// The largest difference from the value last sent that is not sent.
    width: f64,
}

impl Band {
    pub(crate) fn new(path: &str, width: f64) -> Self {
        Self { path: path.split('.').map(str::to_owned).collect(), width }
    }

    pub(super) fn is_at(&self, path: &[Cow<'static, str>]) -> bool {
        self.path == path
    }

    /// Whether a value that was sent stands for this one.
    pub(super) fn covers(&self, sent: f64, now: f64) -> bool {
        (now - sent).abs() <= self.width
    }
}
