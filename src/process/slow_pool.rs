//! The slow pool: readings that can block on another process's lock or on a name service, done beside the tick.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Cancel;
use crate::time::Deadline;

/// Threads that work off jobs, started when first needed. A tick waits for their answers as long as its budget lasts.
///
/// A job that blocks keeps one thread; when all are kept, another is started, up to `most`. They are not joined at the end: a thread that
/// is blocked ends when the kernel releases it, and holds nothing of a runtime until then.
#[derive(Debug)]
pub(crate) struct SlowPool<J, A> {
    queue: Arc<Queue<J>>,
    /// Never locked: the mutex only makes it `Sync`, and so the source and its streams.
    answers: Mutex<Receiver<(u64, A)>>,
    answer: Sender<(u64, A)>,
    work: fn(J) -> A,
    most: usize,
    threads: usize,
    /// Jobs queued and not answered yet.
    open: usize,
    /// Jobs started in the present round and answered.
    answered: usize,
}

/// How often `Cancel` is polled while a tick waits.
const POLL: Duration = Duration::from_millis(1);

/// After how many of these without an answer those who are at work count as held up, while others wait.
const HELD_UP: u32 = 10;

/// How many threads run where none is held up.
const USUAL: usize = 2;

#[derive(Debug)]
struct Queue<J> {
    state: Mutex<State<J>>,
    ready: Condvar,
}

#[derive(Debug)]
struct State<J> {
    jobs: VecDeque<J>,
    /// Ends whenever a wait for the answers was in vain: later ticks do not wait again for a job that is held up then.
    round: u64,
    /// Jobs started in this round.
    started: usize,
    closed: bool,
}

impl<J: Send + 'static, A: Send + 'static> SlowPool<J, A> {
    pub(crate) fn new(most: usize, work: fn(J) -> A) -> Self {
        let (answer, answers) = channel();
        let state = State { jobs: VecDeque::new(), round: 0, started: 0, closed: false };
        Self {
            queue: Arc::new(Queue { state: Mutex::new(state), ready: Condvar::new() }),
            answers: Mutex::new(answers),
            answer,
            work,
            most: most.max(1),
            threads: 0,
            open: 0,
            answered: 0,
        }
    }

    /// Queues jobs, which run in this order.
    pub(crate) fn give(&mut self, jobs: impl IntoIterator<Item = J>) {
        let mut state = self.queue.lock();
        let before = state.jobs.len();
        state.jobs.extend(jobs);
        let waiting = state.jobs.len();
        drop(state);
        self.open = self.open.saturating_add(waiting.saturating_sub(before));
        self.queue.ready.notify_all();
        for _ in self.threads..waiting.min(USUAL) {
            self.spawn();
        }
    }

    /// Drops the jobs that are no longer needed, unless they were started.
    pub(crate) fn forget(&mut self, unneeded: impl Fn(&J) -> bool) {
        let mut state = self.queue.lock();
        let before = state.jobs.len();
        state.jobs.retain(|job| !unneeded(job));
        self.open = self.open.saturating_sub(before.saturating_sub(state.jobs.len()));
    }

