//! `samples`: each sample as a record of its own.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use futures_util::stream::FusedStream;
use pin_project_lite::pin_project;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{BootId, Result, Sample, Snapshot, Timestamp};

/// The version of the wire form. It changes when a field changes its meaning, not when one is added.
pub(crate) const SCHEMA: u32 = 1;

pin_project! {
    /// The stream of [`SnapshotStreamExt::samples`](crate::SnapshotStreamExt::samples).
    #[must_use = "streams do nothing unless polled"]
    pub struct Samples<S, T> {
        #[pin]
        stream: S,
        host: Option<Arc<str>>,
        tick: Option<Tick<T>>,
    }
}

/// The rest of the snapshot that is being given out.
struct Tick<T> {
    host: Option<Arc<str>>,
    seq: u64,
    boot_id: BootId,
    time: Timestamp,
    samples: std::vec::IntoIter<T>,
}

impl<S: fmt::Debug, T> fmt::Debug for Samples<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Samples").field("stream", &self.stream).field("host", &self.host).finish_non_exhaustive()
    }
}

impl<S, T> Samples<S, T> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, host: None, tick: None }
    }

    /// Says in each record which host it is from. Default: what its snapshot says, which is nothing for those of this machine.
    pub fn host(mut self, name: impl Into<Arc<str>>) -> Self {
        self.host = Some(name.into());
        self
    }

    /// The stream inside.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream inside. What was left of the last snapshot is lost.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S, T> Stream for Samples<S, T>
where
    S: Stream<Item = Result<Snapshot<T>>>,
{
    type Item = Result<Record<T>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            if let Some(tick) = this.tick
                && let Some(sample) = tick.samples.next()
            {
                let host = this.host.clone().or_else(|| tick.host.clone());
                return Poll::Ready(Some(Ok(Record {
                    seq: tick.seq,
                    boot_id: tick.boot_id,
                    time: tick.time,
                    host,
                    sample,
                })));
            }
            *this.tick = None;
            match ready!(this.stream.as_mut().poll_next(cx)) {
                Some(Ok(snapshot)) => {
                    *this.tick = Some(Tick {
                        host: snapshot.host,
                        seq: snapshot.seq,
                        boot_id: snapshot.boot_id,
                        time: snapshot.time,
                        samples: snapshot.samples.into_iter(),
                    });
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A snapshot can hold any number of samples, none too.
        (self.tick.as_ref().map_or(0, |tick| tick.samples.len()), None)
    }
}

impl<S, T> FusedStream for Samples<S, T>
where
    S: FusedStream<Item = Result<Snapshot<T>>>,
{
    fn is_terminated(&self) -> bool {
        self.tick.is_none() && self.stream.is_terminated()
    }
}

/// One sample, with what is known of its tick. It derefs to the sample.
///
/// In the wire form it is one flat line: `schema`, `kind`, `host`, `boot_id`, `seq`, `time` and the fields of the sample.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record<T> {
    /// The number of the tick; see [`Snapshot::seq`].
    pub seq: u64,
    /// Which start of the machine monotonic times count from.
    pub boot_id: BootId,
    /// When the reading began, by the wall clock.
    pub time: Timestamp,
    /// Which host it is from, where that was said.
    pub host: Option<Arc<str>>,
    /// The sample.
    pub sample: T,
}

impl<T> Deref for Record<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.sample
    }
}

/// The wire form of an [`Record`], owned or borrowed.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Line<H, K, T> {
    /// The version of the wire form.
    schema: u32,
    /// What the sample is of.
    kind: K,
    /// Which host it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<H>,
    /// Which start of the machine monotonic times count from.
    boot_id: BootId,
    /// The number of the tick.
    seq: u64,
    /// When the reading began.
    time: Timestamp,
    #[serde(flatten)]
    sample: T,
}

/// An [`Record`] of a sample that is somebody else's, to be written.
pub(crate) struct RecordRef<'a, T> {
    pub(crate) seq: u64,
    pub(crate) boot_id: BootId,
    pub(crate) time: Timestamp,
    pub(crate) host: Option<&'a str>,
    pub(crate) sample: &'a T,
}

impl<T: Sample + Serialize> Serialize for RecordRef<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Line {
            schema: SCHEMA,
            kind: T::KIND,
            host: self.host,
            boot_id: self.boot_id,
            seq: self.seq,
            time: self.time,
            sample: self.sample,
        }
        .serialize(serializer)
    }
}

impl<T: Sample + Serialize> Serialize for Record<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let host = self.host.as_deref();
        RecordRef { seq: self.seq, boot_id: self.boot_id, time: self.time, host, sample: &self.sample }
            .serialize(serializer)
    }
}

impl<'de, T: Sample + Deserialize<'de>> Deserialize<'de> for Record<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let line = Line::<Arc<str>, String, T>::deserialize(deserializer)?;
        if line.schema != SCHEMA {
            return Err(D::Error::custom(format_args!("schema {}, where {SCHEMA} is understood", line.schema)));
        }
        if line.kind != T::KIND {
            return Err(D::Error::custom(format_args!("kind {:?}, where {:?} was expected", line.kind, T::KIND)));
        }
        Ok(Self { seq: line.seq, boot_id: line.boot_id, time: line.time, host: line.host, sample: line.sample })
    }
}

#[cfg(feature = "schema")]
impl<T: Sample + schemars::JsonSchema> schemars::JsonSchema for Record<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Record_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = Line::<String, String, T>::json_schema(generator);
        schema.insert("description".to_owned(), "One sample, with what is known of its tick.".into());
        say_kind::<T>(&mut schema);
        schema
    }
}

/// Says which values `schema` and `kind` have.
#[cfg(feature = "schema")]
pub(crate) fn say_kind<T: Sample>(schema: &mut schemars::Schema) {
    for (field, value) in [("/properties/schema", SCHEMA.into()), ("/properties/kind", T::KIND.into())] {
        if let Some(field) = schema.pointer_mut(field).and_then(|field| field.as_object_mut()) {
            field.insert("const".to_owned(), value);
        }
    }
}
