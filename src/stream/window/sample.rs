//! The samples of a window.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::measured::Labels;
use crate::time::nanos;
use crate::{Monotonic, Sample};

/// The numbers of one subject over a span of time: the sample of [`window`](crate::SnapshotStreamExt::window).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WindowSample {
    /// The labels of the subject.
    pub subject: Labels,
    /// The time of the first tick that has the subject, by the monotonic clock of its host. Nanoseconds in the wire form.
    pub from: Monotonic,
    /// The time of the last tick. Nanoseconds in the wire form.
    pub to: Monotonic,
    /// The length of the window. Nanoseconds in the wire form.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub length: Duration,
    /// The number of ticks that have the subject.
    pub ticks: u64,
    /// The share of the window, from 0 to 1, that lies between two consecutive ticks with the subject. It is less than 1 if ticks are
    /// missing, or if the subject began later or ended earlier than the window.
    pub coverage: f64,
    /// The fields with a value.
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
    /// Of a counter: its growth, from the last tick before the window if that has the subject. Missing ticks are bridged.
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
    /// The value at the last tick with a value.
    pub last: f64,
    /// Of a gauge: the requested quantiles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<Quantile>,
}

/// A quantile and its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Quantile {
    /// The quantile: 0.5 is the median.
    pub quantile: f64,
    /// The value that this share of all values does not exceed.
    pub value: f64,
}
