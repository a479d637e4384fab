//! Which files are read of each process.

use serde::{Deserialize, Serialize};

bitflags::bitflags! {
    /// What to read of each process beside `/proc/PID/stat`, which is always read.
    ///
    /// Each flag names the cost: the file that is opened for it, once for a process that stands still and again
    /// whenever it ran. Combine them with `|`.
    ///
    /// ```
    /// use appmon::Fields;
    ///
    /// let fields = Fields::DEFAULT | Fields::STATUS;
    /// assert!(fields.contains(Fields::IO));
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Fields: u32 {
        /// `/proc/PID/io`: [`ProcessSample::io`](crate::ProcessSample::io).
        const IO = 1;
        /// The names of user and group in [`ProcessInfo`](crate::process::ProcessInfo), resolved and cached.
        const USER = 1 << 1;
        /// The link `/proc/PID/exe`.
        const EXE = 1 << 2;
        /// The link `/proc/PID/cwd`.
        const CWD = 1 << 3;
        /// `/proc/PID/cgroup`.
        const CGROUP = 1 << 4;
        /// User, executable, working directory and control group: what [`ProcessInfo`](crate::process::ProcessInfo) holds without
        /// the command line.
        const INFO = Self::USER.bits() | Self::EXE.bits() | Self::CWD.bits() | Self::CGROUP.bits();
        /// `/proc/PID/cmdline`. May hold secrets; see [`Processes::redact`](crate::Processes::redact). Read in the slow pool.
        ///
        /// One of more than 65,536 arguments or 16 MiB is [`Reading::Failed`](crate::Reading::Failed): anybody can have one of any
        /// length that takes no memory of its own.
        const CMDLINE = 1 << 5;
        /// `/proc/PID/environ`. Holds secrets more often than not; see [`Processes::redact`](crate::Processes::redact).
        /// Read in the slow pool.
        const ENVIRON = 1 << 6;
        /// All fields of `/proc/PID/stat`, as [`ProcessSample::stat`](crate::ProcessSample::stat). Costs no further file.
        const STAT = 1 << 7;
        /// `/proc/PID/status`.
        const STATUS = 1 << 8;
        /// `/proc/PID/statm`.
        const STATM = 1 << 9;
        /// `/proc/PID/schedstat`.
        const SCHEDSTAT = 1 << 10;
        /// `/proc/PID/smaps_rollup`, which walks the page tables. Read in the slow pool.
        const SMAPS_ROLLUP = 1 << 11;
        /// `/proc/PID/limits`.
        const LIMITS = 1 << 12;
        /// The number of open file descriptors: the entries of `/proc/PID/fd`, counted. That takes about half a microsecond
        /// for each descriptor, several when they are first counted. A process that has more than 512 is therefore counted in
        /// the slow pool.
        ///
        /// The size of that directory (since Linux 6.2) would be there at once, but is another number: it has those too that
        /// `accept(2)` and `open(2)` reserve while they wait.
        const FD_COUNT = 1 << 13;
        /// The links in `/proc/PID/ns`, and the pids inside the pid namespaces.
        const NAMESPACES = 1 << 14;
        /// `/proc/PID/oom_score`, `oom_score_adj`.
        const OOM = 1 << 15;

        /// What is read unless something else is said: [`IO`](Self::IO) and [`INFO`](Self::INFO).
        const DEFAULT = Self::IO.bits() | Self::INFO.bits();
        /// The files that can block on a lock of the process they are about.
        const SLOW = Self::CMDLINE.bits() | Self::ENVIRON.bits() | Self::SMAPS_ROLLUP.bits();
    }
}

impl Default for Fields {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Serialize for Fields {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = bitflags::parser::to_writer(self, &mut text);
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        bitflags::parser::from_str_strict(&text)
            .map_err(|error| serde::de::Error::custom(format_args!("fields {text:?}: {error}")))
    }
}
