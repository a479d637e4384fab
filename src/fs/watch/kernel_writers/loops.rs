//! Loop devices, and the files they write to.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Their counters, from `/proc/diskstats`.
#[derive(Debug, Default)]
pub(super) struct Loops {
    file: Option<File>,
    text: Vec<u8>,
    /// By minor number. `None` before the first reading.
    known: Option<HashMap<u32, Counters>>,
}

/// The writes and the discards that a device has completed. A write of zeros is one of the writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    writes: u64,
    /// Since Linux 4.18.
    discards: u64,
}

impl Loops {
    /// Returns the files of the devices that wrote since the last reading.
    pub(super) fn written(&mut self) -> Vec<PathBuf> {
        if self.read().is_err() {
            self.file = None;
            return Vec::new();
        }
        let now: HashMap<u32, Counters> = parse(&self.text).collect();
        let moved = |known: &HashMap<u32, Counters>| {
            let is_moved = |(minor, now): (&u32, &Counters)| known.get(minor).copied().unwrap_or_default() != *now;
            now.iter()
                .filter(|(minor, now)| is_moved((*minor, *now)))
                .filter_map(|(minor, _)| file_of(*minor))
                .collect()
        };
        let files = self.known.as_ref().map(moved).unwrap_or_default();
        self.known = Some(now);
        files
    }

    fn read(&mut self) -> std::io::Result<()> {
        self.text.clear();
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open("/proc/diskstats")?),
        };
        file.rewind()?;
        file.read_to_end(&mut self.text)?;
        Ok(())
    }
}

/// Parses the loop devices in `/proc/diskstats`: one line for each device, its numbers, its name, and its counters.
fn parse(text: &[u8]) -> impl Iterator<Item = (u32, Counters)> {
    /// The number of the driver.
    const MAJOR: &str = "7";
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        if words.next()? != MAJOR {
            return None;
        }
        let minor = words.next()?.parse().ok()?;
        // After the name and four figures of reads.
        let writes = words.nth(5)?.parse().ok()?;
        // After three more figures of writes, and three of requests under way.
        let discards = words.nth(6).and_then(|word| word.parse().ok()).unwrap_or_default();
        Some((minor, Counters { writes, discards }))
    })
}

/// Returns the current path of the file of a loop device, in this mount namespace.
fn file_of(minor: u32) -> Option<PathBuf> {
    let mut text = std::fs::read(format!("/sys/dev/block/7:{minor}/loop/backing_file")).ok()?;
    text.pop_if(|last| *last == b'\n');
    Some(OsString::from_vec(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_loop_devices() {
        let text = b"   7       0 loop0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n   7       1 loop1 1 2 3 4 5 6 7 8 9 10 11\n \
            254       0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n   7       9 loop9 1 2 3\n\xff\n   7\n";
        let counters = |writes, discards| Counters { writes, discards };
        assert_eq!(parse(text).collect::<Vec<_>>(), [(0, counters(5, 12)), (1, counters(5, 0))]);
    }
}
