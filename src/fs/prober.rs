//! Probers of mounts that may hang: each mount is asked by a thread of its own, and not again before it has answered.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::StatVfs;
use rustix::io::Errno;

use super::table;
use crate::time::Deadline;
use crate::{Cancel, Monotonic, Result};

/// How often `Cancel` is polled while a tick waits.
const POLL: Duration = Duration::from_millis(1);

/// The answer of a mount.
pub(super) struct ProbeResult {
    /// The time of the answer.
    pub(super) at: Monotonic,
    pub(super) figures: std::result::Result<StatVfs, Errno>,
    /// The id of the mount, which is never used again.
    pub(super) unique_id: Option<u64>,
}

impl std::fmt::Debug for ProbeResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProbeResult").field("at", &self.at).field("error", &self.error()).finish_non_exhaustive()
    }
}

impl ProbeResult {
    pub(super) fn error(&self) -> Option<Errno> {
        self.figures.as_ref().err().copied()
    }
}

/// All probers, with the channel of their answers.
#[derive(Debug)]
pub(super) struct Probers {
    sender: Sender<(u64, ProbeResult)>,
    /// In a mutex that is never locked, only to make this `Sync`.
    receiver: Mutex<Receiver<(u64, ProbeResult)>>,
    last: u64,
}

/// The thread that asks one mount. It is not joined: one that is blocked ends when its system call returns, and
/// keeps nothing of a runtime until then.
#[derive(Debug)]
pub(super) struct Prober {
    number: u64,
    question: Sender<()>,
    /// When the unanswered question was asked.
    pub(super) since: Option<Monotonic>,
}

impl Probers {
    pub(super) fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver: Mutex::new(receiver), last: 0 }
    }

    /// Starts the thread that asks the mount at `path`.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(super) fn start(&mut self, path: CString) -> std::io::Result<Prober> {
        self.last = self.last.saturating_add(1);
        let number = self.last;
        let (question, questions) = channel();
        let answers = self.sender.clone();
        let worker = move || {
            while questions.recv().is_ok() {
                let figures = rustix::fs::statvfs(&*path);
                let unique_id = table::unique_id(Path::new(OsStr::from_bytes(path.to_bytes())));
                if answers.send((number, ProbeResult { at: Monotonic::now(), figures, unique_id })).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("appmon-mount".to_owned()).spawn(worker)?;
        Ok(Prober { number, question, since: None })
    }

    /// Takes the pending answers.
    pub(super) fn drain(&mut self, mut answer: impl FnMut(u64, ProbeResult)) {
        let receiver = self.receiver.get_mut().unwrap_or_else(PoisonError::into_inner);
        while let Ok((number, given)) = receiver.try_recv() {
            answer(number, given);
        }
    }

    /// Takes answers until `deadline`, or until `answer` returns that none is missing.
    pub(super) fn wait(
        &mut self,
        deadline: Deadline,
        cancel: &Cancel,
        mut answer: impl FnMut(u64, ProbeResult) -> bool,
    ) -> Result<()> {
        let receiver = self.receiver.get_mut().unwrap_or_else(PoisonError::into_inner);
        loop {
            cancel.check()?;
            let left = deadline.left();
            match receiver.recv_timeout(left.min(POLL)) {
                Ok((number, given)) => {
                    if answer(number, given) {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
                // This has a sender itself, so it is never disconnected.
                Err(_) => return Ok(()),
            }
        }
    }
}

impl Prober {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Asks, unless an answer is missing; returns whether it was asked.
    pub(super) fn ask(&mut self, now: Monotonic) -> bool {
        if self.since.is_some() || self.question.send(()).is_err() {
            return false;
        }
        self.since = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_asked_once_until_it_answers() {
        let mut probers = Probers::new();
        let mut prober = probers.start(CString::new("/").unwrap()).unwrap();
        let mut other = probers.start(CString::new("/no/such/path").unwrap()).unwrap();
        assert!(prober.ask(Monotonic::from_nanos(7)));
        assert!(!prober.ask(Monotonic::from_nanos(8)));
        assert_eq!(prober.since, Some(Monotonic::from_nanos(7)));
        assert!(other.ask(Monotonic::from_nanos(7)));
        let mut given = Vec::new();
        let deadline = Deadline::after(Duration::from_secs(60));
        probers
            .wait(deadline, &Cancel::new(), |number, answer| {
                given.push((number, answer.figures.map(|stat| stat.f_blocks > 0)));
                given.len() == 2
            })
            .unwrap();
        given.sort_by_key(|(number, _)| *number);
        assert_eq!(given, [(prober.number(), Ok(true)), (other.number(), Err(Errno::NOENT))]);
    }

    #[test]
    fn waiting_is_cancelled() {
        let cancel = Cancel::new();
        cancel.cancel();
        let deadline = Deadline::after(Duration::MAX);
        assert!(Probers::new().wait(deadline, &cancel, |_, _| true).unwrap_err().is_cancelled());
    }
}
