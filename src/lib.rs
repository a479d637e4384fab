//! appmon
mod cached;
mod counters;
mod error;
mod process;
mod reading;
mod sampler;
mod snapshot;
mod source;
mod stream_ext;
mod text;
mod time;

pub use cached::Cached;
pub use counters::{Counters, Rated, Sample};
pub use error::{Error, Result};
pub use process::ProcessId;
pub use reading::Reading;
pub use sampler::Sampler;
pub use snapshot::{BootId, Notice, Skipped, Snapshot};
pub use source::{Cancel, Source, SourceExt};
pub use stream_ext::{Change, Changes, Event, Rates, Retain, Samples, SnapshotStreamExt};
pub use text::{Text, WirePath};
pub use time::{Monotonic, Timestamp};
