//! The queue of tasks that the threads of a scan share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::limits::Limits;
use super::task::{Task, Work};

/// One deque per thread. Its owner takes the task that it pushed last, so that a scan goes deep first and few tasks wait; the
/// others take the task that was pushed first, which is the largest.
#[derive(Debug)]
pub(super) struct Queue {
    deques: Box<[Mutex<VecDeque<Task>>]>,
    /// The number of tasks that wait or are being done.
    open: AtomicUsize,
    /// The number of threads that look for a task.
    idle: AtomicUsize,
    /// The number of those that sleep: a copy of the number in `Gate`, which can be read without a lock.
    asleep: AtomicUsize,
    gate: Mutex<Gate>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    asleep: usize,
    /// The number of threads that were woken and have not noticed it yet.
    woken: usize,
}

/// How often a thread tries to get a task before it sleeps.
const SPINS: u32 = 32;

/// How long it sleeps before it tries again; also how soon an idle thread sees a cancellation.
const NAP: Duration = Duration::from_millis(1);

/// The number of tasks that keep all threads busy for a while.
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

    /// Adds a task to the deque of thread `own`.
    pub(super) fn push(&self, own: usize, task: Task) {
        let Some(deque) = self.deques.get(own) else { return };
        self.open.fetch_add(1, Ordering::Relaxed);
        let mut deque = lock(deque);
        deque.push_back(task);
        let enough = is_enough(&deque, false);
        drop(deque);
        // An indivisible task is done fastest by the thread that pushed it.
        if enough && self.asleep.load(Ordering::SeqCst) > 0 {
            self.wake_one();
        }
    }

    /// Whether a thread looks for a task.
    #[inline]
    pub(super) fn has_idle_threads(&self) -> bool {
        self.idle.load(Ordering::Relaxed) > 0
    }

    /// Whether so many tasks wait in the deque of thread `own` that it need not add more for idle threads.
    pub(super) fn is_full(&self, own: usize) -> bool {
        self.deques.get(own).is_none_or(|deque| lock(deque).len() >= FULL)
    }

    /// Returns the next piece of work of thread `own`; `None` when all is done, or the scan was stopped. Call
    /// [`done`](Self::done) after each.
    pub(super) fn next(&self, own: usize, limits: &Limits<'_>) -> Option<Work> {
        if let Some(work) = self.take(own).or_else(|| self.steal(own, false)) {
            return limits.goes_on().then_some(work);
        }
        self.idle.fetch_add(1, Ordering::SeqCst);
        let work = self.wait(own, limits);
        self.idle.fetch_sub(1, Ordering::SeqCst);
        work
    }

    /// Records the end of a task.
    pub(super) fn done(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wake_all();
        }
    }

    /// Wakes all threads, so that they notice that the scan was stopped.
    pub(super) fn wake_all(&self) {
        drop(lock(&self.gate));
        self.bell.notify_all();
    }

    /// Closes the descriptors that are kept open in waiting tasks.
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
            // After that many attempts even a small task is taken.
            if let Some(work) = self.steal(own, attempts > SPINS) {
                return Some(work);
            }
            attempts = attempts.saturating_add(1);
            if attempts < SPINS { std::thread::yield_now() } else { self.sleep() }
        }
    }

    /// Takes the work that was pushed here last.
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

    /// Takes the task that another thread pushed first; if it is the only one, a half of it.
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
        // A task pushed before other threads could see that this one sleeps is found after the nap.
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

/// Whether a deque has more work than its owner is about to do.
fn is_enough(deque: &VecDeque<Task>, whatever: bool) -> bool {
    deque.len() > 1 || deque.front().is_some_and(|task| whatever || task.is_enough())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
