//! Processes: what proc(5) tells of them, and the source that reads them all.

mod id;

pub use id::ProcessId;
