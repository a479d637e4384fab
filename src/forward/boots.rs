//! When machines started, for OTLP.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Snapshot;
use crate::snapshot::BootId;
use crate::time::Monotonic;

/// The time of the wall clock at which each machine started, in nanoseconds.
///
/// It is computed from the first snapshot and kept, since a start that moved would be another start to a receiver.
#[derive(Debug, Default)]
pub(super) struct Boots(HashMap<(Arc<str>, BootId), i128>);

/// The largest number of machines; beyond it they are computed anew.
const MOST: usize = 65_536;

/// A wall clock that moved by more than this was wrong before.
const SET_BY: i128 = 60_000_000_000;

/// The step to which it is rounded. Both clocks keep the same pace, but are not read at the same instant; so two programs, or one before
/// and after a restart, compute the same.
const STEP: i128 = 10_000_000;

impl Boots {
    pub(super) fn of<T>(&mut self, host: &Arc<str>, snapshot: &Snapshot<T>) -> Option<i128> {
        if snapshot.at == Monotonic::default() {
            return None;
        }
        let booted = i128::from(snapshot.time.as_unix_nanos()).saturating_sub(snapshot.at.as_nanos().into());
        let booted = booted.saturating_add(STEP / 2).div_euclid(STEP).saturating_mul(STEP);
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let kept = self.0.entry((Arc::clone(host), snapshot.boot_id)).or_insert(booted);
        if kept.abs_diff(booted) > SET_BY.unsigned_abs() {
            *kept = booted;
        }
        Some(*kept)
    }
}
