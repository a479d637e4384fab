//! What is read in turn, though no event said so: everything once in a while, what has no watch more often, and all of it
//! after events were lost.

use std::time::Duration;

use super::nodes::{Node, NodeId, Queued};
use super::tree::Tree;
use crate::Monotonic;

/// When it is whose turn.
#[derive(Debug)]
pub(super) struct RevisitSchedule {
    pub(super) verify: Duration,
    pub(super) ttl: Duration,
    /// The number of the directory that is verified next.
    next: usize,
    /// Up to when the verification has come.
    upto: Option<Monotonic>,
    /// When the round began that is under way, and the last one that was done.
    round: Monotonic,
    last_round: Monotonic,
    /// When those without a watch are looked at.
    unwatched: Option<Monotonic>,
    /// Each of those was read then, or later.
    unwatched_since: Option<Monotonic>,
    /// When everything is read again since events were lost.
    all: Option<Monotonic>,
    /// When that may be done again.
    rest: Option<Monotonic>,
    /// How long it rests then.
    pause: Duration,
    /// Whether it is done in this refresh.
    all_now: bool,
}

/// How long nothing is read for lost events after that was done, at first.
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

    /// Whether it may be tried now to get an inotify instance.
    pub(super) fn may_try(&self, now: Monotonic) -> bool {
        self.unwatched.is_none_or(|due| now >= due)
    }

    /// Whether not everything was read since events were lost.
    pub(super) fn is_late(&self) -> bool {
        self.all.is_some()
    }

    /// Queues what is to be read in this refresh.
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

    /// Queues as many as make a round in the time for one.
    pub(super) fn verify_some(&mut self, tree: &mut Tree, now: Monotonic) {
        let Some(upto) = self.upto else {
            (self.upto, self.round, self.last_round) = (Some(now), now, now);
            return;
        };
        let slots = tree.nodes.slots();
        let elapsed = now.since(upto).unwrap_or_default();
        // Rounded down; what is left of the time is for the next refresh.
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

    /// A refresh is done, and took so long.
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
            // Looked at some times in each time to live.
            self.unwatched = (tree.refused > 0).then(|| now.plus(self.ttl.div_f64(8.0)));
        }
    }

    /// Since when each directory without a watch was read, where there are such.
    pub(super) fn unwatched_since(&self) -> Option<Monotonic> {
        self.unwatched_since
    }

    /// Since when each directory was read, and how much of the round under way is done.
    pub(super) fn verified(&self, tree: &Tree) -> (Monotonic, f64) {
        let slots = tree.nodes.slots();
        (self.last_round, if slots == 0 { 0.0 } else { (self.next as f64 / slots as f64).min(1.0) })
    }
}

/// `whole` times `share` of `all`; of nothing, the whole.
fn part(whole: u128, share: u128, all: u128) -> u128 {
    whole.saturating_mul(share).checked_div(all).unwrap_or(whole)
}
