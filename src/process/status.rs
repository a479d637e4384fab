//! `/proc/PID/status`: memory, ids, signals, capabilities and more, line by line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ProcessState;
use crate::number::{decimal, hex, key_value, kib, lines, octal, words};
use crate::{Error, Result, Text};

/// `/proc/PID/status`, each line typed.
///
/// The memory fields are `None` for a kernel thread and a zombie, which have none. A line that a kernel does not write is `None` too.
///
/// ```
/// # let file = std::fs::read("/proc/self/status").unwrap();
/// use appmon::process::Status;
///
/// let status = Status::parse(&file).unwrap();
/// assert_eq!(status.pid, std::process::id());
/// assert!(status.vm_hwm_bytes >= status.vm_rss_bytes);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Status {
    /// The command name, at most 15 bytes unless it is a kernel thread's (`Name`).
    pub name: Text,
    /// The file mode creation mask (`Umask`); since Linux 4.7. `None` for a zombie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Its state (`State`).
    pub state: ProcessState,
    /// The thread group id, which is the process id (`Tgid`).
    pub tgid: u32,
    /// The NUMA group, 0 for none (`Ngid`); since Linux 3.13.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ngid: Option<u32>,
    /// The thread id (`Pid`).
    pub pid: u32,
    /// The parent's pid, 0 for none in this pid namespace (`PPid`).
    pub ppid: u32,
    /// The pid of the tracer, 0 for none (`TracerPid`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracer_pid: Option<u32>,
    /// The user ids (`Uid`). Every Linux has them; a directory that only looks like a /proc may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Ids>,
    /// The group ids (`Gid`). As with the user ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<Ids>,
    /// Slots allocated for file descriptors, more than are open (`FDSize`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fd_size: Option<u64>,
    /// The supplementary groups (`Groups`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<u32>>,
    /// The process id in the reader's pid namespace, and then in each one nested in it, down to the process's own
    /// (`NStgid`); since Linux 4.1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ns_tgid: Vec<u32>,
    /// The thread id, in the same way (`NSpid`); since Linux 4.1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ns_pid: Vec<u32>,
    /// The process group id, in the same way (`NSpgid`); since Linux 4.1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ns_pgid: Vec<u32>,
    /// The session id, in the same way (`NSsid`); since Linux 4.1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ns_sid: Vec<u32>,
    /// Whether it is a kernel thread (`Kthread`); since Linux 6.8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kthread: Option<bool>,
    /// The largest address space it had (`VmPeak`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_peak_bytes: Option<u64>,
    /// Address space (`VmSize`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_size_bytes: Option<u64>,
    /// Locked in memory by mlock(2) (`VmLck`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_lck_bytes: Option<u64>,
    /// Pinned, since a device accesses it (`VmPin`); since Linux 3.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_pin_bytes: Option<u64>,
    /// The largest resident set it had, the high water mark (`VmHWM`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_hwm_bytes: Option<u64>,
    /// Resident: the sum of the three below (`VmRSS`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_rss_bytes: Option<u64>,
    /// Resident, belonging to no file (`RssAnon`); since Linux 4.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_anon_bytes: Option<u64>,
    /// Resident, of mapped files (`RssFile`); since Linux 4.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_file_bytes: Option<u64>,
    /// Resident, of shared memory and tmpfs (`RssShmem`); since Linux 4.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_shmem_bytes: Option<u64>,
    /// Private and writable address space, without the stack (`VmData`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_data_bytes: Option<u64>,
    /// The stack (`VmStk`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_stk_bytes: Option<u64>,
    /// Text of the program (`VmExe`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_exe_bytes: Option<u64>,
    /// Text of shared libraries (`VmLib`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_lib_bytes: Option<u64>,
    /// Page tables (`VmPTE`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_pte_bytes: Option<u64>,
    /// Page tables of the second level (`VmPMD`); Linux 4.0 to 4.14.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_pmd_bytes: Option<u64>,
    /// Anonymous private memory swapped out, without shared memory (`VmSwap`); since Linux 2.6.34.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_swap_bytes: Option<u64>,
    /// In pages of hugetlbfs (`HugetlbPages`); since Linux 4.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hugetlb_pages_bytes: Option<u64>,
    /// Whether it is writing a core file (`CoreDumping`); since Linux 4.15.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core_dumping: Option<bool>,
    /// Whether it may have transparent huge pages (`THP_enabled`); since Linux 5.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thp_enabled: Option<bool>,
    /// The mask that takes the tag from an address (`untag_mask`); since Linux 6.4, on x86-64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untag_mask: Option<u64>,
    /// Threads (`Threads`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Queued signals (`SigQ`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig_q: Option<SignalQueue>,
    /// Signals pending for the thread (`SigPnd`). Bit 0 is signal 1, here and below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig_pnd: Option<u64>,
    /// Signals pending for the process (`ShdPnd`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shd_pnd: Option<u64>,
    /// Blocked signals (`SigBlk`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig_blk: Option<u64>,
    /// Ignored signals (`SigIgn`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig_ign: Option<u64>,
    /// Caught signals (`SigCgt`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig_cgt: Option<u64>,
    /// Capabilities kept over an `execve(2)` (`CapInh`). The bits are those of capabilities(7), here and below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_inh: Option<u64>,
    /// Capabilities it may take (`CapPrm`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_prm: Option<u64>,
    /// Capabilities it has (`CapEff`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_eff: Option<u64>,
    /// Capabilities it can get at most (`CapBnd`); since Linux 2.6.26.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_bnd: Option<u64>,
    /// Capabilities kept over an `execve(2)` without privileges (`CapAmb`); since Linux 4.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_amb: Option<u64>,
    /// Whether `execve(2)` grants it no further privileges (`NoNewPrivs`); since Linux 4.10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_new_privs: Option<bool>,
    /// The seccomp(2) mode: 0 is off, 1 strict, 2 a filter (`Seccomp`); since Linux 3.8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<u32>,
    /// The number of seccomp filters (`Seccomp_filters`); since Linux 5.9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp_filters: Option<u32>,
    /// Its state of the speculative store bypass mitigation, in words (`Speculation_Store_Bypass`); since Linux 4.17.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speculation_store_bypass: Option<Text>,
    /// Its state of the indirect branch speculation mitigation, in words (`SpeculationIndirectBranch`); since Linux 5.11.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speculation_indirect_branch: Option<Text>,
    /// The CPUs it may run on, as a mask: bit `b` of word `w` is CPU `32 * w + b` (`Cpus_allowed`); since Linux 2.6.24.
    /// Without the highest words that are 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus_allowed: Option<Vec<u32>>,
    /// The CPUs it may run on (`Cpus_allowed_list`); since Linux 2.6.26.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus_allowed_list: Option<Vec<IdRange>>,
    /// The memory nodes it may use, as a mask like `cpus_allowed` (`Mems_allowed`); since Linux 2.6.24.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mems_allowed: Option<Vec<u32>>,
    /// The memory nodes it may use (`Mems_allowed_list`); since Linux 2.6.26.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mems_allowed_list: Option<Vec<IdRange>>,
    /// How often the thread yielded the CPU, mostly to wait (`voluntary_ctxt_switches`); since Linux 2.6.23. Of the main thread only, in
    /// the file of a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voluntary_ctxt_switches: Option<u64>,
    /// How often the CPU was taken from the thread (`nonvoluntary_ctxt_switches`); since Linux 2.6.23. Of the main thread
    /// only, in the file of a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonvoluntary_ctxt_switches: Option<u64>,
    /// Features such as `shstk` that it uses (`x86_Thread_features`); since Linux 6.6, on x86.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x86_thread_features: Option<Vec<Text>>,
    /// Those that it cannot switch any more (`x86_Thread_features_locked`); since Linux 6.6, on x86.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x86_thread_features_locked: Option<Vec<Text>>,
    /// Lines that this version does not know, or whose value it cannot parse.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, Text>,
}

