//! `record`: a stream, and a file of what it yielded.

mod file;
mod queue;
mod repair;
mod settings;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;
use serde::Serialize;

use self::queue::Queue;
use self::settings::Settings;
use self::writer::Writer;
use crate::{Notice, Result, Sample, Snapshot};

pub use self::queue::RecordStatus;

pin_project! {
    /// The stream of [`SnapshotStreamExt::record`](crate::SnapshotStreamExt::record).
    ///
    /// # The file
    ///
    /// NDJSON: a line for each snapshot, in the wire form of messages, after one that names the recording. If the name of the file ends in
    /// `.zst` the lines are compressed; `zstdcat` shows them. A new file is readable for its owner alone, since it has command lines of
    /// processes.
    ///
    /// A file that exists is continued if it is a recording of the same kind of samples, and never touched if it is anything else. If a
    /// crash left a line half written, that is cut off; the bytes are counted in [`RecordStatus::cut_bytes`]. A file damaged before its
    /// end is set aside whole.
    ///
    /// When a file is full or old ([`max_bytes`](Self::max_bytes), [`max_age`](Self::max_age)) it gets a number before its endings,
    /// `night.ndjson.zst` becomes `night.000001.ndjson.zst`, and a new one begins. [`Recording`](crate::stream::Recording) reads them all.
    ///
    /// # Errors
    ///
    /// The first item waits until the file is open. If it cannot be opened, that is the first item: the path leads to another file
    /// ([`is_config`](crate::Error::is_config)), or it is in use, or the folder does not exist. After that the snapshots come, as they
    /// do when the disk gives errors later: they are counted ([`status`](Self::status)), each snapshot has
    /// [`Notice::NotRecorded`](crate::Notice::NotRecorded), and the file is tried again after 1, 2, 4 … 64 snapshots.
    ///
    /// # Where it is written
    ///
    /// On tokio's pool of blocking threads, from a copy of the snapshot: the task of the stream encodes and writes nothing. If the disk is
    /// slow, up to 64 snapshots wait, and further ones are dropped and counted, unless it is [`lossless`](Self::lossless). At its end the
    /// stream waits until all is written. If it is dropped before, what waits is still written; a line that the end of the process
    /// leaves half written is cut off later.
    ///
    /// # Panics
    ///
    /// When it is polled outside of a tokio runtime.
    #[must_use = "streams do nothing unless polled"]
    pub struct Recorded<S, T> {
        #[pin]
        stream: S,
        settings: Settings,
        queue: Arc<Queue<T>>,
        state: State,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Opening,
    Running,
    /// The inner stream has ended, and the file is being finished.
    Ending,
    Ended,
}

impl<S, T> Recorded<S, T> {
    pub(super) fn new(stream: S, path: PathBuf) -> Self {
        Self { stream, settings: Settings::new(path), queue: Arc::new(Queue::new()), state: State::New }
    }

    /// Sets the size from which on the file is full, in bytes. Default: 1 GiB.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.settings.max_bytes = bytes;
        self
    }

    /// Sets the time after its first snapshot at which a file is old. Default: 24 hours.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.settings.max_age = age;
        self
    }

    /// Sets how many full files are kept beside the current one; older ones are deleted. Only recordings of this kind of samples with the
    /// name and a number are. Default: all are kept.
    pub fn keep(mut self, files: usize) -> Self {
        self.settings.keep = Some(files);
        self
    }

    /// Sets whether the stream waits for the disk when 64 snapshots wait to be written, instead of dropping the next one. For streams
    /// that are not live. Default: false.
    pub fn lossless(mut self, lossless: bool) -> Self {
        self.settings.lossless = lossless;
        self
    }

    /// Returns what was recorded so far.
    pub fn status(&self) -> RecordStatus {
        self.queue.status()
    }

    /// Returns a reference to the inner stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns the inner stream. What waits to be written is still written.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: fmt::Debug, T> fmt::Debug for Recorded<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("stream", &self.stream)
            .field("settings", &self.settings)
            .field("state", &self.state)
            .field("status", &self.status())
            .finish()
    }
}

impl<S, T> Stream for Recorded<S, T>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: Sample + Serialize + Clone + Send + 'static,
{
    type Item = Result<Snapshot<T>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            match *this.state {
                State::New => {
                    if let Err(error) = this.settings.check() {
                        this.queue.disable(&error);
                        *this.state = State::Running;
                        return Poll::Ready(Some(Err(error)));
                    }
                    this.queue.begin(Writer::new(this.settings.clone(), T::KIND));
                    *this.state = State::Opening;
                }
                State::Opening => {
                    ready!(this.queue.poll_idle(cx));
                    *this.state = State::Running;
                    if let Some(error) = this.queue.first_error() {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                State::Running => {
                    if this.settings.lossless {
                        ready!(this.queue.poll_room(cx));
                    }
                    let Some(item) = ready!(this.stream.as_mut().poll_next(cx)) else {
                        this.queue.end();
                        *this.state = State::Ending;
                        continue;
                    };
                    return Poll::Ready(Some(item.map(|mut snapshot| {
                        this.queue.push(&snapshot);
                        if let Some(error) = this.queue.fault() {
                            snapshot.notices.push(Notice::NotRecorded { error });
                        }
                        snapshot
                    })));
                }
                State::Ending => {
                    ready!(this.queue.poll_idle(cx));
                    *this.state = State::Ended;
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // An error of the file may come first.
        let (least, most) = self.stream.size_hint();
        (least, most.and_then(|most| most.checked_add(1)))
    }
}

impl<S, T> FusedStream for Recorded<S, T>
where
    S: FusedStream<Item = Result<Snapshot<T>>>,
    T: Sample + Serialize + Clone + Send + 'static,
{
    fn is_terminated(&self) -> bool {
        self.state == State::Ended
    }
}
