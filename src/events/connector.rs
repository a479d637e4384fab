//! The kernel's process connector, drained by a thread.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, MultiHeaders, NetlinkAddr, recvmmsg};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};
use rustix::time::ClockId;

use super::log::{Log, Taken};
use super::method::ConnectorObstacle;
use super::netlink::{MESSAGE_BYTES, Message, Operation, parse, request};
use crate::time::Deadline;
use crate::{Cancel, Monotonic, Result, Text};

/// The inode numbers of the first namespaces, the same on every machine (`PROC_PID_INIT_INO` and its like).
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;
const FIRST_USER_NAMESPACE: u64 = 0xefff_fffd;
const FIRST_TIME_NAMESPACE: u64 = 0xefff_fffa;

/// The group that the kernel sends to: `CN_IDX_PROC`.
const GROUP: u32 = 1;

/// The memory that the kernel charges for an event.
const EVENT_BYTES: usize = 832;

/// How many events one call takes.
const BATCH: usize = 256;

/// How many calls are made before the log is let go.
const ROUNDS: usize = 64;

/// How many processes that executed a program are read each time the socket is drained.
const NAMES_PER_DRAIN: usize = 16;

/// How long events may gather before they are taken out, so that many come at once: the kernel's buffer fills meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);

/// How long to wait for the kernel's acknowledgement, which it sends before the request returns.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(1);

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectorSettings {
    /// In the kernel, in bytes.
    pub(crate) buffer_bytes: usize,
    /// Here, in facts.
    pub(crate) most_pending: usize,
}

/// The process connector, from now on. Its thread ends with it.
#[derive(Debug)]
pub(crate) struct Connector {
    shared: Arc<Shared>,
    /// Created for each reading; only its memory is reused.
    batch: Mutex<Slots>,
}

#[derive(Debug)]
struct Shared {
    socket: OwnedFd,
    /// Readable when the thread is to end.
    end: OwnedFd,
    log: Mutex<Log>,
    /// Whether the socket failed.
    broken: AtomicBool,
}

type Slots = Vec<[u8; MESSAGE_BYTES]>;

impl Connector {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// Why it cannot be had. Nothing was received then.
    pub(crate) fn open(settings: ConnectorSettings) -> std::result::Result<Self, ConnectorObstacle> {
        // Elsewhere the kernel ignores the request, but sends the events that others subscribed to, with the pids of the machine.
        let namespace =
            |path: &str| rustix::fs::stat(path).map(|stat| stat.st_ino).map_err(|_| ConnectorObstacle::Failed);
        if namespace("/proc/self/ns/pid")? != FIRST_PID_NAMESPACE {
            return Err(ConnectorObstacle::PidNamespace);
        }
        if namespace("/proc/self/ns/user")? != FIRST_USER_NAMESPACE {
            return Err(ConnectorObstacle::UserNamespace);
        }
        // Kernels before Linux 5.6 have none.
        if namespace("/proc/self/ns/time").is_ok_and(|time| time != FIRST_TIME_NAMESPACE) {
            return Err(ConnectorObstacle::TimeNamespace);
        }
        let socket = open(settings.buffer_bytes)?;
        let end = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|_| ConnectorObstacle::Failed)?;
        let shared =
            Shared { socket, end, log: Mutex::new(Log::new(settings.most_pending)), broken: AtomicBool::new(false) };
        shared.listen()?;
        let shared = Arc::new(shared);
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("appmon-events".to_owned())
            .spawn(move || of_thread.run())
            .map_err(|_| ConnectorObstacle::Failed)?;
        Ok(Self { shared, batch: Mutex::new(slots()) })
    }

    /// Takes out all that the kernel has sent so far. `None` where the socket failed, and the number of lost events is not known.
    pub(crate) fn take(&self, cancel: &Cancel) -> Result<Option<Taken>> {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut log = self.shared.lock();
        while self.shared.drain(&mut log, &mut batch, &mut headers()) {
            cancel.check()?;
        }
        Ok((!self.shared.broken.load(Ordering::Relaxed)).then(|| log.take()))
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        let _ = rustix::net::send(&self.shared.socket, &request(Operation::Ignore, 0), SendFlags::DONTWAIT);
        let _ = rustix::io::write(&self.shared.end, &1_u64.to_ne_bytes());
    }
}

fn slots() -> Slots {
    vec![[0; MESSAGE_BYTES]; BATCH]
}

fn headers() -> MultiHeaders<NetlinkAddr> {
    MultiHeaders::preallocate(BATCH, None)
}

