//! Lives of processes: starts, changes and ends, as a source.
//!
//! [`ProcessEvents`] is where to begin.

mod connector;
mod event;
mod lives;
mod log;
mod method;
mod netlink;
mod selection;
pub(crate) mod source;

pub use crate::process::ExitStatus;
pub use event::{ProcessEvent, ProcessEventKind, UsagePrecision};
pub use method::{ConnectorObstacle, EventMethod};
pub use source::ProcessEvents;
