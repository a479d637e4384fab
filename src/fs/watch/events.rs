//! Queues the directories to be read again because of an event.

use rustix::fs::inotify::ReadFlags;

use super::nodes::{NodeId, Queued};
use super::tree::Tree;
use crate::fs::walk::{Exclude, PathBuffer};
use crate::inotify::InotifyEvent;

impl Tree {
    /// Handles an event.
    pub(super) fn on_event(&mut self, event: &InotifyEvent<'_>, exclude: &Exclude) {
        if event.what.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.overflowed = true;
            return;
        }
        if event.what.contains(ReadFlags::IGNORED) {
            for id in self.wds.take(event.wd) {
                if let Some(node) = self.nodes.get_mut(id) {
                    node.wd = None;
                }
                self.queue(id, Queued::Changed);
            }
            return;
        }
        let nodes: Vec<NodeId> = self.wds.of(event.wd).collect();
        for id in nodes {
            self.on_event_of(id, event, exclude);
        }
    }

    fn on_event_of(&mut self, id: NodeId, event: &InotifyEvent<'_>, exclude: &Exclude) {
        let what = event.what;
        let Some(node) = self.nodes.get_mut(id) else { return };
        let gone = ReadFlags::UNMOUNT | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF;
        if what.intersects(gone) {
            self.unmounted |= what.contains(ReadFlags::UNMOUNT);
            // Its content did not change; when it is deleted its watch ends, which another event reports.
            if let Some(parent) = node.parent {
                self.queue(parent, Queued::Changed);
            }
            return;
        }
        let Some(name) = event.name else { return self.queue(id, Queued::Changed) };
        let content = ReadFlags::MODIFY | ReadFlags::CLOSE_WRITE | ReadFlags::ATTRIB;
        if what.intersects(content) && !exclude.is_empty() {
            let root = node.root as usize;
            let mut path = PathBuffer::default();
            if exclude.matches(root, path.below_root(&self.nodes.way(id), name), name.to_bytes()) {
                return;
            }
        }
        if what.contains(ReadFlags::ISDIR) {
            if what.contains(ReadFlags::DELETE) {
                self.removed.entry(id).or_default().insert(name.into());
                self.any_removed = true;
            }
            self.queue(id, Queued::Changed);
            // Whether it can be read may have changed.
            if what.contains(ReadFlags::ATTRIB)
                && let Some(child) = self.nodes.child(id, name.to_bytes())
            {
                self.queue(child, Queued::Changed);
            }
            return;
        }
        self.opened_or_closed(id, name, what, event.cookie);
        self.touch(id, name);
    }
}
