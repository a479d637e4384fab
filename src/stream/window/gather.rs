//! The open window of one host, and the collection of its values.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sketches_ddsketch::{Config, DDSketch};

use super::sample::{FieldWindow, Quantile, WindowSample};
use crate::counters::increase;
use crate::measured::{Field, FieldKind, Labels, Measured};
use crate::time::duration_nanos;
use crate::{Monotonic, Sample, Snapshot};

/// The settings of a window.
pub(super) struct WindowSettings<T> {
    pub(super) length: Duration,
    pub(super) sliding: bool,
    pub(super) fields: Vec<Field<T>>,
    pub(super) quantiles: Vec<f64>,
}

/// The largest number of values kept exactly; more are kept in a sketch.
const EXACT: usize = 256;

/// The largest relative error of a quantile of a sketch.
const ACCURACY: f64 = 0.01;

/// The number of bins of a sketch: enough for values over 17 orders of magnitude at that accuracy.
const BINS: u32 = 2048;

/// The open window of one host.
pub(super) struct Gathered<T: Sample> {
    /// Its beginning by the wall clock, as a multiple of the length.
    number: Option<u64>,
    /// The last snapshot, without its samples.
    head: Option<Snapshot<T>>,
    subjects: BTreeMap<T::Key, Subject>,
}

/// The values of one subject.
struct Subject {
    labels: Labels,
    from: Monotonic,
    to: Monotonic,
    /// The number of the last tick with the subject.
    seq: u64,
    ticks: VecDeque<Tick>,
    fields: Vec<Series>,
    /// The number of ticks in the window; unused for a sliding window, whose ticks are in `ticks`.
    seen: u64,
    covered: Duration,
}

/// A tick of a sliding window: its time, the covered time before it, and its values.
struct Tick {
    at: Monotonic,
    covered: Duration,
    values: Vec<Option<f64>>,
    increases: Vec<f64>,
}

/// The values of one field.
#[derive(Default)]
struct Series {
    last: Option<f64>,
    increase: f64,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    values: Vec<f64>,
    sketch: Option<Box<DDSketch>>,
}

impl<T: Sample> Default for Gathered<T> {
    fn default() -> Self {
        Self { number: None, head: None, subjects: BTreeMap::new() }
    }
}

impl<T: Sample + Measured> Gathered<T> {
    /// Adds a tick. Returns the window that it completes, if any.
    pub(super) fn add(
        &mut self,
        settings: &WindowSettings<T>,
        snapshot: &Snapshot<T>,
    ) -> Option<Snapshot<WindowSample>> {
        if self.head.as_ref().is_some_and(|last| snapshot.at <= last.at) {
            return None; // It came late, or twice.
        }
        let number = snapshot.time.as_unix_nanos().checked_div(duration_nanos(settings.length));
        let is_next = !settings.sliding && self.number.is_some_and(|open| Some(open) != number);
        let complete = if is_next { self.complete(settings) } else { None };
        self.number = number;
        let before = self.head.replace(snapshot.head());
        let follows = before.filter(|before| before.seq.checked_add(1) == Some(snapshot.seq));
        for sample in &snapshot.samples {
            let subject = self
                .subjects
                .entry(sample.key())
                .or_insert_with(|| Subject::new(sample.labels(), settings, snapshot.at));
            let since = follows.as_ref().filter(|before| subject.seen_at(before)).map(|before| before.at);
            subject.add(settings, sample, snapshot, since);
        }
        if settings.sliding {
            let oldest = snapshot.at.minus(settings.length);
            self.subjects.retain(|_, subject| {
                while subject.ticks.front().is_some_and(|tick| tick.at <= oldest) {
                    subject.ticks.pop_front();
                }
                !subject.ticks.is_empty()
            });
            return self.complete(settings);
        }
        complete
    }

    /// Returns the incomplete window at the end of the stream.
    pub(super) fn end(mut self, settings: &WindowSettings<T>) -> Option<Snapshot<WindowSample>> {
        if settings.sliding { None } else { self.complete(settings) }
    }

    fn complete(&mut self, settings: &WindowSettings<T>) -> Option<Snapshot<WindowSample>> {
        let head = self.head.as_ref()?;
        let windows = self.subjects.values().filter_map(|subject| subject.window(settings)).collect();
        let snapshot = Snapshot { samples: windows, ..head.head() };
        if !settings.sliding {
            // Subjects of the last tick stay, with their last counters.
            let (at, seq) = (head.at, head.seq);
            self.subjects.retain(|_, subject| {
                subject.restart();
                subject.to == at && subject.seq == seq
            });
        }
        Some(snapshot)
    }
}

impl Subject {
    fn new<T>(labels: Labels, settings: &WindowSettings<T>, at: Monotonic) -> Self {
        let fields = settings.fields.iter().map(|_| Series::default()).collect();
        let (seq, ticks, covered) = (0, VecDeque::new(), Duration::ZERO);
        Self { labels, from: at, to: at, seq, ticks, fields, seen: 0, covered }
    }

    fn seen_at<T>(&self, snapshot: &Snapshot<T>) -> bool {
        self.to == snapshot.at && self.seq == snapshot.seq
    }

