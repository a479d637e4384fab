//! The pulse of a process: whether it ran, in one cheap call.

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

thread_local! {
    /// The id of the calling thread.
    static THREAD: u32 = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
}

/// Kernel's `CPUCLOCK_SCHED`: the precise CPU time of all threads of a process.
const SCHED: i32 = 2;

/// The CPU time process `pid` has used so far, in nanoseconds; `None` where there is no such process: never, no more,
/// or only a thread of that id.
///
/// A process whose CPU clock did not move has not run, and has changed none of its own counters. Reading it takes no permission, and pids
/// are those of the pid namespace of this process, whatever /proc is mounted where.
pub(crate) fn pulse(pid: u32) -> Option<u64> {
    // See posix-timers in the kernel: MAKE_PROCESS_CPUCLOCK(pid, clock) is (~pid << 3) | clock.
    // Pids end at 2^22; a larger number would lose its upper bits here and address another process.
    let pid = i32::try_from(pid).ok().filter(|pid| (1..=1 << 22).contains(pid))?;
    let clock = ClockId::from_raw((!pid).checked_shl(3)? | SCHED);
    let time = clock_gettime(clock).ok().map(nanos)?;
    // For the id of the calling thread the kernel returns the clock of its process, though that is no process's pid.
    let is_thread = THREAD.with(|thread| *thread == pid.unsigned_abs()) && pid.unsigned_abs() != std::process::id();
    (!is_thread).then_some(time)
}

fn nanos(time: TimeSpec) -> u64 {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_pulse_beats() {
        let me = std::process::id();
        let before = pulse(me).unwrap();
        let mut sum = 0_u64;
        while pulse(me).unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }

    #[test]
    fn a_thread_has_no_pulse_of_its_own() {
        let thread = || rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        let other = std::thread::spawn(move || (thread(), pulse(thread()))).join().unwrap();
        assert_ne!(other.0, std::process::id());
        assert_eq!(other.1, None);
    }

    #[test]
    fn a_pid_without_a_process_has_no_pulse() {
        assert_eq!(pulse(0), None);
        assert_eq!(pulse(u32::MAX), None);
        // Beyond any pid_max.
        assert_eq!(pulse(1 << 22), None);
        assert_eq!(pulse(1 << 29), None);
    }
}
