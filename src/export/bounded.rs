//! A bound on the number of subjects with series of their own, and one subject that sums up all others.

use std::collections::{HashMap, HashSet};

use crate::Sample;
use crate::counters::increase;
use crate::measured::families::{Family, is_additive};
use crate::measured::{Field, FieldKind, Measured};

/// The subjects with series of their own, and the sums of the others.
pub(super) struct Bounded<K> {
    shown: HashSet<K>,
    /// The counters of each other subject when they were last added.
    others: HashMap<K, Vec<f64>>,
    /// The sums of the counters of the others, including those that are gone: they never fall.
    counted: Vec<f64>,
    /// The names of the labels of a subject, kept for the time when no subject is left.
    labels: Vec<String>,
}

/// The sum of all subjects without series of their own.
#[derive(Default)]
pub(super) struct Others {
    /// The names of their labels, each of which is `other`.
    pub(super) labels: Vec<String>,
    /// Their sums, in the order of the fields; `None` for a field without one.
    pub(super) sums: Vec<Option<f64>>,
}

impl<K> Default for Bounded<K> {
    fn default() -> Self {
        Self { shown: HashSet::new(), others: HashMap::new(), counted: Vec::new(), labels: Vec::new() }
    }
}

impl<K: Ord + Clone + std::hash::Hash> Bounded<K> {
    /// Returns the samples with series of their own, at most `most`, and the sums of the others, if there were ever any.
    ///
    /// A subject with a series of its own keeps it until it is gone, and one without never gets one: a total that moved between series
    /// would look like growth.
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
                    self.add(key, sample, &fields, &mut sums);
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

    fn add<T>(&mut self, key: K, sample: &T, fields: &[&Field<T>], sums: &mut [Option<f64>]) {
        let added = self.others.entry(key).or_insert_with(|| vec![0.0; fields.len()]);
        for (((field, added), counted), sum) in fields.iter().zip(added).zip(&mut self.counted).zip(sums) {
            let Some(now) = field.value(sample).map(|number| number.to_f64()) else { continue };
            match field.kind() {
                FieldKind::Counter => {
                    *counted += increase(*added, now);
                    *added = now;
                }
                FieldKind::Gauge if is_additive(field.unit()) => *sum = Some(sum.unwrap_or_default() + now),
                FieldKind::Gauge => {}
            }
        }
    }
}
