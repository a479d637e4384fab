//! A bound on the subjects that have series of their own, and one for all others, whose sums hold.

use std::collections::{HashMap, HashSet};

use super::families::Family;
use crate::Sample;
use crate::measured::{Field, FieldKind, Measured, Unit};

/// Who has series of its own, and the books of the others.
pub(super) struct Bounded<K> {
    shown: HashSet<K>,
    /// The counters of each other subject as they were last booked.
    others: HashMap<K, Vec<f64>>,
    /// What the others counted, those that are gone included: it never falls.
    counted: Vec<f64>,
    /// The names of the labels of a subject, for when none is left.
    labels: Vec<String>,
}

/// All that have no series of their own.
#[derive(Default)]
pub(super) struct Others {
    /// The names of their labels, each of which is `other`.
    pub(super) labels: Vec<String>,
    /// Their sums, in the order of the fields; `None` where there is none.
    pub(super) sums: Vec<Option<f64>>,
}

impl<K> Default for Bounded<K> {
    fn default() -> Self {
        Self { shown: HashSet::new(), others: HashMap::new(), counted: Vec::new(), labels: Vec::new() }
    }
}

impl<K: Ord + Clone + std::hash::Hash> Bounded<K> {
    /// Those that have series of their own, at most `most`; and the sums of the others, if there were ever any.
    ///
    /// A subject keeps its place until it is gone, and one that has none gets none: a total never moves between series, where it would
    /// look like growth.
    pub(super) fn split<'a, T: Sample<Key = K> + Measured>(
        &mut self,
        samples: &'a [T],
        families: &[&Family<T>],
        most: usize,
    ) -> (Vec<&'a T>, Option<Others>) {
        let here: HashSet<K> = samples.iter().map(Sample::key).collect();
        self.shown.retain(|key| here.contains(key));
        self.others.retain(|key, _| here.contains(key));
        let fields: Vec<&Field<T>> = families.iter().flat_map(|family| &family.fields).collect();
        self.counted.resize(fields.len(), 0.0);
        let mut own = Vec::with_capacity(samples.len().min(most));
        let mut sums = vec![None; fields.len()];
        if let Some(sample) = samples.first() {
            self.labels = sample.labels().iter().map(|(name, _)| name.to_owned()).collect();
        }
        for sample in samples {
            let key = sample.key();
            if !self.shown.contains(&key) {
                let is_new = !self.others.contains_key(&key);
                if is_new && self.shown.len() < most {
                    self.shown.insert(key);
                } else {
                    self.book(key, sample, &fields, &mut sums);
                    continue;
                }
            }
            own.push(sample);
        }
        for ((sum, counted), field) in sums.iter_mut().zip(&self.counted).zip(&fields) {
            if field.kind() == FieldKind::Counter {
                *sum = Some(*counted);
            }
        }
        let any = !self.others.is_empty() || self.counted.iter().any(|counted| *counted > 0.0);
        (own, any.then(|| Others { labels: self.labels.clone(), sums }))
    }

    fn book<T>(&mut self, key: K, sample: &T, fields: &[&Field<T>], sums: &mut [Option<f64>]) {
        let booked = self.others.entry(key).or_insert_with(|| vec![0.0; fields.len()]);
        for (((field, booked), counted), sum) in fields.iter().zip(booked).zip(&mut self.counted).zip(sums) {
            let Some(now) = field.value(sample).map(|number| number.to_f64()) else { continue };
            match field.kind() {
                FieldKind::Counter => {
                    // A counter that went backwards began anew.
                    *counted += if now >= *booked { now - *booked } else { now };
                    *booked = now;
                }
                FieldKind::Gauge if has_sum(field.unit()) => *sum = Some(sum.unwrap_or_default() + now),
                FieldKind::Gauge => {}
            }
        }
    }
}

/// Whether the sum of several subjects means something: of shares it does not.
fn has_sum(unit: Unit) -> bool {
    !matches!(unit, Unit::Fraction | Unit::Nanoseconds | Unit::Count("" | "{nice}" | "{point}"))
}