    /// Takes the answers there are, waiting for the missing ones until `deadline` or until it is cancelled. A job that held
    /// up an earlier call is not waited for again.
    pub(crate) fn take(&mut self, deadline: Deadline, cancel: &Cancel, mut answer: impl FnMut(A)) {
        let mut progress = false;
        let mut in_vain: u32 = 0;
        while self.open > 0 && !cancel.is_cancelled() {
            let left = if self.may_progress() { deadline.left() } else { Duration::ZERO };
            let answers = self.answers.get_mut().unwrap_or_else(PoisonError::into_inner);
            match answers.recv_timeout(left.min(POLL)) {
                Ok((round, found)) => {
                    progress = true;
                    in_vain = 0;
                    self.open = self.open.saturating_sub(1);
                    if round == self.queue.lock().round {
                        self.answered = self.answered.saturating_add(1);
                    }
                    answer(found);
                }
                Err(RecvTimeoutError::Timeout) if left > POLL => {
                    in_vain = in_vain.saturating_add(1);
                    // A deadline can be far away, or never come.
                    if in_vain.checked_rem(HELD_UP) == Some(0) && !self.queue.lock().jobs.is_empty() {
                        self.spawn();
                    }
                }
                // We hold a sender ourselves, so it is never disconnected.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    // All threads are held up and jobs wait: one more gets by. With some progress it is only much to do.
                    if self.next_round() && !progress {
                        self.spawn();
                    }
                    return;
                }
            }
        }
    }

    /// Whether an answer may come soon: a job was started lately, or waits and there is a thread for it, or can be.
    fn may_progress(&self) -> bool {
        let state = self.queue.lock();
        let waiting = state.jobs.len();
        let running = self.open.saturating_sub(waiting);
        state.started > self.answered || (waiting > 0 && running < self.most)
    }

    /// Gives up on the jobs that run now; returns whether others wait.
    fn next_round(&mut self) -> bool {
        let mut state = self.queue.lock();
        state.round = state.round.wrapping_add(1);
        state.started = 0;
        self.answered = 0;
        !state.jobs.is_empty()
    }

    fn spawn(&mut self) {
        if self.threads >= self.most {
            return;
        }
        let (queue, answer, work) = (Arc::clone(&self.queue), self.answer.clone(), self.work);
        let worker = move || {
            while let Some((round, job)) = queue.next() {
                if answer.send((round, work(job))).is_err() {
                    return;
                }
            }
        };
        // Without a thread the jobs wait, and their values are `Skipped`.
        if std::thread::Builder::new().name("appmon-slow".to_owned()).spawn(worker).is_ok() {
            self.threads = self.threads.saturating_add(1);
        }
    }
}

impl<J, A> Drop for SlowPool<J, A> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.queue.ready.notify_all();
    }
}

impl<J> Queue<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, and the round in which it is started.
    fn next(&self) -> Option<(u64, J)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.jobs.pop_front() {
                state.started = state.started.saturating_add(1);
                return Some((state.round, job));
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// How much the slow pool may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlowPoolSettings {
    /// How long a tick waits for the pool.
    pub(crate) budget: Duration,
    /// How long a result is good for, while the process runs.
    pub(crate) cadence: Duration,
    /// Threads at most.
    pub(crate) threads: usize,
}

