//! The newest snapshot for systems that scrape it: Prometheus.
//!
//! A stream that is [observed](crate::SnapshotStreamExt::observe) has a handle on its newest snapshot, [`Latest`](crate::stream::Latest).
//! Readers of the handle name the numbers by the [field table](crate::measured) of the sample: nothing is kept between two scrapes, so a
//! subject that is gone is absent from the next one.

mod bounded;
mod families;
mod prometheus;

pub use self::prometheus::{Naming, Prometheus};