fn open(buffer_bytes: usize) -> std::result::Result<OwnedFd, ConnectorObstacle> {
    let refused = |errno| match errno {
        Errno::ACCESS | Errno::PERM => ConnectorObstacle::Denied,
        Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::NOENT => ConnectorObstacle::Unsupported,
        _ => ConnectorObstacle::Failed,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let protocol = Some(rustix::net::netlink::CONNECTOR);
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol).map_err(refused)?;
    // More than the usual limit needs a capability; a smaller buffer makes losses more likely, and these are counted.
    if sockopt::set_socket_recv_buffer_size_force(&socket, buffer_bytes).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(&socket, buffer_bytes);
    }
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUP)).map_err(refused)?;
    Ok(socket)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes to the kernel's events, and waits until the kernel acknowledges it.
    fn listen(&self) -> std::result::Result<(), ConnectorObstacle> {
        // Others subscribe too, and each acknowledgement goes to all: this one is recognized by its number.
        let acknowledge = fastrand::u32(1..u32::MAX);
        let deadline = Deadline::after(ACKNOWLEDGED_WITHIN);
        match rustix::net::send(&self.socket, &request(Operation::Listen, acknowledge), SendFlags::empty()) {
            Ok(_) => {}
            // Only the first network namespace has subscribers.
            Err(Errno::CONNREFUSED) => return Err(ConnectorObstacle::NetworkNamespace),
            Err(Errno::ACCESS | Errno::PERM) => return Err(ConnectorObstacle::Denied),
            Err(_) => return Err(ConnectorObstacle::Failed),
        }
        let offset_ns = offset_ns();
        let mut buffer = [0_u8; MESSAGE_BYTES];
        loop {
            match rustix::net::recv(&self.socket, &mut buffer, rustix::net::RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    let Some(message) = buffer.get(..length).and_then(parse) else { continue };
                    self.lock().add(&message, offset_ns);
                    match message {
                        Message::Acknowledged { acknowledged, error, .. }
                            if acknowledged == acknowledge.wrapping_add(1) =>
                        {
                            return match error {
                                0 => Ok(()),
                                // EPERM and EACCES.
                                1 | 13 => Err(ConnectorObstacle::Denied),
                                _ => Err(ConnectorObstacle::Failed),
                            };
                        }
                        // Other listeners keep the events coming, without end.
                        _ if deadline.left().is_zero() => return Err(ConnectorObstacle::NotAcknowledged),
                        _ => {}
                    }
                }
                Err(Errno::NOBUFS) => self.lock().overrun(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
                    let left = Timespec::try_from(deadline.left()).map_err(|_| ConnectorObstacle::Failed)?;
                    match rustix::event::poll(&mut fds, Some(&left)) {
                        Ok(0) => return Err(ConnectorObstacle::NotAcknowledged),
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(_) => return Err(ConnectorObstacle::Failed),
                    }
                }
                Err(_) => return Err(ConnectorObstacle::Failed),
            }
        }
    }

    /// The loop of the thread: sleeps until something happens, lets more events accumulate, takes them out.
    fn run(&self) {
        let (mut batch, mut headers) = (slots(), headers());
        let room = sockopt::socket_recv_buffer_size(&self.socket).unwrap_or(0) / EVENT_BYTES;
        let mut pause = SHORTEST_PAUSE;
        loop {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.end, PollFlags::IN)];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return self.broken.store(true, Ordering::Relaxed),
            }
            let [_, end] = &fds;
            if !end.revents().is_empty() {
                return;
            }
            let mut end = [PollFd::new(&self.end, PollFlags::IN)];
            let gathering = Timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().into() };
            if !matches!(rustix::event::poll(&mut end, Some(&gathering)), Ok(0) | Err(Errno::INTR)) {
                return;
            }
            let before = self.lock().received();
            while self.drain(&mut self.lock(), &mut batch, &mut headers) {}
            let received = self.lock().received().saturating_sub(before);
            pause = next_pause(pause, usize::try_from(received).unwrap_or(usize::MAX), room);
            if self.broken.load(Ordering::Relaxed) {
                return;
            }
            self.read_names();
        }
    }

    /// Takes events out of the socket; whether there may be more.
    fn drain(&self, log: &mut Log, batch: &mut Slots, headers: &mut MultiHeaders<NetlinkAddr>) -> bool {
        let offset_ns = offset_ns();
        for _ in 0..ROUNDS {
            let mut lengths = [0_usize; BATCH];
            let mut received = 0_usize;
            {
                let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                    batch.iter_mut().map(|slot| [IoSliceMut::new(slot)]).collect();
                match recvmmsg(self.socket.as_raw_fd(), headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None) {
                    Ok(messages) => {
                        for (length, message) in lengths.iter_mut().zip(messages) {
                            // A message that is not from the kernel is not read.
                            let from_kernel = message.address.is_none_or(|address| address.pid() == 0);
                            *length = if from_kernel { message.bytes } else { 0 };
                            received = received.saturating_add(1);
                        }
                    }
                    Err(nix::errno::Errno::ENOBUFS) => {
                        log.overrun();
                        continue;
                    }
                    Err(nix::errno::Errno::EINTR) => continue,
                    Err(nix::errno::Errno::EAGAIN) => return false,
                    Err(_) => {
                        self.broken.store(true, Ordering::Relaxed);
                        return false;
                    }
                }
            }
            for (slot, length) in batch.iter().zip(lengths).take(received) {
                if let Some(message) = slot.get(..length).and_then(parse) {
                    log.add(&message, offset_ns);
                }
            }
            if received < BATCH {
                return false;
            }
        }
        true
    }

    /// Reads some of those that executed a program: their name can be read nowhere else, and soon not at all.
    fn read_names(&self) {
        let executed = self.lock().take_execed(NAMES_PER_DRAIN);
        for pid in executed {
            let Some(stat) = std::fs::read(format!("/proc/{pid}/stat")).ok() else { continue };
            if let Ok(stat) = crate::process::StatLine::parse(&stat) {
                self.lock().add_name(pid, stat.start_ticks, Text::from(stat.comm));
            }
        }
    }
}