/// The four user or group ids of a process, as credentials(7) has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ids {
    /// Who started it.
    pub real: u32,
    /// Whose rights it has.
    pub effective: u32,
    /// Whose rights it may take back.
    pub saved: u32,
    /// Whose rights it has on files; mostly the effective one.
    pub fs: u32,
}

/// Signals queued for the real user of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SignalQueue {
    /// How many are queued.
    pub queued: u64,
    /// How many can be (`RLIMIT_SIGPENDING`).
    pub limit: u64,
}

/// A range of CPUs or memory nodes, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IdRange {
    /// The first one.
    pub first: u32,
    /// The last one.
    pub last: u32,
}

impl Status {
    /// Reads the file: its lines in any order. A line that is not understood is kept in [`other`](Self::other).
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), with a text that names the line that is missing or cannot be parsed, of those that identify
    /// the process: `Name`, `State`, `Tgid`, `Pid`, `PPid`.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let mut status = Self::default();
        let mut required = Required::default();
        for line in lines(file) {
            let (key, value) = key_value(line).unwrap_or((line, b""));
            if !status.set(&mut required, key, line, value) {
                status.other.insert(String::from_utf8_lossy(key).into_owned(), value.into());
            }
        }
        status.name = required.name.ok_or_else(|| missing("Name"))?;
        status.state = required.state.ok_or_else(|| missing("State"))?;
        status.tgid = required.tgid.ok_or_else(|| missing("Tgid"))?;
        status.pid = required.pid.ok_or_else(|| missing("Pid"))?;
        status.ppid = required.ppid.ok_or_else(|| missing("PPid"))?;
        Ok(status)
    }

    /// The thread group in a status that may lack lines that [`parse`](Self::parse) requires.
    pub(crate) fn tgid_in(file: &[u8]) -> Option<u32> {
        lines(file).filter_map(key_value).find(|(key, _)| *key == b"Tgid").and_then(|(_, value)| decimal(value))
    }

    /// The status of a process whose main thread, which this is of, has exited: with the lines that the main thread lost, from the file of
    /// a thread that lives.
    pub(crate) fn with_living(self, thread: Self) -> Self {
        Self {
            name: self.name,
            state: self.state,
            pid: self.pid,
            ns_pid: self.ns_pid,
            sig_pnd: self.sig_pnd,
            voluntary_ctxt_switches: self.voluntary_ctxt_switches,
            nonvoluntary_ctxt_switches: self.nonvoluntary_ctxt_switches,
            ..thread
        }
    }

    /// Takes in one line, and returns whether it was understood.
    fn set(&mut self, required: &mut Required, key: &[u8], line: &[u8], value: &[u8]) -> bool {
        match key {
            b"Name" => put(&mut required.name, name(line)),
            b"Umask" => put(&mut self.umask, octal(value)),
            b"State" => put(&mut required.state, value.first().map(|letter| ProcessState::from_letter(*letter))),
            b"Tgid" => put(&mut required.tgid, decimal(value)),
            b"Ngid" => put(&mut self.ngid, decimal(value)),
            b"Pid" => put(&mut required.pid, decimal(value)),
            b"PPid" => put(&mut required.ppid, decimal(value)),
            b"TracerPid" => put(&mut self.tracer_pid, decimal(value)),
            b"Uid" => put(&mut self.uid, ids(value)),
            b"Gid" => put(&mut self.gid, ids(value)),
            b"FDSize" => put(&mut self.fd_size, decimal(value)),
            b"Groups" => put(&mut self.groups, words(value).map(decimal).collect()),
            b"NStgid" => put_list(&mut self.ns_tgid, value),
            b"NSpid" => put_list(&mut self.ns_pid, value),
            b"NSpgid" => put_list(&mut self.ns_pgid, value),
            b"NSsid" => put_list(&mut self.ns_sid, value),
            b"Kthread" => put(&mut self.kthread, flag(value)),
            b"VmPeak" => put(&mut self.vm_peak_bytes, kib(value)),
            b"VmSize" => put(&mut self.vm_size_bytes, kib(value)),
            b"VmLck" => put(&mut self.vm_lck_bytes, kib(value)),
            b"VmPin" => put(&mut self.vm_pin_bytes, kib(value)),
            b"VmHWM" => put(&mut self.vm_hwm_bytes, kib(value)),
            b"VmRSS" => put(&mut self.vm_rss_bytes, kib(value)),
            b"RssAnon" => put(&mut self.rss_anon_bytes, kib(value)),
            b"RssFile" => put(&mut self.rss_file_bytes, kib(value)),
            b"RssShmem" => put(&mut self.rss_shmem_bytes, kib(value)),
            b"VmData" => put(&mut self.vm_data_bytes, kib(value)),
            b"VmStk" => put(&mut self.vm_stk_bytes, kib(value)),
            b"VmExe" => put(&mut self.vm_exe_bytes, kib(value)),
            b"VmLib" => put(&mut self.vm_lib_bytes, kib(value)),
            b"VmPTE" => put(&mut self.vm_pte_bytes, kib(value)),
            b"VmPMD" => put(&mut self.vm_pmd_bytes, kib(value)),
            b"VmSwap" => put(&mut self.vm_swap_bytes, kib(value)),
            b"HugetlbPages" => put(&mut self.hugetlb_pages_bytes, kib(value)),
            b"CoreDumping" => put(&mut self.core_dumping, flag(value)),
            b"THP_enabled" => put(&mut self.thp_enabled, flag(value)),
            b"untag_mask" => put(&mut self.untag_mask, hex(value)),
            b"Threads" => put(&mut self.threads, decimal(value)),
            b"SigQ" => put(&mut self.sig_q, signal_queue(value)),
            b"SigPnd" => put(&mut self.sig_pnd, hex(value)),
            b"ShdPnd" => put(&mut self.shd_pnd, hex(value)),
            b"SigBlk" => put(&mut self.sig_blk, hex(value)),
            b"SigIgn" => put(&mut self.sig_ign, hex(value)),
            b"SigCgt" => put(&mut self.sig_cgt, hex(value)),
            b"CapInh" => put(&mut self.cap_inh, hex(value)),
            b"CapPrm" => put(&mut self.cap_prm, hex(value)),
            b"CapEff" => put(&mut self.cap_eff, hex(value)),
            b"CapBnd" => put(&mut self.cap_bnd, hex(value)),
            b"CapAmb" => put(&mut self.cap_amb, hex(value)),
            b"NoNewPrivs" => put(&mut self.no_new_privs, flag(value)),
            b"Seccomp" => put(&mut self.seccomp, decimal(value)),
            b"Seccomp_filters" => put(&mut self.seccomp_filters, decimal(value)),
            b"Speculation_Store_Bypass" => put(&mut self.speculation_store_bypass, Some(value.into())),
            b"SpeculationIndirectBranch" => put(&mut self.speculation_indirect_branch, Some(value.into())),
            b"Cpus_allowed" => put(&mut self.cpus_allowed, mask(value)),
            b"Cpus_allowed_list" => put(&mut self.cpus_allowed_list, ranges(value)),
            b"Mems_allowed" => put(&mut self.mems_allowed, mask(value)),
            b"Mems_allowed_list" => put(&mut self.mems_allowed_list, ranges(value)),
            b"voluntary_ctxt_switches" => put(&mut self.voluntary_ctxt_switches, decimal(value)),
            b"nonvoluntary_ctxt_switches" => put(&mut self.nonvoluntary_ctxt_switches, decimal(value)),
            b"x86_Thread_features" => put(&mut self.x86_thread_features, Some(texts(value))),
            b"x86_Thread_features_locked" => put(&mut self.x86_thread_features_locked, Some(texts(value))),
            _ => false,
        }
    }
}

