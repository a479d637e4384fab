//! Whose a snapshot is: a stream of a host.

use std::sync::Arc;

/// Whose a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) host: Arc<str>,
    pub(super) stream: Arc<str>,
}
