//! Which files are read of each process.

use std::fmt;
use std::str::FromStr;

use bitflags::Flags;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::spelling::nearest;
use crate::{Error, Result};

bitflags::bitflags! {
    /// The files and values to read of each process beside `/proc/PID/stat`, which is always read.
    ///
    /// Each flag names the cost: the file that is opened for it, once for a process that does not run and again whenever it ran. Combine
    /// them with `|`.
    ///
    /// As text they are the names of the flags in lower case, with commas between them: `io,user,cgroup`, or `none`. Read are also
    /// `default`, `info`, `slow` and `all`, upper case, and white space or `|` in place of the commas. The serde form is that text;
    /// a list of names is read too.
    ///
    /// ```
    /// use appmon::Fields;
    ///
    /// let fields = Fields::DEFAULT | Fields::STATUS;
    /// assert!(fields.contains(Fields::IO));
    /// assert_eq!("default,status".parse::<Fields>()?, fields);
    /// assert_eq!(fields.to_string(), "io,user,exe,cwd,cgroup,status");
    /// # Ok::<(), appmon::Error>(())
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
        /// User, executable, working directory and control group: the fields of [`ProcessInfo`](crate::process::ProcessInfo) without the
        /// command line.
        const INFO = Self::USER.bits() | Self::EXE.bits() | Self::CWD.bits() | Self::CGROUP.bits();
        /// `/proc/PID/cmdline`. May hold secrets; see [`Processes::redact`](crate::Processes::redact). Read in the slow pool.
        ///
        /// One of more than 65,536 arguments or 16 MiB is [`Reading::Failed`](crate::Reading::Failed): any user can have one of any length
        /// that takes no memory of its own.
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

        /// The default set: [`IO`](Self::IO) and [`INFO`](Self::INFO).
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

/// The words beside the names of the flags.
const WORDS: [(&str, Fields); 2] = [("none", Fields::empty()), ("all", Fields::all())];

impl Fields {
    /// The flags of one name.
    fn of_name(name: &str) -> Result<Self> {
        let flag = Self::FLAGS.iter().find(|flag| flag.name().eq_ignore_ascii_case(name)).map(|flag| *flag.value());
        let word = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(name)).map(|(_, fields)| *fields);
        flag.or(word).ok_or_else(|| unknown(name))
    }
}

#[cold]
fn unknown(name: &str) -> Error {
    let flags = Fields::FLAGS.iter().map(|flag| flag.name().to_ascii_lowercase());
    let names: Vec<String> = flags.chain(WORDS.map(|(word, _)| word.to_owned())).collect();
    Error::config(match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("fields: there is no field `{name}`; did you mean `{near}`?"),
        None => format!("fields: there is no field `{name}`; there are {}", names.join(", ")),
    })
}

impl FromStr for Fields {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let names = text.split(|char: char| matches!(char, ',' | '|') || char.is_whitespace());
        names.filter(|name| !name.is_empty()).try_fold(Self::empty(), |all, name| Ok(all | Self::of_name(name)?))
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect();
        f.pad(if names.is_empty() { "none".to_owned() } else { names.join(",") }.as_str())
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names of fields, as in `io,user,cgroup`, or a list of them")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Fields, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut names: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::empty();
                while let Some(name) = names.next_element::<std::borrow::Cow<'de, str>>()? {
                    fields |= Fields::of_name(&name).map_err(serde::de::Error::custom)?;
                }
                Ok(fields)
            }
        }

        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Visitor)
        } else {
            // The form of programs: a binary format need not mark the type of the next value.
            deserializer.deserialize_str(Visitor)
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Fields {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Fields".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "array"],
            "items": { "type": "string" },
            "description": "The files to read of each process, as in `io,user,cgroup`, or a list of such names.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_both_ways() {
        for (fields, text) in [
            (Fields::empty(), "none"),
            (Fields::IO, "io"),
            (Fields::INFO, "user,exe,cwd,cgroup"),
            (Fields::DEFAULT | Fields::FD_COUNT, "io,user,exe,cwd,cgroup,fd_count"),
            (Fields::SLOW, "cmdline,environ,smaps_rollup"),
        ] {
            assert_eq!(fields.to_string(), text);
            assert_eq!(text.parse::<Fields>().unwrap(), fields);
            let json = serde_json::to_string(&fields).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Fields>(&json).unwrap(), fields);
        }
        for bits in 0..=Fields::all().bits() {
            let fields = Fields::from_bits_truncate(bits);
            assert_eq!(fields.to_string().parse::<Fields>().unwrap(), fields);
        }
        for text in ["default,STATUS", " Default | status ", "default status,", "DEFAULT,,status,none"] {
            assert_eq!(text.parse::<Fields>().unwrap(), Fields::DEFAULT | Fields::STATUS, "{text}");
        }
        assert_eq!("all".parse::<Fields>().unwrap(), Fields::all());
        assert_eq!("".parse::<Fields>().unwrap(), Fields::empty());
        assert_eq!(serde_json::from_str::<Fields>(r#"["io", "info"]"#).unwrap(), Fields::IO | Fields::INFO);
        assert_eq!(serde_json::from_str::<Fields>("[]").unwrap(), Fields::empty());
        assert_eq!(format!("{:>6}", Fields::IO), "    io");
    }

    #[test]
    fn names_of_none() {
        for (text, error) in [
            ("io,cmd", "fields: there is no field `cmd`; did you mean `cmdline`?"),
            ("stats", "fields: there is no field `stats`; did you mean `stat`?"),
            (
                "io,cpu",
                "fields: there is no field `cpu`; there are io, user, exe, cwd, cgroup, info, cmdline, environ, stat, status, \
                 statm, schedstat, smaps_rollup, limits, fd_count, namespaces, oom, default, slow, none, all",
            ),
        ] {
            let refused = text.parse::<Fields>().unwrap_err();
            assert!(refused.is_config());
            assert_eq!(refused.to_string(), error);
        }
        let error = serde_json::from_str::<Fields>(r#"["io,user"]"#).unwrap_err().to_string();
        assert!(error.starts_with("fields: there is no field `io,user`; there are io,"), "{error}");
        assert!(serde_json::from_str::<Fields>("3").unwrap_err().to_string().contains("names of fields"));
    }
}
