//! State that a combinator keeps for each host, where snapshots of several interleave.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{BootId, Snapshot};

/// The state of a combinator for each host.
///
/// What comes from one host alone, as from a source of this machine, costs a comparison: the state of the host that was heard
/// of last is not looked up.
pub(super) struct PerHost<S> {
    current: Slot<S>,
    others: HashMap<Option<Arc<str>>, Slot<S>>,
    /// How often the host was heard of that was heard of most.
    round: u64,
    /// The round at which hosts were last forgotten.
    swept: u64,
}

struct Slot<S> {
    host: Option<Arc<str>>,
    boot_id: BootId,
    /// The round at which it came, and one more for each time it was heard of since; `None` before it was at all.
    rounds: Option<u64>,
    /// The round it was last heard of at.
    heard: u64,
    state: S,
}

/// A host is forgotten when another one was heard of so often since.
const REMEMBERED: u64 = 600;

/// Nor are there more hosts than this; the one that was not heard of for longest goes first.
const MOST: usize = 16_384;

/// The state for a snapshot, and that of the same host before it started anew, if it did since its last snapshot.
pub(super) struct Of<'a, S> {
    pub(super) state: &'a mut S,
    pub(super) before_boot: Option<S>,
}

impl<S: Default> PerHost<S> {
    pub(super) fn new() -> Self {
        let current = Slot { host: None, boot_id: BootId::default(), rounds: None, heard: 0, state: S::default() };
        Self { current, others: HashMap::new(), round: 0, swept: 0 }
    }

    /// How many hosts are known, and the state of the one that was heard of last.
    pub(super) fn known(&self) -> (usize, &S) {
        (self.others.len().saturating_add(1), &self.current.state)
    }

    /// The state for the host of this snapshot; a new one where the host is new.
    pub(super) fn of<T>(&mut self, snapshot: &Snapshot<T>) -> Of<'_, S> {
        if self.current.host != snapshot.host {
            self.change_to(snapshot);
        }
        let slot = &mut self.current;
        let restarted = slot.rounds.is_some() && slot.boot_id != snapshot.boot_id;
        let before_boot = restarted.then(|| std::mem::take(&mut slot.state));
        slot.boot_id = snapshot.boot_id;
        // That a host comes makes the others no older: when many start at once, each waits for all others.
        let rounds = slot.rounds.map_or(self.round.max(1), |rounds| rounds.saturating_add(1));
        slot.rounds = Some(rounds);
        self.round = self.round.max(rounds);
        slot.heard = self.round;
        Of { state: &mut slot.state, before_boot }
    }

    /// Takes the state of one host out, while there is any: in the end each is asked for what is left in it.
    pub(super) fn take_one(&mut self) -> Option<S> {
        let host = self.others.keys().next().cloned();
        if let Some(slot) = host.and_then(|host| self.others.remove(&host)) {
            return Some(slot.state);
        }
        self.current.rounds.take().map(|_| std::mem::take(&mut self.current.state))
    }

    #[cold]
    fn change_to<T>(&mut self, snapshot: &Snapshot<T>) {
        let slot = self.others.remove(&snapshot.host).unwrap_or_else(|| Slot {
            host: snapshot.host.clone(),
            boot_id: snapshot.boot_id,
            rounds: None,
            heard: self.round,
            state: S::default(),
        });
        let parked = std::mem::replace(&mut self.current, slot);
        if parked.rounds.is_some() {
            self.others.insert(parked.host.clone(), parked);
        }
        self.forget();
    }

    fn forget(&mut self) {
        if self.round.saturating_sub(self.swept) >= REMEMBERED / 10 {
            let round = self.round;
            self.swept = round;
            self.others.retain(|_, slot| round.saturating_sub(slot.heard) < REMEMBERED);
        }
        while self.others.len() > MOST {
            let oldest = self.others.values().min_by_key(|slot| slot.heard).map(|slot| slot.host.clone());
            oldest.and_then(|host| self.others.remove(&host));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(hosts: &mut PerHost<u32>, host: &str, boot: &str) -> (u32, Option<u32>) {
        let host = (!host.is_empty()).then(|| host.into());
        let boot_id = BootId::parse(boot.repeat(32).as_bytes()).unwrap();
        let of = hosts.of(&Snapshot::<()> { host, boot_id, ..Snapshot::default() });
        *of.state += 1;
        (*of.state, of.before_boot)
    }

    #[test]
    fn each_has_its_own() {
        let mut hosts = PerHost::new();
        assert_eq!(hear(&mut hosts, "", "0"), (1, None));
        assert_eq!(hear(&mut hosts, "a", "1"), (1, None));
        assert_eq!(hear(&mut hosts, "b", "1"), (1, None));
        assert_eq!(hear(&mut hosts, "a", "1"), (2, None));
        assert_eq!(hear(&mut hosts, "a", "1"), (3, None));
        assert_eq!(hear(&mut hosts, "b", "2"), (1, Some(1)), "after a restart");
        assert_eq!(hear(&mut hosts, "", "0"), (2, None));
        assert_eq!(hosts.known(), (3, &2));
    }

    #[test]
    fn those_that_fell_silent_are_forgotten() {
        let mut hosts = PerHost::new();
        // When many start at once, none is forgotten before its turn comes again.
        for round in 1..=3 {
            for host in 0..2000 {
                assert_eq!(hear(&mut hosts, &format!("h{host}"), "1"), (round, None), "{host}");
            }
        }
        for round in 4..1300 {
            assert_eq!(hear(&mut hosts, "h7", "1"), (round, None));
            // One that speaks rarely is still known.
            if round % 500 == 0 {
                assert_eq!(hear(&mut hosts, "slow", "1").0, round / 500);
            }
        }
        hear(&mut hosts, "slow", "1");
        assert_eq!(hosts.known().0, 2, "h7 and slow");
    }

    #[test]
    fn there_are_never_too_many() {
        let mut hosts = PerHost::new();
        for host in 0..MOST + 100 {
            hear(&mut hosts, &format!("h{host}"), "1");
        }
        assert_eq!(hosts.known().0, MOST + 1);
    }
}
