//! Metrics of the newest snapshot for monitoring systems that pull: Prometheus.
//!
//! A stream that is [observed](crate::SnapshotStreamExt::observe) has a handle on its newest snapshot, [`Latest`](crate::stream::Latest).
//! The exporter reads it at each scrape, and names the numbers by the [field table](crate::measured) of the sample. It keeps nothing
//! between two scrapes, so a subject that is gone is absent from the next one.

mod bounded;
mod families;
mod process_exporter;
mod prometheus;

pub use self::prometheus::{Naming, Prometheus};