/// The lines without which it is not the status of a process.
#[derive(Default)]
struct Required {
    name: Option<Text>,
    state: Option<ProcessState>,
    tgid: Option<u32>,
    pid: Option<u32>,
    ppid: Option<u32>,
}

fn put<T>(field: &mut Option<T>, value: Option<T>) -> bool {
    *field = value;
    field.is_some()
}

fn put_list(field: &mut Vec<u32>, value: &[u8]) -> bool {
    let numbers: Option<_> = words(value).map(decimal).collect();
    let understood = numbers.is_some();
    *field = numbers.unwrap_or_default();
    understood
}

/// The name in its line. White space is part of it, but for the tab that the kernel writes before it; so are colons.
///
/// The kernel writes a newline as `\n` and a backslash as `\\`, so that the line stays one.
fn name(line: &[u8]) -> Option<Text> {
    let escaped = line.strip_prefix(b"Name:")?;
    let mut rest = escaped.strip_prefix(b"\t").unwrap_or(escaped);
    let mut name = Vec::with_capacity(rest.len());
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match rest {
            [b'\\', b'n', tail @ ..] => (b'\n', tail),
            [b'\\', b'\\', tail @ ..] => (b'\\', tail),
            _ => (*first, tail),
        };
        name.push(byte);
        rest = tail;
    }
    Some(name.into())
}

