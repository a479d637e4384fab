//! Control groups: which systemd unit, container and pod a path belongs to.

mod identity;
mod pressure;

pub use identity::{Container, Identity, Runtime};
pub use pressure::{Pressure, PressureLine, PressureRates};
