//! A stream of the moments in which pressure gets too high, by the kernel's own trigger.

use std::fmt;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::stream::FusedStream;
use futures::task::AtomicWaker;
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::Pressure;
use crate::process::control_groups::{in_directory, mount_of, mounts_in};
use crate::process::file::{self, Buffer};
use crate::{Error, Result, Text};

/// Whose pressure a trigger is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PressureOf {
    /// The machine: `/proc/pressure`.
    Machine,
    /// A control group of the unified hierarchy, by its path as in [`ControlGroupSample::path`](super::ControlGroupSample::path).
    ControlGroup(Text),
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PressureResource {
    /// A CPU.
    Cpu,
    /// Memory.
    Memory,
    /// Disks.
    Io,
    /// The end of interrupts; since Linux 6.1, where the kernel accounts their time, and with [`PressureLevel::Full`] only.
    Irq,
}

/// How many tasks wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PressureLevel {
    /// At least one.
    Some,
    /// All that are not idle.
    Full,
}

/// The stream of [`Pressure::trigger`]: an item each time the kernel reports that tasks lost more time than they may, at most one in each
/// window. The item is the pressure as it was right afterwards.
///
/// A thread named `appmon-pressure` sleeps until then, and ends with the stream; no runtime is needed, and nothing wakes up while the pressure
/// is low. Reports that nobody takes are one item: the latest.
///
/// # Errors
///
/// An item is an error where the file can no longer be read, as when the control group was removed
/// ([`is_not_found`](Error::is_not_found)). The stream ends after it.
///
/// # Cancel safety
///
/// Polling is cancel safe. Dropping the stream ends the thread and removes the trigger.
#[must_use = "streams do nothing unless polled"]
pub struct PressureTrigger {
    inner: Arc<Inner>,
    is_over: bool,
}

struct Inner {
    latest: Mutex<Option<Result<Pressure>>>,
    waker: AtomicWaker,
    end: OwnedFd,
}

impl Pressure {
    /// Asks the kernel to report when tasks lose at least `stall` within `window` waiting for this resource. Since Linux 5.2.
    ///
    /// Rights: of the machine, anybody may ask for windows that are multiples of 2 s since Linux 6.5; other windows, and all of them before
    /// that, need `CAP_SYS_RESOURCE`. Of a control group, the right to write its file is needed too (`cpu.pressure`, …), which its owner
    /// has.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`] when `stall` is 0 or longer than `window`, when `window` is longer than 10 s, and when the kernel refuses them, with
    /// what it accepts. [`Error::is_denied`] when a right is missing, [`Error::is_not_found`] when there is no such control group,
    /// [`Error::is_unsupported`] when the kernel keeps no account of this pressure.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use appmon::cgroup::{Pressure, PressureLevel, PressureOf, PressureResource};
    /// use futures::TryStreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> appmon::Result<()> {
    /// let of = PressureOf::ControlGroup("/system.slice/postgresql.service".into());
    /// let (stall, window) = (Duration::from_millis(200), Duration::from_secs(2));
    /// let mut reports = Pressure::trigger(of, PressureResource::Memory, PressureLevel::Some, stall, window)?;
    /// while let Some(pressure) = reports.try_next().await? {
    ///     println!("a tenth of the time is lost: {pressure:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn trigger(
        of: PressureOf,
        resource: PressureResource,
        level: PressureLevel,
        stall: Duration,
        window: Duration,
    ) -> Result<PressureTrigger> {
        let (stall_us, window_us) = (stall.as_micros(), window.as_micros());
        if stall_us == 0 || stall_us > window_us || window > LONGEST {
            return Err(Error::config(format!(
                "Pressure::trigger: {stall:?} in {window:?}: the stall is from 1 µs to the window, which is at most 10 s"
            )));
        }
        let file = open(&of, resource)?;
        let level = match level {
            PressureLevel::Some => "some",
            PressureLevel::Full => "full",
        };
        // Kernels before 5.19 take the last byte off, whatever it is.
        let request = format!("{level} {stall_us} {window_us}\0");
        rustix::io::write(&file, request.as_bytes()).map_err(|errno| match errno {
            Errno::INVAL => Error::config(format!(
                "Pressure::trigger: the kernel refuses `{level}` of {stall:?} in {window:?} for {resource}: without CAP_SYS_RESOURCE a \
                 window is a multiple of 2 s; with it, it is from 500 ms to 10 s"
            )),
            Errno::OPNOTSUPP => Error::unsupported(),
            errno => Error::os(errno).at(path(&of, resource)),
        })?;
        PressureTrigger::new(file, path(&of, resource))
    }
}

