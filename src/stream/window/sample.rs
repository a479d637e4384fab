//! What a window holds of a subject.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::measured::Labels;
use crate::time::nanos;
use crate::{Monotonic, Sample};

/// The numbers of one subject over a span of time: what [`window`](crate::SnapshotStreamExt::window) makes of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WindowSample {
    /// What it is about.
    pub subject: Labels,
    /// The time of the first tick that it was seen at, by the monotonic clock of its host. Nanoseconds in the wire form.
    pub from: Monotonic,
    /// The time of the last tick. Nanoseconds in the wire form.
    pub to: Monotonic,
    /// How long the window is. Nanoseconds in the wire form.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub length: Duration,
    /// At how many ticks it was seen.
    pub ticks: u64,
    /// Which share of the window lies between two ticks that follow each other and both have it, from 0 to 1. Less than 1 is
    /// missing ticks, or a subject that came later or went earlier.
    pub coverage: f64,
    /// The fields that had a value.
    pub fields: Vec<FieldWindow>,
}

impl Sample for WindowSample {
    const KIND: &'static str = "window";
    const IS_EVENT: bool = true;
    type Key = Labels;

    fn key(&self) -> Labels {
        self.subject.clone()
    }
}

/// One field of one subject over a span of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FieldWindow {
    /// The path of the field.
    pub path: String,
    /// Of a counter: how much it grew, from the last tick before the window where that had the subject. Missing ticks are bridged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub increase: Option<f64>,
    /// Of a gauge: the lowest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Of a gauge: the highest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Of a gauge: the mean of the values at the ticks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// The value at the last tick that had one.
    pub last: f64,
    /// Of a gauge: the quantiles that were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<Quantile>,
}

/// A quantile and its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Quantile {
    /// Which: 0.5 is the median.
    pub quantile: f64,
    /// A value that this share of all values does not exceed.
    pub value: f64,
}
