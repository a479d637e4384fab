//! What is still to be done in a scan, for its threads to share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::limits::Limits;
use super::task::{Task, Work};

/// One deque per thread. Its owner takes what it gave last, so that a scan goes deep first and little waits; the others
/// take what was given first, which is the most.
#[derive(Debug)]
pub(super) struct Queue {
    deques: Box<[Mutex<VecDeque<Task>>]>,
    /// Tasks that wait, and those that are being done.
    open: AtomicUsize,
    /// Threads that look for something to do.
    idle: AtomicUsize,
    /// Those of them that sleep: the number in `Gate`, to be seen without a lock.
    asleep: AtomicUsize,
    gate: Mutex<Gate>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    asleep: usize,
    /// Those that were woken and do not know yet.
    woken: usize,
}

/// How often a thread looks around before it sleeps.
const SPINS: u32 = 32;

/// How long it sleeps before it looks again; also how soon a cancellation is seen by one that has nothing to do.
const NAP: Duration = Duration::from_millis(1);

/// So many tasks keep all threads busy for a while.
const FULL: usize = 64;

impl Queue {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            deques: (0..threads.max(1)).map(|_| Mutex::default()).collect(),
            open: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            gate: Mutex::default(),
            bell: Condvar::new(),
        }
    }

    /// One more task, in the deque of thread `own`.
    pub(super) fn push(&self, own: usize, task: Task) {
        let Some(deque) = self.deques.get(own) else { return };
        self.open.fetch_add(1, Ordering::Relaxed);
        let mut deque = lock(deque);
        deque.push_back(task);
        let enough = is_enough(&deque, false);
        drop(deque);
        // What is one piece is soonest done by who gave it.
        if enough && self.asleep.load(Ordering::SeqCst) > 0 {
            self.wake_one();
        }
    }

    /// Whether a thread looks for something to do.
    #[inline]
    pub(super) fn is_hungry(&self) -> bool {
        self.idle.load(Ordering::Relaxed) > 0
    }

    /// Whether so much waits in the deque of thread `own` that it need not give more: who is hungry is only slow to come.
    pub(super) fn is_full(&self, own: usize) -> bool {
        self.deques.get(own).is_none_or(|deque| lock(deque).len() >= FULL)
    }

    /// What thread `own` is to do next; `None` when all is done, or the scan was stopped. Each is followed by
    /// [`done`](Self::done).
    pub(super) fn next(&self, own: usize, limits: &Limits<'_>) -> Option<Work> {
        if let Some(work) = self.take(own).or_else(|| self.steal(own, false)) {
            return limits.goes_on().then_some(work);
        }
        self.idle.fetch_add(1, Ordering::SeqCst);
        let work = self.wait(own, limits);
        self.idle.fetch_sub(1, Ordering::SeqCst);
        work
    }

    /// One task was done.
    pub(super) fn done(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wake_all();
        }
    }

    /// Wakes all, to see that the scan was stopped.
    pub(super) fn wake_all(&self) {
        drop(lock(&self.gate));
        self.bell.notify_all();
    }

    /// Gives up the descriptors that wait for their use.
    pub(super) fn close_kept(&self) {
        for deque in &self.deques {
            for task in lock(deque).iter_mut() {
                if let Task::Directories(batch) = task {
                    batch.dir = None;
                }
            }
        }
    }

    fn wait(&self, own: usize, limits: &Limits<'_>) -> Option<Work> {
        let mut attempts: u32 = 0;
        loop {
            if !limits.goes_on() || self.open.load(Ordering::Acquire) == 0 {
                return None;
            }
            // Whatever there is, when nobody did it for so long.
            if let Some(work) = self.steal(own, attempts > SPINS) {
                return Some(work);
            }
            attempts = attempts.saturating_add(1);
            if attempts < SPINS { std::thread::yield_now() } else { self.sleep() }
        }
    }

    /// What was given here last.
    fn take(&self, own: usize) -> Option<Work> {
        let mut deque = lock(self.deques.get(own)?);
        let task = deque.pop_back()?;
        let (work, rest) = task.split();
        if let Some(rest) = rest {
            self.open.fetch_add(1, Ordering::Relaxed);
            deque.push_back(rest);
        }
        Some(work)
    }

    /// What was given first elsewhere: of one task alone, a half.
    fn steal(&self, own: usize, whatever: bool) -> Option<Work> {
        let after = own.saturating_add(1);
        for victim in (after..self.deques.len()).chain(0..own) {
            let mut deque = lock(self.deques.get(victim)?);
            if !is_enough(&deque, whatever) {
                continue;
            }
            let half = if deque.len() == 1 { deque.front_mut().and_then(Task::halve) } else { None };
            let stolen = match half {
                Some(half) => {
                    self.open.fetch_add(1, Ordering::Relaxed);
                    half
                }
                None => deque.pop_front()?,
            };
            drop(deque);
            let (work, rest) = stolen.split();
            if let Some(rest) = rest {
                self.push(own, rest);
            }
            return Some(work);
        }
        None
    }

    fn sleep(&self) {
        let mut gate = lock(&self.gate);
        gate.asleep = gate.asleep.saturating_add(1);
        self.asleep.store(gate.asleep, Ordering::SeqCst);
        // What is given just now, when nobody could see yet that this one sleeps, is found after the nap.
        if self.open.load(Ordering::SeqCst) > 0 {
            gate = self.bell.wait_timeout(gate, NAP).unwrap_or_else(PoisonError::into_inner).0;
        }
        match gate.woken.checked_sub(1) {
            Some(others) => gate.woken = others,
            None => gate.asleep = gate.asleep.saturating_sub(1),
        }
        self.asleep.store(gate.asleep, Ordering::SeqCst);
    }

    fn wake_one(&self) {
        let mut gate = lock(&self.gate);
        if let Some(asleep) = gate.asleep.checked_sub(1) {
            gate.asleep = asleep;
            gate.woken = gate.woken.saturating_add(1);
            self.asleep.store(asleep, Ordering::SeqCst);
            drop(gate);
            self.bell.notify_one();
        }
    }
}

/// Whether there is more in a deque than its owner is about to do.
fn is_enough(deque: &VecDeque<Task>, whatever: bool) -> bool {
    deque.len() > 1 || deque.front().is_some_and(|task| whatever || task.is_enough())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
