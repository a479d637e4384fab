//! Settings of combinators: groups, windows, alerts.

use std::fmt;
use std::time::Duration as StdDuration;

use futures::Stream;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Duration;
use super::keys::{settings, unknown};
use crate::fs::PartSample;
use crate::measured::Measured;
use crate::own::OwnSample;
use crate::process::Service;
use crate::stream::{Alert, GroupBy, GroupSample, SnapshotStreamExt, Windows, by};
use crate::{Error, Fields, FileSystemSample, ProcessSample, Rated, Result, Sample, Snapshot, Text};

settings! {
    /// The settings of groups of processes: [`group_by`](SnapshotStreamExt::group_by).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use appmon::config::GroupsConfig;
    /// use appmon::{Processes, SnapshotStreamExt, SourceExt};
    ///
    /// let config: GroupsConfig = serde_json::from_str(r#"{"by": "user", "max_groups": 100}"#).expect("settings of groups");
    /// let users = config.apply(Processes::new().every(Duration::from_secs(1))).rates();
    /// # let _ = users;
    /// ```
    #[derive(Default)]
    pub struct GroupsConfig {
        required {}
        optional {
            /// The key of the groups. Default: `service`.
            by: By,
            /// The name of the key in each group: [`GroupBy::by`]. Default: that of `by`.
            name: Option<String>,
            /// The largest number of groups with a key of their own: [`GroupBy::max_groups`].
            max_groups: Option<usize>,
            /// Whether groups without members stay: [`GroupBy::keep_empty`].
            keep_empty: Option<bool>,
        }
    }
}

/// The key of a group.
type KeyOf = fn(&ProcessSample) -> Text;

impl GroupsConfig {
    /// Groups the processes of a stream. The keys are texts, also for services.
    pub fn apply<S, T>(&self, stream: S) -> GroupBy<S, fn(&ProcessSample) -> Text, Text>
    where
        S: Stream<Item = Result<Snapshot<T>>>,
        T: AsRef<ProcessSample>,
    {
        let Self { by, name, max_groups, keep_empty } = self;
        let mut groups = stream.group_by(by.key()).by(name.as_deref().unwrap_or(by.as_str()));
        if let Some(count) = max_groups {
            groups = groups.max_groups(*count);
        }
        if let Some(keep) = keep_empty {
            groups = groups.keep_empty(*keep);
        }
        groups
    }
}

/// A key of groups by its name: that of the function in [`by`](crate::stream::by), or `service` for [`Service::of`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum By {
    /// The container, else the systemd unit, else the name of the program: [`Service::of`].
    #[default]
    Service,
    /// The command name: [`by::name`].
    Name,
    /// The path of the executable: [`by::exe`].
    Exe,
    /// The user: [`by::user`].
    User,
    /// The control group: [`by::cgroup`].
    Cgroup,
    /// The systemd unit: [`by::unit`].
    Unit,
    /// The container: [`by::container`].
    Container,
    /// The uid of the Kubernetes pod: [`by::pod`].
    Pod,
}

