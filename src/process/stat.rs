//! `/proc/PID/stat`: the one line every process has.

use serde::{Deserialize, Serialize};

use super::ProcessState;
use crate::number::Columns;
use crate::{Error, Result, Text};

/// The fields after `comm`, in the order of the file, once: the two structs and the parser all follow this list.
macro_rules! fields {
    ($($(#[$attribute:meta])* $field:ident: $type:ty,)*) => {
        /// `/proc/PID/stat`, all 52 fields of proc_pid_stat(5) in the kernel's own units.
        ///
        /// A tick is that of `sysconf(_SC_CLK_TCK)`: 10 ms almost everywhere. Addresses, `wchan` and `exit_code` are 0
        /// for a reader that may not trace the process.
        ///
        /// ```
        /// use appmon::process::{ProcessState, Stat};
        ///
        /// let line = b"42 (a) b) S 1 42 42 0 -1 4194560 7 0 0 0 5 3 0 0 20 0 1 0 104716 3133440 412\n";
        /// let stat = Stat::parse(line).unwrap();
        /// assert_eq!(stat.comm, "a) b");
        /// assert_eq!(stat.state, ProcessState::Sleeping);
        /// assert_eq!(stat.rss_pages, 412);
        /// assert_eq!(stat.exit_code, None); // an old kernel's line ends before it
        /// ```
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[non_exhaustive]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub struct Stat {
            /// The process id.
            pub pid: u32,
            /// The command name, at most 15 bytes unless it is a kernel thread's. Any bytes: processes can set their own.
            pub comm: Text,
            $($(#[$attribute])* pub $field: $type,)*
        }

        /// The fields of [`Stat`], borrowed from the line they were parsed from: nothing is allocated.
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct StatLine<'a> {
            pub(crate) pid: u32,
            pub(crate) comm: &'a [u8],
            $(pub(crate) $field: $type,)*
        }

        impl<'a> StatLine<'a> {
            /// Reads the line. Fields after those known here are left alone.
            ///
            /// # Errors
            ///
            /// A text that names the first field that is missing or not a number.
            pub(crate) fn parse(line: &'a [u8]) -> Result<Self> {
                let (pid, comm, rest) = split(line)?;
                let mut columns = Columns::new(rest);
                $(
                    let Some($field) = Column::take(&mut columns) else {
                        return Err(missing(stringify!($field)));
                    };
                )*
                Ok(Self { pid, comm, $($field,)* })
            }
        }

        impl From<StatLine<'_>> for Stat {
            fn from(line: StatLine<'_>) -> Self {
                Self { pid: line.pid, comm: Text::from(line.comm), $($field: line.$field,)* }
            }
        }
    };
}

fields! {
    /// Its state.
    state: ProcessState,
    /// The parent's pid; 0 where there is none in this pid namespace.
    ppid: u32,
    /// The process group; 0 while the process is being reaped.
    pgrp: u32,
    /// The session; 0 while the process is being reaped.
    session: u32,
    /// The device number of the controlling terminal, 0 for none: the minor number in bits 31 to 20 and 7 to 0, the major
    /// number in bits 19 to 8.
    tty_nr: i32,
    /// The foreground process group of the controlling terminal; -1 for none.
    tpgid: i32,
    /// The kernel's flags, `PF_*` in its `linux/sched.h`.
    flags: u32,
    /// Page faults that needed no disk, of all threads.
    minflt: u64,
    /// Those of children that were waited for.
    cminflt: u64,
    /// Page faults that loaded a page from disk, of all threads.
    majflt: u64,
    /// Those of children that were waited for.
    cmajflt: u64,
    /// CPU time in user mode, guest time included, of all threads; ticks.
    utime_ticks: u64,
    /// CPU time in the kernel, of all threads; ticks.
    stime_ticks: u64,
    /// User time of children that were waited for; ticks. Signed in the format, never negative in fact.
    cutime_ticks: u64,
    /// System time of children that were waited for; ticks. Signed in the format, never negative in fact.
    cstime_ticks: u64,
    /// The kernel's priority: 20 + `nice`, or for a real-time policy -1 - `rt_priority` (-101 for a deadline).
    priority: i32,
    /// The nice value, from -20 (favoured) to 19.
    nice: i32,
    /// Threads; 0 while the process is being reaped.
    num_threads: u32,
    /// Ticks to the next `SIGALRM`. Always 0 since Linux 2.6.17.
    itrealvalue_ticks: i64,
    /// When it started, in ticks after the start of the machine.
    start_ticks: u64,
    /// Address space.
    vsize_bytes: u64,
    /// Resident pages. Approximate since Linux 6.2, off by up to some pages per CPU.
    rss_pages: u64,
    /// The soft limit on the resident set, `RLIMIT_RSS`; `u64::MAX` for none. The kernel does not enforce it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rss_limit_bytes: Option<u64>,
    /// The address above which the program's text is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_code: Option<u64>,
    /// The address below which the program's text is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_code: Option<u64>,
    /// The address of the bottom of the stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_stack: Option<u64>,
    /// The stack pointer. 0 on current kernels, unless the process is exiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kstk_esp: Option<u64>,
    /// The instruction pointer. 0 on current kernels, unless the process is exiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kstk_eip: Option<u64>,
    /// The first 31 pending signals. Obsolete: `/proc/PID/status` has all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signal: Option<u64>,
    /// The first 31 blocked signals. Obsolete: `/proc/PID/status` has all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blocked: Option<u64>,
    /// The first 31 ignored signals. Obsolete: `/proc/PID/status` has all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sigignore: Option<u64>,
    /// The first 31 caught signals. Obsolete: `/proc/PID/status` has all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sigcatch: Option<u64>,
    /// Whether it waits in the kernel: 0 or 1 since Linux 4.4, the address before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wchan: Option<u64>,
    /// Pages swapped out. Not maintained, always 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nswap_pages: Option<u64>,
    /// Pages swapped out of children. Not maintained, always 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cnswap_pages: Option<u64>,
    /// The signal the parent gets when it ends; since Linux 2.1.22.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_signal: Option<i32>,
    /// The CPU it last ran on; since Linux 2.2.8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    processor: Option<u32>,
    /// The real-time priority, from 1 to 99, or 0 for none; since Linux 2.5.19.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rt_priority: Option<u32>,
    /// The scheduling policy, `SCHED_*` of sched(7); since Linux 2.5.19.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<u32>,
    /// Time waited for block I/O, in ticks; since Linux 2.6.18. 0 where the kernel does not account delays
    /// (`kernel.task_delayacct`, off by default since Linux 5.14).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delayacct_blkio_ticks: Option<u64>,
    /// Time spent running a virtual CPU, of all threads, in ticks; since Linux 2.6.24.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guest_time_ticks: Option<u64>,
    /// Guest time of children that were waited for, in ticks; since Linux 2.6.24. Signed in the format, never negative in
    /// fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cguest_time_ticks: Option<u64>,
    /// The address above which the program's data is; since Linux 3.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_data: Option<u64>,
    /// The address below which the program's data is; since Linux 3.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_data: Option<u64>,
    /// The address above which the heap grows by `brk(2)`; since Linux 3.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_brk: Option<u64>,
    /// The address above which the arguments are; since Linux 3.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arg_start: Option<u64>,
    /// The address below which the arguments are; since Linux 3.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arg_end: Option<u64>,
    /// The address above which the environment is; since Linux 3.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env_start: Option<u64>,
    /// The address below which the environment is; since Linux 3.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env_end: Option<u64>,
    /// The exit status, in the form of `waitpid(2)`; since Linux 3.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
}

impl Stat {
    /// Reads the line. The name is whatever is between the first `(` and the last `)`; a line that ends after `rss` is
    /// that of an old kernel, and fields after the known ones are those of a later one.
    ///
    /// # Errors
    ///
    /// [`is_malformed`](Error::is_malformed), with a text that names the first field that is missing or not a number.
    pub fn parse(line: &[u8]) -> Result<Self> {
        StatLine::parse(line).map(Self::from)
    }

    /// Takes over the memory fields of the process from the line of another thread of it.
    pub(crate) fn take_memory(&mut self, thread: &Self) {
        self.vsize_bytes = thread.vsize_bytes;
        self.rss_pages = thread.rss_pages;
        self.start_code = thread.start_code;
        self.end_code = thread.end_code;
        self.start_stack = thread.start_stack;
        self.start_data = thread.start_data;
        self.end_data = thread.end_data;
        self.start_brk = thread.start_brk;
        self.arg_start = thread.arg_start;
        self.arg_end = thread.arg_end;
        self.env_start = thread.env_start;
        self.env_end = thread.env_end;
    }
}

/// A type of field: how the next one is taken, `None` where it is missing or malformed.
trait Column: Sized {
    fn take(columns: &mut Columns<'_>) -> Option<Self>;
}

impl Column for u64 {
    #[inline]
    fn take(columns: &mut Columns<'_>) -> Option<Self> {
        columns.unsigned()
    }
}

impl Column for u32 {
    #[inline]
    fn take(columns: &mut Columns<'_>) -> Option<Self> {
        columns.unsigned()?.try_into().ok()
    }
}

impl Column for i64 {
    #[inline]
    fn take(columns: &mut Columns<'_>) -> Option<Self> {
        columns.signed()
    }
}

impl Column for i32 {
    #[inline]
    fn take(columns: &mut Columns<'_>) -> Option<Self> {
        columns.signed()?.try_into().ok()
    }
}

impl Column for ProcessState {
    #[inline]
    fn take(columns: &mut Columns<'_>) -> Option<Self> {
        columns.letter().map(Self::from_letter)
    }
}

impl<T: Column> Column for Option<T> {
    #[inline]
    fn take(columns: &mut Columns<'_>) -> Option<Self> {
        if columns.at_end() { Some(None) } else { T::take(columns).map(Some) }
    }
}

/// The pid, the name, and the text after the name.
#[inline]
fn split(line: &[u8]) -> Result<(u32, &[u8], &[u8])> {
    let open = line.iter().position(|byte| *byte == b'(').ok_or_else(|| missing("( before the name"))?;
    let (pid, name) = line.split_at_checked(open).ok_or_else(|| missing("pid"))?;
    let pid = u32::take(&mut Columns::new(pid)).ok_or_else(|| missing("pid"))?;
    let close = last_paren(name).ok_or_else(|| missing(") after the name"))?;
    let (name, rest) = name.split_at_checked(close).ok_or_else(|| missing("name"))?;
    Ok((pid, name.get(1..).unwrap_or_default(), rest.get(1..).unwrap_or_default()))
}

/// The place of the last `)`.
///
/// It is some 300 bytes before the end. Whole blocks are looked through first, which the compiler makes vector
/// instructions of.
#[inline]
fn last_paren(bytes: &[u8]) -> Option<usize> {
    let mut head = bytes;
    while let Some((before, block)) = head.split_last_chunk::<32>() {
        if block.iter().fold(false, |found, byte| found | (*byte == b')')) {
            break;
        }
        head = before;
    }
    head.iter().rposition(|byte| *byte == b')')
}

#[cold]
fn missing(what: &str) -> Error {
    Error::malformed(format!("stat: no valid {what}"))
}
