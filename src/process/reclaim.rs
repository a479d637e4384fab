//! Detects whether the kernel took memory from processes that did not run.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::file::{Buffer, is_proc, open, open_of_proc};
use super::procfs::ProcFs;
use crate::Monotonic;
use crate::number::decimal;

/// Looks for reclaim in `/proc/vmstat`.
///
/// The memory of a process that does not run is changed by the kernel, above all when that needs memory: all reclaim counts the pages it
/// took, that of a control group too. `/proc/pressure/memory` is no evidence, since reclaim in the background stalls no process. Changes of
/// its memory by other processes (`process_madvise(2)`, `userfaultfd(2)`, a file that is cut off, memory that is shared by `CLONE_VM`) are
/// not counted anywhere.
#[derive(Debug)]
pub(crate) struct Reclaim {
    vmstat: Option<OwnedFd>,
    buffer: Buffer,
    /// The sum of the counters, and when it was taken.
    pages: Option<u64>,
    looked_at: Option<Monotonic>,
}

impl Reclaim {
    pub(crate) fn new(procfs: &ProcFs) -> Self {
        let vmstat = if is_proc(procfs.dir()) { open_of_proc } else { open }(procfs.dir(), c"vmstat").ok();
        Self { vmstat, buffer: Buffer::new(), pages: None, looked_at: None }
    }

    /// Returns whether memory was reclaimed since the last call, or may have been. It is checked once in `every`: reading `/proc/vmstat`
    /// takes 35 µs.
    pub(crate) fn was_seen(&mut self, every: Duration, now: Monotonic) -> bool {
        if self.looked_at.and_then(|at| now.since(at)).is_some_and(|age| age < every) {
            return false;
        }
        self.looked_at = Some(now);
        let vmstat = self.vmstat.as_ref();
        let pages = vmstat.and_then(|vmstat| reclaimed_pages(self.buffer.read(vmstat).ok()?));
        let before = std::mem::replace(&mut self.pages, pages);
        pages.is_none() || pages != before
    }
}

/// The sum of the counters that move whenever the memory of processes is reclaimed, swapped in for all (`swapoff(8)`), or put
/// together to huge pages; `None` where there is none of the first.
fn reclaimed_pages(vmstat: &[u8]) -> Option<u64> {
    let mut sum = None;
    let mut others = 0_u64;
    for line in vmstat.split(|byte| *byte == b'\n') {
        let Some((name, value)) = line.iter().position(|byte| *byte == b' ').and_then(|at| line.split_at_checked(at))
        else {
            continue;
        };
        let value = || decimal::<u64>(value.trim_ascii()).unwrap_or(0);
        match name {
            name if name.starts_with(b"pgsteal_") => sum = Some(sum.unwrap_or(0_u64).wrapping_add(value())),
            b"pswpin" | b"pswpout" | b"thp_collapse_alloc" => others = others.wrapping_add(value()),
            _ => {}
        }
    }
    sum.map(|sum| sum.wrapping_add(others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reclaim_counters_are_summed() {
        let vmstat = b"nr_free_pages 7\npswpin 1\npswpout 2\npgsteal_kswapd 10\npgsteal_anon 20\npgsteal_file 30\n\
            thp_collapse_alloc 100\nthp_collapse_alloc_failed 5000\n";
        assert_eq!(reclaimed_pages(vmstat), Some(163));
        assert_eq!(reclaimed_pages(b"nr_free_pages 7\npswpin 1\n"), None);
        assert_eq!(reclaimed_pages(b"pgsteal_anon\npgsteal_file x\n\n"), Some(0));
        assert!(reclaimed_pages(&std::fs::read("/proc/vmstat").unwrap()).is_some());
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_evidence_it_may_have_been() {
        let directory = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(directory.path().join("vmstat"), text).unwrap();
        let at = |second: u64| Monotonic::from_nanos(second * 1_000_000_000);
        let mut missing = Reclaim::new(&ProcFs::new(directory.path()).unwrap());
        assert!(missing.was_seen(SECOND, at(1)) && missing.was_seen(SECOND, at(2)));
        write("pgsteal_anon 1\n");
        let mut reclaim = Reclaim::new(&ProcFs::new(directory.path()).unwrap());
        assert!(reclaim.was_seen(SECOND, at(1)), "not read before");
        assert!(!reclaim.was_seen(SECOND, at(2)));
        write("pgsteal_anon 2\n");
        assert!(!reclaim.was_seen(SECOND, at(2)), "only once a second");
        assert!(reclaim.was_seen(SECOND, at(3)));
        assert!(!reclaim.was_seen(SECOND, at(4)));
    }
}
