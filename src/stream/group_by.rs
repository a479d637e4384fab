//! `group_by`: processes by what they belong to.

mod audit;
mod book;
mod groups;
mod ledger;
mod measured;
mod sample;
#[cfg(test)]
mod tests;
mod trees;

pub use sample::{GroupCpu, GroupKey, GroupRates, GroupSample, GroupTotals};
pub use trees::{TreeRoot, TreeRoots};

use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use self::groups::Settings;
use self::ledger::{Keys, Ledger};
use super::hosts::PerHost;
use crate::{ProcessSample, Result, Select, Snapshot};

pin_project! {
    /// The stream of [`SnapshotStreamExt::group_by`](crate::SnapshotStreamExt::group_by), and of
    /// [`group_by_tree`](crate::SnapshotStreamExt::group_by_tree).
    #[must_use = "streams do nothing unless polled"]
    pub struct GroupBy<S, F, K> {
        #[pin]
        stream: S,
        key: F,
        settings: Settings,
        hosts: PerHost<Ledger<K>>,
    }
}

impl<S: fmt::Debug, F, K> fmt::Debug for GroupBy<S, F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupBy")
            .field("stream", &self.stream)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl<S, F, K> GroupBy<S, F, K> {
    pub(super) fn new(stream: S, key: F) -> Self {
        let settings = Settings { by: None, max_groups: usize::MAX, keep_empty: false };
        Self { stream, key, settings, hosts: PerHost::new() }
    }

    /// Names in each group what the groups are made by, such as `service`: where a consumer gets several of such streams. Default: nothing.
    pub fn by(mut self, name: impl Into<Arc<str>>) -> Self {
        self.settings.by = Some(name.into());
        self
    }

    /// Sets how many groups of each host have a key of their own. Processes of further keys are in the group
    /// [`Other`](GroupKey::Other), which is one more; they leave it when there is room. The sums hold. Default: no limit, as there are
    /// never many more groups than processes.
    pub fn max_groups(mut self, count: usize) -> Self {
        self.settings.max_groups = count;
        self
    }

    /// Whether groups without members stay in the snapshots, with their totals. They take memory and a sample each, for ever. Default:
    /// no; such a group is shown for three more ticks, and begins anew when its key comes again.
    pub fn keep_empty(mut self, keep: bool) -> Self {
        self.settings.keep_empty = keep;
        self
    }

    /// The stream inside.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream inside.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S> GroupBy<S, TreeRoots, TreeRoot> {
    pub(super) fn by_tree(stream: S, roots: Select) -> Self {
        Self::new(stream, TreeRoots::new(roots))
    }
}

impl<S, F, K, T> Stream for GroupBy<S, F, K>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: AsRef<ProcessSample>,
    F: FnMut(&ProcessSample) -> K,
    K: Ord + Hash + Clone,
{
    type Item = Result<Snapshot<GroupSample<K>>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let Some(item) = ready!(this.stream.poll_next(cx)) else { return Poll::Ready(None) };
        Poll::Ready(Some(item.map(|snapshot| {
            let ledger = this.hosts.of(&snapshot).state;
            ledger.tick(snapshot, Keys::new(&mut |process| Some((this.key)(process)), this.settings))
        })))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<S, F, K, T> FusedStream for GroupBy<S, F, K>
where
    S: FusedStream<Item = Result<Snapshot<T>>>,
    T: AsRef<ProcessSample>,
    F: FnMut(&ProcessSample) -> K,
    K: Ord + Hash + Clone,
{
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}

impl<S, T> Stream for GroupBy<S, TreeRoots, TreeRoot>
where
    S: Stream<Item = Result<Snapshot<T>>>,
    T: AsRef<ProcessSample>,
{
    type Item = Result<Snapshot<GroupSample<TreeRoot>>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let Some(item) = ready!(this.stream.poll_next(cx)) else { return Poll::Ready(None) };
        Poll::Ready(Some(item.and_then(|snapshot| {
            let trees = this.key.read(&snapshot)?;
            let ledger = this.hosts.of(&snapshot).state;
            let mut root = |process: &ProcessSample| trees.root(process.id);
            Ok(ledger.tick(snapshot, Keys::new(&mut root, this.settings).all_again(trees.has_joined())))
        })))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<S, T> FusedStream for GroupBy<S, TreeRoots, TreeRoot>
where
    S: FusedStream<Item = Result<Snapshot<T>>>,
    T: AsRef<ProcessSample>,
{
    fn is_terminated(&self) -> bool {
        self.stream.is_terminated()
    }
}
