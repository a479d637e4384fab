//! State that a combinator keeps for each host, and each of its streams, where snapshots of several interleave.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{BootId, Snapshot};

/// The host, and the name of the stream: streams of the same host that have names have states of their own.
type Origin = (Option<Arc<str>>, Option<Arc<str>>);

/// The state of a combinator for each host.
///
/// With snapshots of one host only, as from a source of this machine, it costs a comparison: the state of the last host needs no
/// look-up.
pub(super) struct PerHost<S> {
    current: Slot<S>,
    others: HashMap<Origin, Slot<S>>,
    /// The highest number of snapshots that one host had.
    round: u64,
    /// The round at which hosts were last forgotten.
    swept: u64,
}

struct Slot<S> {
    origin: Origin,
    boot_id: BootId,
    /// The round of its first snapshot, plus one for each later snapshot; `None` before the first.
    rounds: Option<u64>,
    /// The round of its last snapshot.
    last_seen: u64,
    state: S,
}

/// A host is forgotten when another one had this many snapshots since its last one.
const REMEMBERED: u64 = 600;

/// The largest number of hosts; beyond it the one with the oldest last snapshot is forgotten.
const MOST: usize = 16_384;

/// The state of a snapshot's host, and its state before the last boot if the host booted since its last snapshot.
pub(super) struct HostState<'a, S> {
    pub(super) state: &'a mut S,
    pub(super) before_boot: Option<S>,
}

impl<S: Default> PerHost<S> {
    pub(super) fn new() -> Self {
        let current = Slot {
            origin: Origin::default(),
            boot_id: BootId::default(),
            rounds: None,
            last_seen: 0,
            state: S::default(),
        };
        Self { current, others: HashMap::new(), round: 0, swept: 0 }
    }

    /// Returns the number of known hosts, and the state of the last one.
    pub(super) fn known(&self) -> (usize, &S) {
        (self.others.len().saturating_add(1), &self.current.state)
    }

    /// Returns the state of the host of this snapshot; a new state for a new host.
    pub(super) fn of<T>(&mut self, snapshot: &Snapshot<T>) -> HostState<'_, S> {
        let (host, stream) = &self.current.origin;
        if *host != snapshot.host || *stream != snapshot.stream {
            self.change_to(snapshot);
        }
        let slot = &mut self.current;
        let restarted = slot.rounds.is_some() && slot.boot_id != snapshot.boot_id;
        let before_boot = restarted.then(|| std::mem::take(&mut slot.state));
        slot.boot_id = snapshot.boot_id;
        // A new host does not age the others: when many start at once, none is forgotten before its second snapshot.
        let rounds = slot.rounds.map_or(self.round.max(1), |rounds| rounds.saturating_add(1));
        slot.rounds = Some(rounds);
        self.round = self.round.max(rounds);
        slot.last_seen = self.round;
        HostState { state: &mut slot.state, before_boot }
    }

    /// Removes and returns the state of one host, or `None` when there are no more. Used at the end of a stream.
    pub(super) fn take_one(&mut self) -> Option<S> {
        let host = self.others.keys().next().cloned();
        if let Some(slot) = host.and_then(|host| self.others.remove(&host)) {
            return Some(slot.state);
        }
        self.current.rounds.take().map(|_| std::mem::take(&mut self.current.state))
    }

    #[cold]
    fn change_to<T>(&mut self, snapshot: &Snapshot<T>) {
        let origin = (snapshot.host.clone(), snapshot.stream.clone());
        let slot = self.others.remove(&origin).unwrap_or_else(|| Slot {
            origin,
            boot_id: snapshot.boot_id,
            rounds: None,
            last_seen: self.round,
            state: S::default(),
        });
        let parked = std::mem::replace(&mut self.current, slot);
        if parked.rounds.is_some() {
            self.others.insert(parked.origin.clone(), parked);
        }
        self.forget();
    }

    fn forget(&mut self) {
        if self.round.saturating_sub(self.swept) >= REMEMBERED / 10 {
            let round = self.round;
            self.swept = round;
            self.others.retain(|_, slot| round.saturating_sub(slot.last_seen) < REMEMBERED);
        }
        while self.others.len() > MOST {
            let oldest = self.others.values().min_by_key(|slot| slot.last_seen).map(|slot| slot.origin.clone());
            oldest.and_then(|origin| self.others.remove(&origin));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_from(hosts: &mut PerHost<u32>, host: &str, boot: &str) -> (u32, Option<u32>) {
        let host = (!host.is_empty()).then(|| host.into());
        let boot_id = BootId::parse(boot.repeat(32).as_bytes()).unwrap();
        let of = hosts.of(&Snapshot::<()> { host, boot_id, ..Snapshot::default() });
        *of.state += 1;
        (*of.state, of.before_boot)
    }

    #[test]
    fn each_host_has_its_own_state() {
        let mut hosts = PerHost::new();
        assert_eq!(count_from(&mut hosts, "", "0"), (1, None));
        assert_eq!(count_from(&mut hosts, "a", "1"), (1, None));
        assert_eq!(count_from(&mut hosts, "b", "1"), (1, None));
        assert_eq!(count_from(&mut hosts, "a", "1"), (2, None));
        assert_eq!(count_from(&mut hosts, "a", "1"), (3, None));
        assert_eq!(count_from(&mut hosts, "b", "2"), (1, Some(1)), "after a restart");
        assert_eq!(count_from(&mut hosts, "", "0"), (2, None));
        assert_eq!(hosts.known(), (3, &2));
    }

    #[test]
    fn each_stream_of_a_host_has_its_own_state() {
        let mut hosts = PerHost::<u32>::new();
        let mut count = |stream: &str| {
            let snapshot =
                Snapshot::<()> { host: Some("h".into()), stream: Some(stream.into()), ..Snapshot::default() };
            let state = hosts.of(&snapshot).state;
            *state += 1;
            *state
        };
        assert_eq!(["units", "users", "units", "users", "units"].map(&mut count), [1, 1, 2, 2, 3]);
    }

    #[test]
    fn silent_hosts_are_forgotten() {
        let mut hosts = PerHost::new();
        // When many start at once, none is forgotten before its next snapshot.
        for round in 1..=3 {
            for host in 0..2000 {
                assert_eq!(count_from(&mut hosts, &format!("h{host}"), "1"), (round, None), "{host}");
            }
        }
        for round in 4..1300 {
            assert_eq!(count_from(&mut hosts, "h7", "1"), (round, None));
            // A host with rare snapshots is still known.
            if round % 500 == 0 {
                assert_eq!(count_from(&mut hosts, "slow", "1").0, round / 500);
            }
        }
        count_from(&mut hosts, "slow", "1");
        assert_eq!(hosts.known().0, 2, "h7 and slow");
    }

    #[test]
    fn the_number_of_hosts_is_bounded() {
        let mut hosts = PerHost::new();
        for host in 0..MOST + 100 {
            count_from(&mut hosts, &format!("h{host}"), "1");
        }
        assert_eq!(hosts.known().0, MOST + 1);
    }
}
