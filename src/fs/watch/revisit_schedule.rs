//! The schedule of readings without an event: all directories once in a while, those without a watch more often, and all
//! of them after events were lost.

use std::time::Duration;

use super::nodes::{Node, NodeId, Queued};
use super::tree::Tree;
use crate::Monotonic;

/// The times of the readings in turn.
#[derive(Debug)]
pub(super) struct RevisitSchedule {
    pub(super) verify: Duration,
    pub(super) ttl: Duration,
    /// The number of the directory that is verified next.
    next: usize,
    /// The time up to which the verification has advanced.
    upto: Option<Monotonic>,
    /// When the current round began, and when the last finished one did.
    round: Monotonic,
    last_round: Monotonic,
    /// When the directories without a watch are checked next.
    unwatched: Option<Monotonic>,
    /// Each directory without a watch was read at this time or later.
    unwatched_since: Option<Monotonic>,
    /// When everything is read again because events were lost.
    all: Option<Monotonic>,
    /// The earliest time at which that may be done again.
    rest: Option<Monotonic>,
    /// The pause after that.
    pause: Duration,
    /// Whether everything is read in this refresh.
    all_now: bool,
}

/// The first pause after everything was read because events were lost.
const PAUSE: Duration = Duration::from_secs(5);

impl RevisitSchedule {
    pub(super) fn new() -> Self {
        Self {
            verify: Duration::from_secs(600),
            ttl: Duration::from_secs(60),
            next: 0,
            upto: None,
            round: Monotonic::default(),
            last_round: Monotonic::default(),
            unwatched: None,
            unwatched_since: None,
            all: None,
            rest: None,
            pause: PAUSE,
            all_now: false,
        }
    }

    /// Whether the next attempt to get an inotify instance is due.
    pub(super) fn may_try(&self, now: Monotonic) -> bool {
        self.unwatched.is_none_or(|due| now >= due)
    }

    /// Whether some directories were not read since events were lost.
    pub(super) fn is_late(&self) -> bool {
        self.all.is_some()
    }

    /// Queues the directories that are due in this refresh.
    pub(super) fn take(&mut self, tree: &mut Tree, now: Monotonic) {
        if std::mem::take(&mut tree.overflowed) {
            self.all.get_or_insert(self.rest.map_or(now, |rest| rest.max(now)));
        }
        self.all_now |= self.all.is_some_and(|all| now >= all);
        if self.all_now {
            let all: Vec<NodeId> = tree.nodes.iter().map(|(id, _)| id).collect();
            for id in all {
                tree.queue(id, Queued::InTurn);
            }
            self.unwatched_since = None;
        } else if tree.refused > 0 && self.unwatched.is_none_or(|due| now >= due) {
            let (mut over, mut since) = (Vec::new(), now);
            for (id, node) in tree.nodes.iter().filter(|(_, node)| node.refused) {
                match node.read_at {
                    Some(at) if now < at.plus(self.ttl) => since = since.min(at),
                    _ => over.push(id),
                }
            }
            self.unwatched_since = Some(since);
            for id in over {
                tree.queue(id, Queued::InTurn);
            }
        }
    }

    /// Queues as many directories as are needed to finish a round within the period.
    pub(super) fn verify_some(&mut self, tree: &mut Tree, now: Monotonic) {
        let Some(upto) = self.upto else {
            (self.upto, self.round, self.last_round) = (Some(now), now, now);
            return;
        };
        let slots = tree.nodes.slots();
        let elapsed = now.since(upto).unwrap_or_default();
        // Rounded down; the rest of the time is left for the next refresh.
        let count = usize::try_from(part(slots as u128, elapsed.as_nanos(), self.verify.as_nanos())).unwrap_or(slots);
        let count = count.min(slots);
        if count == 0 {
            return;
        }
        let used = part(self.verify.as_nanos(), count as u128, slots as u128);
        let used = Duration::from_nanos(u64::try_from(used).unwrap_or(u64::MAX));
        self.upto = Some(if count == slots { now } else { upto.plus(used) });
        let mut left = count;
        while left > 0 {
            let to = self.next.saturating_add(left).min(slots);
            let round = tree.round;
            let is_due = |node: &Node| node.queued == Queued::No && node.round.0 != round;
            let some: Vec<NodeId> =
                tree.nodes.range(self.next, to).filter(|(_, node)| is_due(node)).map(|(id, _)| id).collect();
            for id in some {
                tree.queue(id, Queued::InTurn);
            }
            left = left.saturating_sub(to.saturating_sub(self.next)).min(slots);
            self.next = to;
            if to >= slots {
                (self.next, self.last_round, self.round) = (0, self.round, now);
            }
        }
    }

    /// Records the end of a refresh, and how long it took.
    pub(super) fn end(&mut self, tree: &Tree, now: Monotonic, took: Duration) {
        if std::mem::take(&mut self.all_now) {
            let often = self.rest.is_some_and(|rest| now < rest.plus(self.pause));
            self.pause = if often { self.pause.saturating_mul(2).min(self.verify.max(PAUSE)) } else { PAUSE };
            self.rest = Some(now.plus(self.pause.max(took.saturating_mul(9))));
            self.all = None;
        }
        if tree.refused == 0 {
            self.unwatched_since = None;
        } else {
            self.unwatched_since.get_or_insert(now);
        }
        if self.unwatched.is_none_or(|due| now >= due) {
            // Checked several times in each time to live.
            self.unwatched = (tree.refused > 0).then(|| now.plus(self.ttl.div_f64(8.0)));
        }
    }

    /// Returns the time since which each directory without a watch was read, if there are any.
    pub(super) fn unwatched_since(&self) -> Option<Monotonic> {
        self.unwatched_since
    }

    /// Returns the time since which each directory was read, and the finished part of the current round.
    pub(super) fn verified(&self, tree: &Tree) -> (Monotonic, f64) {
        let slots = tree.nodes.slots();
        (self.last_round, if slots == 0 { 0.0 } else { (self.next as f64 / slots as f64).min(1.0) })
    }
}

/// Returns `whole` times `share` per `all`, or `whole` if `all` is 0.
fn part(whole: u128, share: u128, all: u128) -> u128 {
    whole.saturating_mul(share).checked_div(all).unwrap_or(whole)
}
