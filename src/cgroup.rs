//! Control groups: which systemd unit, container and pod a path belongs to.

mod identity;

pub use identity::{Container, Identity, Runtime};
