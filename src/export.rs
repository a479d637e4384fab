//! Metrics of the newest snapshot, for Prometheus and for OpenTelemetry's SDK.
//!
//! A stream that is [observed](crate::SnapshotStreamExt::observe) has a handle on its newest snapshot, [`Latest`](crate::stream::Latest).
//! The exporter reads it at each scrape, and names the numbers by the [field table](crate::measured) of the sample. It keeps nothing
//! between two scrapes, so a subject that is gone is absent from the next one.

#[cfg(feature = "prometheus")]
mod bounded;
#[cfg(feature = "opentelemetry")]
mod opentelemetry;
#[cfg(feature = "prometheus")]
mod process_exporter;
#[cfg(feature = "prometheus")]
mod prometheus;

#[cfg(feature = "prometheus")]
pub use self::prometheus::{Naming, Prometheus};
