//! Every parser of a process's files, and of some of a control group: whatever the bytes, it returns.
//!
//! The first byte chooses the parser, so that the corpus of each can grow on its own.

#![no_main]

use appmon::cgroup::{ControlGroupCpu, Pressure};
use appmon::process::{
    CgroupPaths, Environ, Io, Limits, Namespaces, Oom, Schedstat, SmapsRollup, Stat, Statm, Status, parse_cmdline,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((parser, bytes)) = bytes.split_first() else { return };
    match parser % 14 {
        0 => {
            if let Ok(stat) = Stat::parse(bytes) {
                // The name is all that is between the first and the last parenthesis.
                let open = bytes.iter().position(|byte| *byte == b'(').unwrap();
                let close = bytes.iter().rposition(|byte| *byte == b')').unwrap();
                assert_eq!(stat.comm.as_bytes(), &bytes[open + 1..close]);
            }
        }
        1 => drop(Status::parse(bytes)),
        2 => drop(Io::parse(bytes)),
        3 => drop(Statm::parse(bytes)),
        4 => drop(Schedstat::parse(bytes)),
        5 => drop(SmapsRollup::parse(bytes)),
        6 => drop(Limits::parse(bytes)),
        7 => {
            if let Ok(cgroups) = CgroupPaths::parse(bytes) {
                assert_eq!(cgroups.main_path().is_none(), cgroups.list.is_empty());
            }
        }
        8 => drop(parse_cmdline(bytes)),
        9 => {
            let environ = Environ::parse(bytes);
            for (name, value) in environ.iter() {
                assert!(value.is_none() || environ.get(name).is_some());
            }
        }
        10 => {
            let mut namespaces = Namespaces::default();
            namespaces.set(b"pid", bytes);
            namespaces.set(bytes, b"pid:[1]");
        }
        11 => drop(Pressure::parse(bytes)),
        12 => drop(ControlGroupCpu::parse(bytes)),
        _ => {
            let split = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
            drop(Oom::parse(&bytes[..split], &bytes[split..]));
        }
    }
});