/// The longest window.
const LONGEST: Duration = Duration::from_secs(10);

fn open(of: &PressureOf, resource: PressureResource) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let failed = |errno| match (errno, of) {
        // The machine has no such file, so this kernel has none.
        (Errno::NOENT, PressureOf::Machine) => Error::unsupported(),
        (errno, _) => Error::os(errno).at(path(of, resource)),
    };
    let PressureOf::ControlGroup(group) = of else {
        return rustix::fs::openat(CWD, path(of, resource), flags, Mode::empty()).map_err(failed);
    };
    let table = file::read(CWD, c"/proc/self/mountinfo").unwrap_or_default();
    let mounts = mounts_in(&table);
    let (mount, below) = mount_of(&mounts, group.as_bytes()).ok_or_else(|| failed(Errno::NOENT))?;
    rustix::fs::openat(&mount.place, in_directory(below, resource.file().as_bytes()), flags, Mode::empty()).map_err(
        |errno| {
            let is_there = || match below {
                b"" => true,
                below => rustix::fs::statat(&mount.place, below, rustix::fs::AtFlags::empty()).is_ok(),
            };
            if errno == Errno::NOENT && is_there() { Error::unsupported() } else { failed(errno) }
        },
    )
}

/// The file, for errors.
fn path(of: &PressureOf, resource: PressureResource) -> String {
    match of {
        PressureOf::Machine => format!("/proc/pressure/{resource}"),
        PressureOf::ControlGroup(group) => {
            format!("{}/{}", group.to_string_lossy().trim_end_matches('/'), resource.file())
        }
    }
}

impl PressureResource {
    fn file(self) -> &'static str {
        match self {
            Self::Cpu => "cpu.pressure",
            Self::Memory => "memory.pressure",
            Self::Io => "io.pressure",
            Self::Irq => "irq.pressure",
        }
    }
}

/// Its name, as in `/proc/pressure`.
impl fmt::Display for PressureResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.file().strip_suffix(".pressure").unwrap_or_default())
    }
}

impl PressureTrigger {
    fn new(file: OwnedFd, path: String) -> Result<Self> {
        let end = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).map_err(Error::os)?;
        let inner = Arc::new(Inner { latest: Mutex::new(None), waker: AtomicWaker::new(), end });
        let theirs = Arc::clone(&inner);
        let watch = move || theirs.watch(&file, &path);
        std::thread::Builder::new().name("appmon-pressure".to_owned()).spawn(watch).map_err(Error::io)?;
        Ok(Self { inner, is_over: false })
    }
}

impl Inner {
    fn watch(&self, file: &OwnedFd, path: &str) {
        /// The pause before the next attempt if the kernel has no memory to wait.
        const RETRY: Duration = Duration::from_secs(1);
        let mut buffer = Buffer::new();
        loop {
            let mut fds = [PollFd::new(file, PollFlags::PRI), PollFd::new(&self.end, PollFlags::IN)];
            let waited = rustix::event::poll(&mut fds, None);
            let [reported, end] = &fds;
            if end.revents().contains(PollFlags::IN) {
                return;
            }
            match waited {
                Err(Errno::INTR) => continue,
                Err(_) => {
                    std::thread::sleep(RETRY);
                    continue;
                }
                Ok(_) => {}
            }
            let read = buffer.read(file).map_err(|errno| match errno {
                // The control group was removed.
                Errno::NODEV => Error::os(Errno::NOENT).at(path),
                errno => Error::os(errno).at(path),
            });
            let read = read.and_then(Pressure::parse);
            let is_over = read.is_err() || reported.revents().contains(PollFlags::ERR);
            *self.latest() = Some(read);
            self.waker.wake();
            if is_over {
                return;
            }
        }
    }

    fn latest(&self) -> MutexGuard<'_, Option<Result<Pressure>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PressureTrigger {
    fn drop(&mut self) {
        // The write never blocks: only this adds to the counter.
        let _ = rustix::io::write(&self.inner.end, &1_u64.to_ne_bytes());
    }
}

impl Stream for PressureTrigger {
    type Item = Result<Pressure>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        this.inner.waker.register(cx.waker());
        match this.inner.latest().take() {
            Some(item) => {
                this.is_over = item.is_err();
                Poll::Ready(Some(item))
            }
            None => Poll::Pending,
        }
    }
}

impl FusedStream for PressureTrigger {
    fn is_terminated(&self) -> bool {
        self.is_over
    }
}

impl fmt::Debug for PressureTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PressureTrigger").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}
