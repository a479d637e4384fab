//! The names of users and groups, resolved beside the tick and kept.

use std::collections::HashMap;
use std::time::Duration;

use nix::errno::Errno;

use super::slow_pool::SlowPool;
use crate::time::Deadline;
use crate::{Cancel, Monotonic, Reading, Text};

/// A user or group id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Id {
    User(u32),
    Group(u32),
}

/// Names by id. A name service can be a server that does not answer: a tick waits for it no longer than its budget.
#[derive(Debug)]
pub(crate) struct Names {
    slow_pool: SlowPool<Id, (Id, Reading<Text>)>,
    known: HashMap<Id, Name>,
    /// How many may be known before unused ones are forgotten.
    most: usize,
}

#[derive(Debug)]
struct Name {
    name: Reading<Text>,
    pending: bool,
    at: Monotonic,
}

/// How many names are kept without a check of their use. Any user can have more ids in use, with a user namespace.
const MOST: usize = 4096;

/// How long a name is good for.
const TTL: Duration = Duration::from_secs(600);

impl Names {
    pub(crate) fn new() -> Self {
        Self { slow_pool: SlowPool::new(2, |id| (id, resolve(id))), known: HashMap::new(), most: MOST }
    }

    /// Returns the name of an id as far as it is known now, and resolves it where it is unknown or old.
    pub(crate) fn get(&mut self, id: Id, now: Monotonic) -> Reading<Text> {
        let name = self.known.entry(id).or_insert_with(|| Name {
            name: Reading::Skipped,
            pending: false,
            at: Monotonic::default(),
        });
        let fresh = name.name != Reading::Skipped && now.since(name.at).unwrap_or_default() < TTL;
        if !fresh && !name.pending {
            name.pending = true;
            self.slow_pool.give([id]);
        }
        name.name.clone()
    }

    /// Returns whether there are so many that unused ones are to be forgotten.
    pub(crate) fn are_many(&self) -> bool {
        self.known.len() > self.most
    }

    /// Forgets unused names.
    pub(crate) fn retain(&mut self, is_used: impl Fn(Id) -> bool) {
        self.known.retain(|id, name| name.pending || is_used(*id));
        // As many again have to come before the next check, so that it costs no more than they did.
        self.most = self.known.len().saturating_mul(2).max(MOST);
    }

    /// Waits for the names under way until `deadline`; returns whether any came.
    pub(crate) fn wait(&mut self, deadline: Deadline, cancel: &Cancel, now: Monotonic) -> bool {
        let mut any = false;
        let known = &mut self.known;
        self.slow_pool.take(deadline, cancel, |(id, name)| {
            any = true;
            known.insert(id, Name { name, pending: false, at: now });
        });
        any
    }
}

/// Asks the name service. `NotApplicable` where the id has no name; `Skipped` where the service failed, to be tried again.
///
/// By getpwnam(3) a service may report several errors for an id that it does not know; so it is where there is no
/// `/etc/passwd` at all.
fn resolve(id: Id) -> Reading<Text> {
    let found = match id {
        Id::User(uid) => nix::unistd::User::from_uid(uid.into()).map(|user| user.map(|user| user.name)),
        Id::Group(gid) => nix::unistd::Group::from_gid(gid.into()).map(|group| group.map(|group| group.name)),
    };
    match found {
        Ok(Some(name)) => Reading::Value(Text::from(name)),
        Ok(None) => Reading::NotApplicable,
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Reading::NotApplicable,
        Err(_) => Reading::Skipped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_id_0_is_root() {
        let mut names = Names::new();
        let now = Monotonic::now();
        assert_eq!(names.get(Id::User(0), now), Reading::Skipped);
        names.get(Id::Group(0), now);
        names.get(Id::User(4_000_000_001), now);
        while names.wait(Deadline::after(Duration::from_secs(5)), &Cancel::new(), now) {}
        assert_eq!(names.get(Id::User(0), now), Reading::Value(Text::from("root")));
        assert_eq!(names.get(Id::Group(0), now), Reading::Value(Text::from("root")));
        assert_eq!(names.get(Id::User(4_000_000_001), now), Reading::NotApplicable);
    }

    #[test]
    fn more_ids_than_are_kept_by_default_all_have_names() {
        let mut names = Names::new();
        let now = Monotonic::now();
        let ids = || (0..u32::try_from(MOST + 900).unwrap()).map(|nth| Id::User(4_000_000_000 + nth));
        for id in ids().chain([Id::User(0)]) {
            assert_eq!(names.get(id, now), Reading::Skipped);
        }
        while names.known.values().any(|name| name.pending) {
            names.wait(Deadline::NEVER, &Cancel::new(), now);
        }
        assert!(ids().all(|id| names.get(id, now) == Reading::NotApplicable), "none was forgotten while it is needed");
        assert_eq!(names.get(Id::User(0), now), Reading::Value(Text::from("root")));
        assert!(names.are_many());
        names.retain(|id| id == Id::User(0));
        assert!(!names.are_many());
        assert_eq!(names.known.len(), 1);
    }
}