/// How long to let events gather next time, when so many came in this time, and there is room for so many.
fn next_pause(pause: Duration, received: usize, room: usize) -> Duration {
    let next = match received {
        few if few < room / 8 => pause.saturating_mul(2),
        many if many > room / 4 => pause.checked_div(2).unwrap_or(pause),
        _ => pause,
    };
    next.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// The lead of `CLOCK_BOOTTIME` over `CLOCK_MONOTONIC`: the time that the machine was suspended.
fn offset_ns() -> u64 {
    let monotonic = rustix::time::clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(monotonic.tv_sec).unwrap_or(0);
    let monotonic_ns =
        seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(monotonic.tv_nsec).unwrap_or(0));
    let ahead = Monotonic::now().as_nanos().saturating_sub(monotonic_ns);
    // Both clocks go on between the two calls: a difference below a millisecond counts as none.
    if ahead < 1_000_000 { 0 } else { ahead }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The CPUs there are for this thread.
    fn cpus() -> Vec<usize> {
        let cpus = rustix::thread::sched_getaffinity(None).unwrap();
        (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| cpus.is_set(*cpu)).collect()
    }

    /// Has every CPU send something: a gap shows in the next announcement of that CPU.
    fn on_every_cpu() {
        for cpu in cpus() {
            let status = std::process::Command::new("taskset").args(["-c", &cpu.to_string(), "true"]).status();
            assert!(status.unwrap().success());
        }
    }

    /// The events so far, the number lost since the last time, and the number of the last announcement of each CPU.
    fn taken(connector: &Connector) -> (u64, u64, BTreeMap<u32, u32>) {
        let taken = connector.take(&Cancel::new()).unwrap().unwrap();
        let log = connector.shared.lock();
        (log.received(), taken.lost, log.sequences())
    }

    /// The number of announcements that one of the two received and the other did not.
    fn beyond(this: &BTreeMap<u32, u32>, that: &BTreeMap<u32, u32>) -> i64 {
        assert!(this.keys().eq(that.keys()));
        this.iter().map(|(cpu, last)| i64::from(last.wrapping_sub(that[cpu]).cast_signed())).sum()
    }

    #[test]
    fn events_gather_while_there_is_room() {
        let (short, long) = (SHORTEST_PAUSE, LONGEST_PAUSE);
        assert_eq!(next_pause(short, 10, 512), short * 2);
        assert_eq!(next_pause(long, 10, 512), long);
        assert_eq!(next_pause(long, 100, 512), long);
        assert_eq!(next_pause(long, 200, 512), long / 2);
        assert_eq!(next_pause(short, 600, 512), short);
        assert_eq!(next_pause(short, 1, 0), short);
    }

    #[test]
    fn each_announcement_is_there_or_counted() {
        let open = |buffer_bytes| Connector::open(ConnectorSettings { buffer_bytes, most_pending: 1 << 20 });
        let (Ok(roomy), Ok(narrow)) = (open(4 << 20), open(1)) else {
            crate::skipped::require(false, "the process connector");
            return;
        };
        // On a busy machine the narrow one may miss the first announcements, and then knows nothing of a CPU.
        let (roomy_before, narrow_before) = (0..100)
            .map(|_| {
                on_every_cpu();
                (taken(&roomy), taken(&narrow))
            })
            .find(|(roomy, narrow)| roomy.2.len() >= cpus().len() && narrow.2.keys().eq(roomy.2.keys()))
            .expect("all CPUs are heard of");
        let ((roomy_begin, _, roomy_before), (narrow_begin, _, narrow_before)) = (roomy_before, narrow_before);
        for _ in 0..5 {
            let mut storm = std::process::Command::new("sh");
            storm.args(["-c", "n=0; while [ $n -lt 400 ]; do (exit 3); n=$((n+1)); done"]);
            assert!(storm.status().unwrap().success());
        }
        on_every_cpu();
        let (narrow_end, narrow_lost, narrow_after) = taken(&narrow);
        let (roomy_end, roomy_lost, roomy_after) = taken(&roomy);
        let (narrow_received, roomy_received) = (narrow_end - narrow_begin, roomy_end - roomy_begin);
        assert_eq!(roomy_lost, 0);
        assert!(narrow_lost > 0 && roomy_received >= 4000, "{narrow_lost} {roomy_received}");
        // Other processes fork too, and the two are not read at the same instant.
        let between = beyond(&narrow_after, &roomy_after) - beyond(&narrow_before, &roomy_before);
        assert_eq!((narrow_received + narrow_lost).cast_signed(), roomy_received.cast_signed() + between);
    }
}
