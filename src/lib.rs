//! appmon
mod error;
mod process;
mod reading;
mod text;
mod time;

pub use error::{Error, Result};
pub use process::ProcessId;
pub use reading::Reading;
pub use text::{Text, WirePath};
pub use time::{Monotonic, Timestamp};
