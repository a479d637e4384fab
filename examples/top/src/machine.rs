//! The machine in the head line, as far as it is known: of a recording only what its processes show.

use std::num::NonZero;

/// The denominators of the shares.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Machine {
    pub(crate) cpus: Option<usize>,
    pub(crate) load: Option<f64>,
    pub(crate) memory: Option<Memory>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Memory {
    pub(crate) total_bytes: u64,
    pub(crate) available_bytes: u64,
}

impl Machine {
    /// Reads what this machine has.
    pub(crate) fn read() -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        let load = load.and_then(|text| text.split(' ').next()?.parse().ok());
        let memory = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| Memory::parse(&text));
        Self { cpus: std::thread::available_parallelism().ok().map(NonZero::get), load, memory }
    }
}

impl Memory {
    fn parse(text: &str) -> Option<Self> {
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.saturating_mul(1024))
        };
        Some(Self { total_bytes: of("MemTotal:")?, available_bytes: of("MemAvailable:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_bytes() {
        let memory = Memory::parse("MemTotal:       16 kB\nMemFree: 1 kB\nMemAvailable:   8 kB\n").unwrap();
        assert_eq!((memory.total_bytes, memory.available_bytes), (16 << 10, 8 << 10));
    }
}
