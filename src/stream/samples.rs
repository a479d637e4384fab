//! `samples`: each sample as a record of its own.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::wire::{self, Line, RecordRef};
use crate::{BootId, Result, Sample, Snapshot, Timestamp};

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

/// The remaining samples of the current snapshot.
struct Tick<T> {
    host: Option<Arc<str>>,
    stream: Option<Arc<str>>,
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

    /// Sets the host in each record. Default: the host of its snapshot, which is `None` for this machine.
    pub fn host(mut self, name: impl Into<Arc<str>>) -> Self {
        self.host = Some(name.into());
        self
    }

    /// Returns a reference to the inner stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns the inner stream. The remaining samples of the last snapshot are lost.
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
                    stream: tick.stream.clone(),
                    sample,
                })));
            }
            *this.tick = None;
            match ready!(this.stream.as_mut().poll_next(cx)) {
                Some(Ok(snapshot)) => {
                    *this.tick = Some(Tick {
                        host: snapshot.host,
                        stream: snapshot.stream,
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
        // A snapshot can have any number of samples, including none.
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

/// One sample, with the attributes of its tick. It derefs to the sample.
///
/// In the wire form it is one flat line: `schema`, `kind`, `stream`, `host`, `boot_id`, `seq`, `time` and the fields of the sample.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record<T> {
    /// The number of the tick; see [`Snapshot::seq`].
    pub seq: u64,
    /// The boot from which monotonic times count.
    pub boot_id: BootId,
    /// The wall-clock time at which the reading began.
    pub time: Timestamp,
    /// The host it is from, if that is set.
    pub host: Option<Arc<str>>,
    /// The name of its stream, if it has another one than its kind; see [`Snapshot::stream`].
    pub stream: Option<Arc<str>>,
    /// The sample.
    pub sample: T,
}

impl<T> Deref for Record<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.sample
    }
}

impl<T: Sample + Serialize> Serialize for Record<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { seq, boot_id, time, host, stream, sample } = self;
        let (host, stream) = (host.as_deref(), stream.as_deref());
        RecordRef { seq: *seq, boot_id: *boot_id, time: *time, stream, host, sample }.serialize(serializer)
    }
}

impl<'de, T: Sample + Deserialize<'de>> Deserialize<'de> for Record<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let line = Line::<Arc<str>, String, T>::deserialize(deserializer)?;
        wire::check::<T>(line.schema, &line.kind).map_err(D::Error::custom)?;
        let Line { boot_id, seq, time, host, sample, .. } = line;
        let stream = line.stream.filter(|stream| **stream != *T::KIND);
        Ok(Self { seq, boot_id, time, host, stream, sample })
    }
}

#[cfg(feature = "schema")]
impl<T: Sample + schemars::JsonSchema> schemars::JsonSchema for Record<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Record_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = Line::<String, String, T>::json_schema(generator);
        schema.insert("description".to_owned(), "One sample, with the attributes of its tick.".into());
        wire::describe::<T>(&mut schema);
        schema
    }
}
