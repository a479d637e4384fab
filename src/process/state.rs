//! The state of a process.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

/// The state of a process, or rather of its main thread: field 3 of `/proc/PID/stat`.
///
/// In the wire form it is a word such as `"running"` or `"disk_sleep"`; a letter that this version does not know is that
/// letter.
///
/// ```
/// use appmon::process::ProcessState;
///
/// assert_eq!(ProcessState::from_letter(b'D'), ProcessState::DiskSleep);
/// assert_eq!(ProcessState::DiskSleep.to_string(), "disk_sleep");
/// assert_eq!("disk_sleep".parse::<ProcessState>()?, ProcessState::DiskSleep);
/// assert_eq!(ProcessState::from_letter(b'?').letter(), '?');
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProcessState {
    /// `R`: on a CPU, or waiting for one.
    Running,
    /// `S`: waiting for something, and woken by signals.
    Sleeping,
    /// `D`: waiting for something, mostly a disk, and not woken by signals. Counts in the load average.
    DiskSleep,
    /// `Z`: ended, and not yet waited for by its parent.
    Zombie,
    /// `T`: stopped by a signal.
    Stopped,
    /// `t`: stopped by a tracer, mostly a debugger; since Linux 2.6.33.
    TracingStop,
    /// `X`, also `x` from Linux 2.6.33 to 3.13: about to vanish.
    Dead,
    /// `I`: a kernel thread that waits for work; since Linux 4.14.
    Idle,
    /// `P`: a kernel thread set aside, because its CPU is offline; from Linux 3.9.
    Parked,
    /// `K`: waiting, and woken by fatal signals only; Linux 2.6.33 to 3.13.
    Wakekill,
    /// `W`: about to run; Linux 2.6.33 to 3.13.
    Waking,
    /// A letter that this version does not know. Never one of the letters above, where it comes from
    /// [`from_letter`](Self::from_letter); `?` where the state was not read.
    Unknown(char),
}

impl ProcessState {
    /// Returns the state of this letter, which `/proc/PID/stat` and `/proc/PID/status` have.
    #[inline]
    #[must_use]
    pub const fn from_letter(letter: u8) -> Self {
        match letter {
            b'R' => Self::Running,
            b'S' => Self::Sleeping,
            b'D' => Self::DiskSleep,
            b'Z' => Self::Zombie,
            b'T' => Self::Stopped,
            b't' => Self::TracingStop,
            b'X' | b'x' => Self::Dead,
            b'I' => Self::Idle,
            b'P' => Self::Parked,
            b'K' => Self::Wakekill,
            b'W' => Self::Waking,
            // Latin 1, so that every byte survives.
            _ => Self::Unknown(letter as char),
        }
    }

    /// Returns the letter of this state, as ps(1) shows it.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Running => 'R',
            Self::Sleeping => 'S',
            Self::DiskSleep => 'D',
            Self::Zombie => 'Z',
            Self::Stopped => 'T',
            Self::TracingStop => 't',
            Self::Dead => 'X',
            Self::Idle => 'I',
            Self::Parked => 'P',
            Self::Wakekill => 'K',
            Self::Waking => 'W',
            Self::Unknown(letter) => letter,
        }
    }

    const NAMED: [(Self, &'static str); 11] = [
        (Self::Running, "running"),
        (Self::Sleeping, "sleeping"),
        (Self::DiskSleep, "disk_sleep"),
        (Self::Zombie, "zombie"),
        (Self::Stopped, "stopped"),
        (Self::TracingStop, "tracing_stop"),
        (Self::Dead, "dead"),
        (Self::Idle, "idle"),
        (Self::Parked, "parked"),
        (Self::Wakekill, "wakekill"),
        (Self::Waking, "waking"),
    ];

    fn name(self) -> Option<&'static str> {
        Self::NAMED.iter().find(|(state, _)| *state == self).map(|(_, name)| *name)
    }

    /// The state of this word or letter. A word that a later version may add is an unknown state, because one of them must
    /// not make a whole sample unreadable.
    fn from_wire(text: &str) -> Self {
        if let Some((state, _)) = Self::NAMED.iter().find(|(_, name)| *name == text) {
            return *state;
        }
        let mut letters = text.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => u8::try_from(letter).map_or(Self::Unknown(letter), Self::from_letter),
            _ => Self::default(),
        }
    }
}

impl Default for ProcessState {
    fn default() -> Self {
        Self::Unknown('?')
    }
}

impl fmt::Display for ProcessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name().unwrap_or(self.letter().encode_utf8(&mut [0; 4])))
    }
}

/// The word, or the letter that ps(1) shows.
impl FromStr for ProcessState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::from_wire(text) {
            Self::Unknown(_) if text.chars().count() != 1 => {
                let words = Self::NAMED.map(|(_, name)| name).join(", ");
                Err(Error::config(format!("not a state of a process: {text:?}; there are {words}, and their letters")))
            }
            state => Ok(state),
        }
    }
}

impl Serialize for ProcessState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name().unwrap_or(self.letter().encode_utf8(&mut [0; 4])))
    }
}

impl<'de> Deserialize<'de> for ProcessState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = ProcessState;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the state of a process")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ProcessState, E> {
                Ok(ProcessState::from_wire(text))
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for ProcessState {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ProcessState".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The state of a process. A state that is not listed is its letter.",
            "anyOf": [
                { "type": "string", "enum": Self::NAMED.map(|(_, name)| name) },
                { "type": "string", "minLength": 1, "maxLength": 1 },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_both_ways() {
        for byte in 0..=u8::MAX {
            let state = ProcessState::from_letter(byte);
            assert_eq!(state.to_string().parse::<ProcessState>().unwrap(), state);
            assert_eq!(state.letter().to_string().parse::<ProcessState>().unwrap(), state);
        }
        for text in ["", "sleepy", "Running", "S "] {
            let error = text.parse::<ProcessState>().unwrap_err();
            assert!(
                error.is_config() && error.to_string().contains("there are running, sleeping, disk_sleep"),
                "{error}"
            );
        }
    }
}