impl By {
    /// Each key, its name, and the fields that it needs.
    const ALL: [(Self, &'static str, KeyOf, Fields); 8] = [
        (Self::Service, "service", |process| Service::of(process).to_string().into(), Fields::CGROUP),
        (Self::Name, "name", by::name, Fields::empty()),
        (Self::Exe, "exe", by::exe, Fields::EXE),
        (Self::User, "user", by::user, Fields::USER),
        (Self::Cgroup, "cgroup", by::cgroup, Fields::CGROUP),
        (Self::Unit, "unit", by::unit, Fields::CGROUP),
        (Self::Container, "container", by::container, Fields::CGROUP),
        (Self::Pod, "pod", by::pod, Fields::CGROUP),
    ];

    fn row(self) -> (Self, &'static str, KeyOf, Fields) {
        let [service, ..] = Self::ALL;
        Self::ALL.into_iter().find(|(by, ..)| *by == self).unwrap_or(service)
    }

    /// Returns its name, as in the serde form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// Returns the function of it.
    #[must_use]
    pub fn key(self) -> fn(&ProcessSample) -> Text {
        self.row().2
    }

    /// Returns the fields that the source must read for it.
    #[must_use]
    pub fn fields(self) -> Fields {
        self.row().3
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for By {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for By {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = Self::ALL.into_iter().find(|(_, known, ..)| **known == *name);
        let names = Self::ALL.map(|(_, name, ..)| name);
        found.map(|(by, ..)| by).ok_or_else(|| D::Error::custom(unknown("key of groups", &name, &names)))
    }
}

settings! {
    /// The settings of windows: [`window`](SnapshotStreamExt::window).
    pub struct WindowConfig {
        required {
            /// Their length.
            length: Duration,
        }
        optional {
            /// The fields, by path or alias: [`Windows::fields`]. Default: all.
            fields: Vec<String>,
            /// The quantiles: [`Windows::quantiles`].
            quantiles: Vec<f64>,
            /// Whether there is a window at each tick: [`Windows::sliding`].
            sliding: bool,
        }
    }
}

impl WindowConfig {
    /// Returns windows of this length, with the defaults of [`Windows`].
    #[must_use]
    pub fn new(length: StdDuration) -> Self {
        Self::of(length.into())
    }

    /// Makes windows of a stream. A field that does not exist, and a quantile outside 0 to 1, is an error of the stream.
    pub fn apply<S, T>(&self, stream: S) -> Windows<S, T>
    where
        S: Stream<Item = Result<Snapshot<T>>>,
        T: Sample + Measured,
    {
        let Self { length, fields, quantiles, sliding } = self;
        let mut windows = stream.window(length.get());
        if !fields.is_empty() {
            windows = windows.fields(fields.iter().map(String::as_str));
        }
        if !quantiles.is_empty() {
            windows = windows.quantiles(quantiles.iter().copied());
        }
        if *sliding { windows.sliding() } else { windows }
    }
}

settings! {
    /// An alert: a rule, and the stream that it is about.
    ///
    /// ```
    /// use appmon::config::AlertConfig;
    ///
    /// let text = r#"{"on": "groups", "name": "busy", "rule": "cpu.cores > 0.8 for 30s, until cpu.cores < 0.5 for 10s"}"#;
    /// let alert: AlertConfig = serde_json::from_str(text).expect("an alert");
    /// alert.check()?;
    /// # Ok::<(), appmon::Error>(())
    /// ```
    pub struct AlertConfig {
        required {
            /// The samples that it is about.
            on: AlertOn,
            /// The rule, as [`Alert`] reads it.
            rule: String,
        }
        optional {
            /// Its name: [`Alert::name`]. Default: the text of the rule.
            name: Option<String>,
        }
    }
}

/// The samples that an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlertOn {
    /// Processes with rates.
    Processes,
    /// Groups of processes with rates.
    Groups,
    /// File systems with rates.
    FileSystems,
    /// The parts of file systems, such as directories, with their growth: [`parts`](SnapshotStreamExt::parts).
    Parts,
    /// The own process with rates.
    OwnProcess,
}

/// Checks a rule against the fields of one kind of sample.
type CheckRule = fn(&str) -> Result<()>;

impl AlertOn {
    /// Each, its name, and the check of a rule about it.
    const ALL: [(Self, &'static str, CheckRule); 5] = [
        (Self::Processes, "processes", check::<Rated<ProcessSample>>),
        (Self::Groups, "groups", check::<Rated<GroupSample<Text>>>),
        (Self::FileSystems, "file_systems", check::<Rated<FileSystemSample>>),
        (Self::Parts, "parts", check::<PartSample>),
        (Self::OwnProcess, "own_process", check::<Rated<OwnSample>>),
    ];

    /// Returns its name, as in the serde form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(on, ..)| *on == self).map_or("", |(_, name, _)| name)
    }
}

fn check<T: Measured + 'static>(rule: &str) -> Result<()> {
    rule.parse::<Alert<T>>().map(drop)
}

impl fmt::Display for AlertOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for AlertOn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for AlertOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = Self::ALL.into_iter().find(|(_, known, _)| **known == *name);
        let names = Self::ALL.map(|(_, name, _)| name);
        found.map(|(on, ..)| on).ok_or_else(|| D::Error::custom(unknown("stream of alerts", &name, &names)))
    }
}

impl AlertConfig {
    /// Returns an alert about these samples.
    #[must_use]
    pub fn new(on: AlertOn, rule: impl Into<String>) -> Self {
        Self::of(on, rule.into())
    }

    /// Checks that the rule is one, and names fields of the samples it is about.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`], with the place in the rule.
    pub fn check(&self) -> Result<()> {
        AlertOn::ALL.into_iter().filter(|(on, ..)| *on == self.on).try_for_each(|(.., check)| check(&self.rule))
    }

    /// Returns the rule for samples of this type.
    ///
    /// # Errors
    ///
    /// [`Error::is_config`], with the place in the rule.
    pub fn build<T: Measured + 'static>(&self) -> Result<Alert<T>, Error> {
        let Self { on: _, rule, name } = self;
        let alert: Alert<T> = rule.parse()?;
        Ok(match name {
            Some(name) => alert.name(name.as_str()),
            None => alert,
        })
    }
}

#[cfg(feature = "schema")]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::{AlertOn, By};

    impl JsonSchema for By {
        fn schema_name() -> Cow<'static, str> {
            "By".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            let names = By::ALL.map(|(_, name, ..)| name);
            json_schema!({ "type": "string", "enum": names, "description": "The key of groups." })
        }
    }

    impl JsonSchema for AlertOn {
        fn schema_name() -> Cow<'static, str> {
            "AlertOn".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            let names = AlertOn::ALL.map(|(_, name, _)| name);
            json_schema!({ "type": "string", "enum": names, "description": "The samples that an alert is about." })
        }
    }
}
