//! The newest snapshot for systems that come and ask: Prometheus.
//!
//! A stream that is [observed](crate::SnapshotStreamExt::observe) has a handle on its newest snapshot, [`Latest`](crate::stream::Latest).
//! What reads the handle names the numbers by the [field table](crate::measured) of the sample: nothing is kept between two scrapes, so
//! what is gone is absent from the next one.

mod bounded;
mod families;
mod process_exporter;
mod prometheus;

pub use self::prometheus::{Naming, Prometheus};
