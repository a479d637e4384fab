//! The committed positions of partitions whose messages are not all settled in order.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The position of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// The received and not yet settled messages of each partition.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    partitions: HashMap<(Arc<str>, i32), Partition>,
}

#[derive(Debug, Default)]
struct Partition {
    /// The offset after the last received message.
    next: i64,
    waiting: BTreeSet<i64>,
}

impl Offsets {
    /// Records a received message.
    pub(super) fn came(&mut self, place: &Place) {
        let partition = self.partitions.entry((Arc::clone(&place.topic), place.partition)).or_default();
        if place.offset < partition.next {
            // The topic was created again, or the partition is read again from an earlier offset: the known offsets are out of date.
            *partition = Partition::default();
        }
        partition.next = partition.next.max(place.offset.saturating_add(1));
        partition.waiting.insert(place.offset);
    }

    /// Records a settled message. Returns the offset to continue from, if all messages before it are settled.
    pub(super) fn done(&mut self, place: &Place) -> Option<i64> {
        let partition = self.partitions.get_mut(&(Arc::clone(&place.topic), place.partition))?;
        if !partition.waiting.remove(&place.offset) {
            return None;
        }
        Some(partition.waiting.first().copied().unwrap_or(partition.next))
    }

    /// Forgets a partition that moved to another consumer.
    pub(super) fn forget(&mut self, topic: &str, partition: i32) {
        self.partitions.retain(|(name, number), _| (&**name, *number) != (topic, partition));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32, offset: i64) -> Place {
        Place { topic: "t".into(), partition, offset }
    }

    #[test]
    fn what_waits_holds_back_what_came_after_it() {
        let mut offsets = Offsets::default();
        for offset in [10, 11, 12, 14] {
            offsets.came(&place(0, offset));
        }
        offsets.came(&place(1, 5));
        assert_eq!(offsets.done(&place(0, 11)), Some(10));
        assert_eq!(offsets.done(&place(1, 5)), Some(6));
        assert_eq!(offsets.done(&place(0, 10)), Some(12));
        assert_eq!(offsets.done(&place(0, 14)), Some(12));
        assert_eq!(offsets.done(&place(0, 12)), Some(15), "13 was never there");
        assert_eq!(offsets.done(&place(0, 12)), None, "twice");
    }

    #[test]
    fn a_topic_that_was_made_anew_begins_anew() {
        let mut offsets = Offsets::default();
        for offset in [48, 49, 50] {
            offsets.came(&place(0, offset));
        }
        assert_eq!(offsets.done(&place(0, 48)), Some(49));
        offsets.came(&place(0, 0));
        assert_eq!(offsets.done(&place(0, 49)), None, "of the topic there was");
        assert_eq!(offsets.done(&place(0, 0)), Some(1));
        offsets.came(&place(0, 1));
        assert_eq!(offsets.done(&place(0, 1)), Some(2));
    }

    #[test]
    fn a_partition_that_was_taken_away_begins_anew() {
        let mut offsets = Offsets::default();
        offsets.came(&place(0, 10));
        offsets.forget("t", 0);
        assert_eq!(offsets.done(&place(0, 10)), None);
        offsets.came(&place(0, 3));
        assert_eq!(offsets.done(&place(0, 3)), Some(4));
    }
}