fn ids(value: &[u8]) -> Option<Ids> {
    let mut ids = words(value).map(decimal);
    Some(Ids { real: ids.next()??, effective: ids.next()??, saved: ids.next()??, fs: ids.next()?? })
}

fn flag(value: &[u8]) -> Option<bool> {
    match value {
        b"0" => Some(false),
        b"1" => Some(true),
        _ => None,
    }
}

fn signal_queue(value: &[u8]) -> Option<SignalQueue> {
    let slash = value.iter().position(|byte| *byte == b'/')?;
    let (queued, limit) = value.split_at_checked(slash)?;
    Some(SignalQueue { queued: decimal(queued)?, limit: decimal(limit.get(1..)?)? })
}

/// The words of a mask, which the kernel writes highest first.
fn mask(value: &[u8]) -> Option<Vec<u32>> {
    let words = value.rsplit(|byte| *byte == b',').map(hex);
    let mut mask = words.collect::<Option<Vec<u32>>>()?;
    while mask.last() == Some(&0) {
        mask.pop();
    }
    Some(mask)
}

/// A list such as `0-3,8`; nothing for none.
fn ranges(value: &[u8]) -> Option<Vec<IdRange>> {
    if value.is_empty() {
        return Some(Vec::new());
    }
    value.split(|byte| *byte == b',').map(range).collect()
}

fn range(value: &[u8]) -> Option<IdRange> {
    match value.iter().position(|byte| *byte == b'-') {
        Some(dash) => {
            let (first, last) = value.split_at_checked(dash)?;
            Some(IdRange { first: decimal(first)?, last: decimal(last.get(1..)?)? })
        }
        None => decimal(value).map(|id| IdRange { first: id, last: id }),
    }
}

fn texts(value: &[u8]) -> Vec<Text> {
    words(value).map(Text::from).collect()
}

#[cold]
fn missing(what: &str) -> Error {
    Error::malformed(format!("status: no valid {what}"))
}
