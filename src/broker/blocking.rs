//! Blocking work, outside of the runtime's worker threads.

use crate::{Error, Result};

/// Runs `work` on the runtime's pool of blocking threads. Used for reading certificates and credentials.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(lost) if lost.is_panic() => std::panic::resume_unwind(lost.into_panic()),
        Err(_) => Err(Error::broker("the runtime was shut down")),
    }
}
