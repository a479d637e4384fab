//! The state of a rule for each subject of one host.

use std::collections::HashMap;
use std::time::Duration;

use super::edge::{AlertEdge, AlertState, ResolvedBecause};
use super::rule::Alert;
use crate::measured::{Labels, Measured};
use crate::{Monotonic, Sample};

/// The subjects for which the rule is pending or active: at most those of the last snapshot.
pub(super) struct Tracked<T: Sample> {
    subjects: HashMap<T::Key, Subject>,
    /// The time of the last snapshot.
    last: Option<Monotonic>,
}

struct Subject {
    labels: Labels,
    stage: Stage,
    /// The last snapshot that had it.
    seen: Monotonic,
}

enum Stage {
    /// The condition holds since this time; `None` while there is no data.
    Pending { since: Option<Monotonic> },
    /// Firing, and the time since which the condition for its end holds.
    Firing { since: Monotonic, clearing: Option<Monotonic> },
    /// Firing, and without data.
    NoData { since: Monotonic },
}

/// The stage after a snapshot.
enum Next {
    Keep(Stage),
    Enter(Stage, AlertState, Monotonic),
    Leave,
}

impl<T: Sample> Default for Tracked<T> {
    fn default() -> Self {
        Self { subjects: HashMap::new(), last: None }
    }
}

impl<T: Sample> Tracked<T> {
    /// Returns the number of subjects for which the rule is pending or active.
    pub(super) fn len(&self) -> usize {
        self.subjects.len()
    }
}

impl<T: Sample + Measured> Tracked<T> {
    /// Updates all subjects. Returns `false`, without a change, if this snapshot is not later than the last one.
    pub(super) fn update(&mut self, rule: &Alert<T>, at: Monotonic, samples: &[T], edges: &mut Vec<AlertEdge>) -> bool {
        if self.last.is_some_and(|last| at <= last) {
            return false;
        }
        self.last = Some(at);
        for sample in samples {
            // Most rules hold for few subjects: no key is made for the others.
            let raises = rule.raises(sample);
            if self.subjects.is_empty() && raises != Some(true) {
                continue;
            }
            let key = sample.key();
            let next = match self.subjects.get_mut(&key) {
                Some(subject) => {
                    subject.seen = at;
                    let stage = std::mem::replace(&mut subject.stage, Stage::Pending { since: None });
                    stage.next(rule, raises, || rule.clears(sample), at)
                }
                None if raises == Some(true) => Stage::begin(rule, at),
                None => continue,
            };
            let edge = |labels: &Labels, state, since, because| AlertEdge {
                rule: rule.name.clone(),
                subject: labels.clone(),
                state,
                since,
                value: rule.value(sample),
                because,
            };
            match next {
                Next::Keep(stage) => {
                    if let Some(subject) = self.subjects.get_mut(&key) {
                        subject.stage = stage;
                    }
                }
                Next::Enter(stage, state, since) => {
                    let subject = self.subjects.entry(key).or_insert_with(|| Subject {
                        labels: sample.labels(),
                        stage: Stage::Pending { since: None },
                        seen: at,
                    });
                    subject.stage = stage;
                    edges.push(edge(&subject.labels, state, since, None));
                }
                Next::Leave => {
                    if let Some(subject) = self.subjects.remove(&key) {
                        edges.push(edge(&subject.labels, AlertState::Resolved, at, Some(ResolvedBecause::Cleared)));
                    }
                }
            }
        }
        self.subjects.retain(|_, subject| {
            let here = subject.seen == at;
            if !here {
                edges.push(resolved(rule, &subject.labels, at, ResolvedBecause::Gone));
            }
            here
        });
        true
    }

    /// Resolves all alerts, after the host booted again.
    pub(super) fn end(self, rule: &Alert<T>, edges: &mut Vec<AlertEdge>) {
        let at = self.last.unwrap_or_default();
        edges.extend(
            self.subjects.values().map(|subject| resolved(rule, &subject.labels, at, ResolvedBecause::Restarted)),
        );
    }
}

fn resolved<T>(rule: &Alert<T>, subject: &Labels, since: Monotonic, because: ResolvedBecause) -> AlertEdge {
    let (rule, subject) = (rule.name.clone(), subject.clone());
    AlertEdge { rule, subject, state: AlertState::Resolved, since, value: None, because: Some(because) }
}

impl Stage {
    fn begin<T>(rule: &Alert<T>, at: Monotonic) -> Next {
        if rule.hold.is_zero() {
            Next::Enter(Self::Firing { since: at, clearing: None }, AlertState::Firing, at)
        } else {
            Next::Enter(Self::Pending { since: Some(at) }, AlertState::Pending, at)
        }
    }

    fn next<T>(
        self,
        rule: &Alert<T>,
        raises: Option<bool>,
        clears: impl FnOnce() -> Option<bool>,
        at: Monotonic,
    ) -> Next {
        let held = |since: Monotonic, hold: Duration| at.since(since).unwrap_or_default() >= hold;
        match self {
            Self::Pending { since } => match raises {
                Some(true) => {
                    let since = since.unwrap_or(at);
                    if held(since, rule.hold) {
                        Next::Enter(Self::Firing { since, clearing: None }, AlertState::Firing, since)
                    } else {
                        Next::Keep(Self::Pending { since: Some(since) })
                    }
                }
                Some(false) => Next::Leave,
                // It is unknown whether the condition held all the time, so the wait begins again.
                None => Next::Keep(Self::Pending { since: None }),
            },
            Self::Firing { since, clearing } => match clears() {
                Some(true) => {
                    let clearing = clearing.unwrap_or(at);
                    if held(clearing, rule.clear_hold) {
                        Next::Leave
                    } else {
                        Next::Keep(Self::Firing { since, clearing: Some(clearing) })
                    }
                }
                Some(false) => Next::Keep(Self::Firing { since, clearing: None }),
                None => Next::Enter(Self::NoData { since }, AlertState::NoData, at),
            },
            Self::NoData { since } => match clears() {
                Some(true) if rule.clear_hold.is_zero() => Next::Leave,
                Some(clears) => {
                    let clearing = clears.then_some(at);
                    Next::Enter(Self::Firing { since, clearing }, AlertState::Firing, since)
                }
                None => Next::Keep(Self::NoData { since }),
            },
        }
    }
}