impl Default for SlowPoolSettings {
    fn default() -> Self {
        Self { budget: Duration::from_millis(100), cadence: Duration::from_secs(10), threads: 8 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_blocked_job_holds_up_no_other() {
        let (release, gate) = channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let mut slow_pool = SlowPool::new(8, |job: (u32, Option<Arc<Mutex<Receiver<()>>>>)| {
            if let Some(gate) = &job.1 {
                let _ = gate.lock().unwrap().recv();
            }
            job.0
        });
        slow_pool.give((0..100).map(|n| (n, (n == 3).then(|| Arc::clone(&gate)))));
        let mut answers = Vec::new();
        while answers.len() < 99 {
            slow_pool.take(Deadline::after(Duration::from_millis(10)), &Cancel::new(), |n| answers.push(n));
        }
        assert!(!answers.contains(&3));
        release.send(()).unwrap();
        while answers.len() < 100 {
            slow_pool.take(Deadline::after(Duration::from_secs(1)), &Cancel::new(), |n| answers.push(n));
        }
        assert_eq!(answers.last(), Some(&3));
    }

    #[test]
    fn a_held_up_job_is_waited_for_once() {
        let (release, gate) = channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let (began, begun) = channel::<()>();
        let blocks = || Some((began.clone(), Arc::clone(&gate)));
        type Gate = Option<(Sender<()>, Arc<Mutex<Receiver<()>>>)>;
        let mut slow_pool = SlowPool::new(2, |job: Gate| {
            if let Some((began, gate)) = job {
                began.send(()).unwrap();
                gate.lock().unwrap().recv().unwrap();
            }
        });
        let far = || Deadline::after(Duration::from_secs(1_000_000));
        let at_once = || Deadline::after(Duration::ZERO);
        let never = Cancel::new();
        slow_pool.give([blocks()]);
        begun.recv().unwrap();
        slow_pool.take(at_once(), &never, |()| unreachable!());
        slow_pool.take(far(), &never, |()| unreachable!());
        // Another job is waited for.
        slow_pool.give([None, None]);
        let mut answers = 0;
        slow_pool.take(far(), &never, |()| answers += 1);
        assert_eq!(answers, 2);
        // Nor is anything waited for when all threads are held up.
        slow_pool.give([blocks(), None]);
        begun.recv().unwrap();
        slow_pool.take(at_once(), &never, |()| unreachable!());
        slow_pool.take(far(), &never, |()| unreachable!());
        release.send(()).unwrap();
        release.send(()).unwrap();
        while answers < 5 {
            slow_pool.take(Deadline::after(Duration::from_millis(20)), &never, |()| answers += 1);
        }
    }

    #[test]
    fn without_an_end_it_waits_for_all() {
        let (release, gate) = channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let mut slow_pool = SlowPool::new(8, |job: (u32, Option<Arc<Mutex<Receiver<()>>>>)| {
            if let Some(gate) = &job.1 {
                gate.lock().unwrap().recv().unwrap();
            }
            job.0
        });
        // More are held up than threads run as a rule: other threads do the work, and then the gate opens.
        slow_pool.give((0..100).map(|n| (n, (n < 4).then(|| Arc::clone(&gate)))));
        let mut answers = Vec::new();
        slow_pool.take(Deadline::after(Duration::MAX), &Cancel::new(), |n| {
            answers.push(n);
            if answers.len() == 96 {
                assert!(answers.iter().all(|n| *n >= 4));
                (0..4).for_each(|_| release.send(()).unwrap());
            }
        });
        assert_eq!(answers.len(), 100);
        // This one is never released.
        slow_pool.give([(0, Some(gate))]);
        let cancel = Cancel::new();
        let stop = cancel.clone();
        let stopper = std::thread::spawn(move || stop.cancel());
        slow_pool.take(Deadline::NEVER, &cancel, |_| unreachable!());
        stopper.join().unwrap();
        drop(release);
    }

    #[test]
    fn a_dropped_lane_forgets_its_jobs() {
        struct Job {
            /// Shared by all jobs that are there.
            _here: Arc<()>,
            ran: Arc<Mutex<u32>>,
            blocks: Option<(Sender<()>, Receiver<()>)>,
        }
        let (here, ran) = (Arc::new(()), Arc::new(Mutex::new(0)));
        let job = |blocks| Job { _here: Arc::clone(&here), ran: Arc::clone(&ran), blocks };
        let mut slow_pool = SlowPool::new(1, |job: Job| {
            *job.ran.lock().unwrap() += 1;
            if let Some((began, gate)) = job.blocks {
                began.send(()).unwrap();
                let _ = gate.recv();
                began.send(()).unwrap();
            }
        });
        let ((began, begun), (release, gate)) = (channel(), channel());
        slow_pool.give(std::iter::once(job(Some((began, gate)))).chain((0..1000).map(|_| job(None))));
        begun.recv().unwrap();
        assert_eq!(Arc::strong_count(&here), 1002);
        drop(slow_pool);
        assert_eq!(Arc::strong_count(&here), 2, "only the job that was started is left");
        release.send(()).unwrap();
        begun.recv().unwrap();
        // The worker is the last that holds the jobs' share: when it is gone, nothing more ran.
        while Arc::strong_count(&here) > 1 {
            std::thread::yield_now();
        }
        assert_eq!(*ran.lock().unwrap(), 1);
    }
}