    /// Adds a tick. `since` is the time of the previous tick, if that is its direct predecessor and has the subject.
    fn add<T>(&mut self, settings: &WindowSettings<T>, sample: &T, snapshot: &Snapshot<T>, since: Option<Monotonic>) {
        let covered = since.and_then(|since| snapshot.at.since(since)).unwrap_or_default();
        let mut tick = Tick { at: snapshot.at, covered, values: Vec::new(), increases: Vec::new() };
        for (field, series) in settings.fields.iter().zip(&mut self.fields) {
            let value = field.value(sample).map(|number| number.to_f64());
            let increase = value.map_or(0.0, |value| series.step(value));
            if settings.sliding {
                tick.values.push(value);
                tick.increases.push(increase);
            } else if let Some(value) = value {
                series.increase += increase;
                if field.kind() == FieldKind::Gauge {
                    series.add(value, !settings.quantiles.is_empty());
                } else {
                    series.count = series.count.saturating_add(1);
                }
            }
        }
        if self.seen == 0 {
            self.from = snapshot.at;
        }
        (self.to, self.seq) = (snapshot.at, snapshot.seq);
        if settings.sliding {
            self.ticks.push_back(tick);
        }
        self.seen = self.seen.saturating_add(1);
        self.covered = self.covered.saturating_add(covered);
    }

    fn restart(&mut self) {
        self.seen = 0;
        self.covered = Duration::ZERO;
        for series in &mut self.fields {
            *series = Series { last: series.last, ..Series::default() };
        }
    }

    fn window<T>(&self, settings: &WindowSettings<T>) -> Option<WindowSample> {
        let (from, ticks, covered) = if settings.sliding {
            let covered = self.ticks.iter().map(|tick| tick.covered).sum();
            (self.ticks.front()?.at, u64::try_from(self.ticks.len()).unwrap_or(u64::MAX), covered)
        } else {
            (self.from, self.seen, self.covered)
        };
        if ticks == 0 {
            return None;
        }
        let fields = settings.fields.iter().zip(&self.fields).enumerate().filter_map(|(at, (field, series))| {
            if settings.sliding {
                return self.slid(at)?.window(field, settings);
            }
            series.window(field, settings)
        });
        Some(WindowSample {
            subject: self.labels.clone(),
            from,
            to: self.to,
            length: settings.length,
            ticks,
            coverage: (covered.as_secs_f64() / settings.length.as_secs_f64()).min(1.0),
            fields: fields.collect(),
        })
    }

    /// Returns the values of one field in a sliding window.
    fn slid(&self, field: usize) -> Option<Series> {
        let mut series = Series::default();
        for tick in &self.ticks {
            series.increase += tick.increases.get(field)?;
            if let Some(value) = tick.values.get(field)? {
                series.last = Some(*value);
                series.add(*value, false);
                series.values.push(*value);
            }
        }
        Some(series)
    }
}

impl Series {
    /// Returns the growth of a counter since its last value. If it went backwards, it restarted from 0, and the growth is its value.
    fn step(&mut self, value: f64) -> f64 {
        let grown = self.last.map_or(0.0, |last| increase(last, value));
        self.last = Some(value);
        grown
    }

    fn add(&mut self, value: f64, keep: bool) {
        (self.min, self.max) =
            if self.count == 0 { (value, value) } else { (self.min.min(value), self.max.max(value)) };
        self.count = self.count.saturating_add(1);
        self.sum += value;
        if !keep {
            return;
        }
        if let Some(sketch) = &mut self.sketch {
            sketch.add(value);
        } else if self.values.len() < EXACT {
            self.values.push(value);
        } else {
            let mut sketch = DDSketch::new(Config::new(ACCURACY, BINS, 1.0e-9));
            self.values.drain(..).for_each(|value| sketch.add(value));
            sketch.add(value);
            self.sketch = Some(Box::new(sketch));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean is derived: 53 bits are more than it needs")]
    fn window<T>(&self, field: &Field<T>, settings: &WindowSettings<T>) -> Option<FieldWindow> {
        if self.count == 0 {
            return None;
        }
        let path = field.path().to_owned();
        let last = self.last?;
        Some(match field.kind() {
            FieldKind::Counter => FieldWindow { path, increase: Some(self.increase), last, ..FieldWindow::default() },
            FieldKind::Gauge => {
                let quantiles = self.quantiles(&settings.quantiles);
                let (min, max, mean) = (Some(self.min), Some(self.max), Some(self.sum / self.count as f64));
                FieldWindow { path, increase: None, min, max, mean, last, quantiles }
            }
        })
    }

    fn quantiles(&self, quantiles: &[f64]) -> Vec<Quantile> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let value = |quantile: f64| match &self.sketch {
            // The lowest and highest values are known exactly, unlike in the sketch.
            Some(_) if quantile <= 0.0 => Some(self.min),
            Some(_) if quantile >= 1.0 => Some(self.max),
            Some(sketch) => sketch.quantile(quantile).ok().flatten(),
            None => sorted.get(rank(quantile, sorted.len())).copied(),
        };
        quantiles.iter().filter_map(|&quantile| Some(Quantile { quantile, value: value(quantile)? })).collect()
    }
}

/// Returns the index of the lowest value that this share of all values does not exceed.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "of few values"
)]
fn rank(quantile: f64, count: usize) -> usize {
    ((quantile * count as f64).ceil() as usize).saturating_sub(1)
}
