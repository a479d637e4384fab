//! The parsers of the kernel's files about the machine.

use super::{Load, MachineCpu, MachineMemory};
use crate::number::{Columns, decimal, hundredths, key_value, kib, lines, words};
use crate::time::ticks_to_nanos;

/// The first line of `/proc/stat`, and how many CPUs there are.
pub(super) fn stat(file: &[u8], ticks_per_second: u64) -> Option<(MachineCpu, u32)> {
    let mut lines = lines(file);
    let mut columns = Columns::new(lines.next()?.strip_prefix(b"cpu ")?);
    let mut next = || columns.unsigned().map(|ticks| ticks_to_nanos(ticks, ticks_per_second));
    let (user_ns, nice_ns, system_ns, idle_ns) = (next()?, next()?, next()?, next()?);
    let (iowait_ns, irq_ns, softirq_ns) = (next()?, next()?, next()?);
    // Since Linux 2.6.33 all of them.
    let (steal_ns, guest_ns, guest_nice_ns) = (next()?, next()?, next()?);
    let is_cpu = |line: &&[u8]| {
        let number = words(line).next().and_then(|word| word.strip_prefix(b"cpu"));
        number.and_then(decimal::<u32>).is_some()
    };
    let cpus = u32::try_from(lines.take_while(is_cpu).count()).ok()?;
    let cpu = MachineCpu {
        user_ns,
        nice_ns,
        system_ns,
        idle_ns,
        iowait_ns,
        irq_ns,
        softirq_ns,
        steal_ns,
        guest_ns,
        guest_nice_ns,
    };
    Some((cpu, cpus))
}

/// `/proc/meminfo`.
pub(super) fn meminfo(file: &[u8]) -> Option<MachineMemory> {
    let (mut total, mut free, mut available, mut swap_total, mut swap_free) = (None, None, None, None, None);
    for (key, value) in lines(file).filter_map(key_value) {
        let place = match key {
            b"MemTotal" => &mut total,
            b"MemFree" => &mut free,
            b"MemAvailable" => &mut available,
            b"SwapTotal" => &mut swap_total,
            b"SwapFree" => {
                // The last of them: some fifty lines follow.
                swap_free = kib(value);
                break;
            }
            _ => continue,
        };
        *place = kib(value);
    }
    Some(MachineMemory {
        total_bytes: total?,
        available_bytes: available?,
        free_bytes: free?,
        swap_total_bytes: swap_total?,
        swap_free_bytes: swap_free?,
    })
}

/// `/proc/loadavg`.
pub(super) fn loadavg(file: &[u8]) -> Option<Load> {
    let mut words = words(file);
    let (avg1, avg5, avg15) = (hundredths(words.next()?)?, hundredths(words.next()?)?, hundredths(words.next()?)?);
    let tasks = words.next()?;
    let (runnable, tasks) = tasks.split_at_checked(tasks.iter().position(|byte| *byte == b'/')?)?;
    #[expect(clippy::cast_precision_loss, reason = "an average of a number of tasks")]
    let load = |hundredths: u64| hundredths as f64 / 100.0;
    Some(Load {
        avg1: load(avg1),
        avg5: load(avg5),
        avg15: load(avg15),
        runnable: decimal(runnable)?,
        tasks: decimal(tasks.strip_prefix(b"/")?)?,
    })
}

/// The first number of `/proc/uptime`, in nanoseconds.
pub(super) fn uptime(file: &[u8]) -> Option<u64> {
    hundredths(words(file).next()?)?.checked_mul(10_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_files_of_a_machine() {
        let file = b"cpu  10 2 3 400 5 6 7 8 9 1\ncpu0 5 1 1 200 2 3 3 4 4 0\ncpu1 5 1 2 200 3 3 4 4 5 1\n\
            cpufreq 1\nintr 17 1 2\nctxt 12\n";
        let (cpu, cpus) = stat(file, 100).unwrap();
        assert_eq!((cpus, cpu.user_ns, cpu.steal_ns, cpu.guest_nice_ns), (2, 100_000_000, 80_000_000, 10_000_000));
        assert_eq!(cpu.busy_ns(), (10 + 2 + 3 + 6 + 7) * 10_000_000);
        assert_eq!(stat(b"cpu  1 2 3 4 5 6 7 8 9\n", 100), None);
        assert_eq!(stat(b"cpu0 1 2 3 4 5 6 7 8 9 10\n", 100), None);
        let memory = meminfo(
            b"MemTotal: 24 kB\nMemFree: 7 kB\nMemAvailable: 9 kB\nSwapCached: 3 kB\nSwapTotal: 2 kB\nSwapFree: 1 kB\n",
        );
        let memory = memory.unwrap();
        assert_eq!((memory.total_bytes, memory.free_bytes, memory.available_bytes), (24 << 10, 7 << 10, 9 << 10));
        assert_eq!((memory.swap_total_bytes, memory.swap_free_bytes), (2 << 10, 1 << 10));
        assert_eq!(meminfo(b"MemTotal: 24 kB\nSwapTotal: 2 kB\nSwapFree: 1 kB\n"), None, "0 is not known");
        let load = loadavg(b"64.51 35.57 0.07 3/114 1931\n").unwrap();
        assert_eq!((load.avg1, load.avg5, load.avg15, load.runnable, load.tasks), (64.51, 35.57, 0.07, 3, 114));
        assert_eq!(uptime(b"25754.96 11945.31\n"), Some(25_754_960_000_000));
        assert_eq!(uptime(b"99999999999999999999.00 1.00\n"), None);
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "(cpu[ 0-9]{0,6}|[A-Za-z]{0,12}: ?)?[ 0-9./,-]{0,60}\n?") {
            for file in [&*bytes, text.as_bytes()] {
                let _ = (stat(file, 100), meminfo(file), loadavg(file), uptime(file));
            }
        }
    }
}
