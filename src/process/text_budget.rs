//! A bound on the memory of all command lines and environments.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Environ;
use crate::Text;

/// The total size of the command lines and environments of all processes.
///
/// One process can have 16 MiB of them that take no memory of its own, and any user can have thousands of processes. So the total is
/// bounded: a text is kept where there is room left, and in any case where it is no larger than the share of one process, which no other
/// process can use up. All together they take no more than twice the limit. A text that is read again counts once, though both exist
/// until the new one is in its place.
#[derive(Debug)]
pub(crate) struct TextBudget {
    limit: u64,
    taken: AtomicU64,
    /// The bytes that each process may have in any case.
    share: AtomicU64,
}

/// A part of the budget, returned when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<TextBudget>,
    bytes: u64,
}

/// The bytes that each piece of a text takes in addition to its text: the place in a list, the reference counts, the allocator's overhead.
const PIECE: u64 = 48;

impl TextBudget {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, taken: AtomicU64::new(0), share: AtomicU64::new(0) })
    }

    /// From now on there are so many processes.
    pub(crate) fn share_among(&self, processes: usize) {
        let processes = u64::try_from(processes).unwrap_or(u64::MAX).max(1);
        self.share.store(self.limit.checked_div(processes).unwrap_or(0), Ordering::Relaxed);
    }

    /// The largest text that may be kept now, in the place of that of `held`.
    pub(crate) fn most(&self, held: Option<&Held>) -> u64 {
        let before = held.map_or(0, |held| held.bytes);
        let others = self.taken.load(Ordering::Relaxed).saturating_sub(before);
        self.limit.saturating_sub(others).max(self.share.load(Ordering::Relaxed))
    }

    /// Takes the bytes of a text, where it may be kept, in place of those of the text before it.
    pub(crate) fn take(self: &Arc<Self>, bytes: u64, before: Option<Held>) -> Option<Held> {
        let share = self.share.load(Ordering::Relaxed);
        let given_back = before.as_ref().map_or(0, |before| before.bytes);
        let room = |taken: u64| {
            let after = taken.saturating_sub(given_back).checked_add(bytes)?;
            (after <= self.limit || bytes <= share).then_some(after)
        };
        // In one step, so that a job at the same time takes nothing of it.
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        let mut held = before.unwrap_or_else(|| Held { budget: Arc::clone(self), bytes: 0 });
        held.bytes = bytes;
        Some(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The bytes that arguments take, about.
pub(crate) fn bytes_of_arguments(arguments: &[Text]) -> u64 {
    arguments.iter().map(bytes_of).fold(0, u64::saturating_add)
}

/// The bytes that an environment takes, about.
pub(crate) fn bytes_of_environ(environ: &Environ) -> u64 {
    let both = environ.iter().map(|(name, value)| bytes_of(name).saturating_add(value.map_or(0, bytes_of)));
    both.fold(0, u64::saturating_add)
}

fn bytes_of(text: &Text) -> u64 {
    u64::try_from(text.as_bytes().len()).unwrap_or(u64::MAX).saturating_add(PIECE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_process_takes_the_share_of_others(
            limit in 0..1000_u64,
            texts in proptest::collection::vec((0..20_usize, 0..1500_u64), 0..60),
        ) {
            let budget = TextBudget::new(limit);
            budget.share_among(20);
            let share = limit / 20;
            let mut processes: [Option<Held>; 20] = Default::default();
            for (process, bytes) in texts {
                let before = processes[process].take();
                let most = budget.most(before.as_ref());
                processes[process] = budget.take(bytes, before);
                let taken = processes.iter().flatten().map(|held| held.bytes).sum::<u64>();
                prop_assert_eq!(budget.taken.load(Ordering::Relaxed), taken);
                prop_assert!(taken <= 2 * limit);
                prop_assert_eq!(processes[process].is_some(), bytes <= most);
                prop_assert!(bytes > share || processes[process].is_some());
            }
            drop(processes);
            prop_assert_eq!((budget.taken.load(Ordering::Relaxed), budget.most(None)), (0, limit));
        }
    }
}
