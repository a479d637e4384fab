//! A queue in memory that counts its bytes.

use std::collections::VecDeque;

use crate::forward::batch::{BatchLimits, Entry};
use crate::forward::message::Message;

#[derive(Debug)]
pub(super) struct Waiting<T> {
    list: VecDeque<T>,
    bytes: usize,
}

/// An item with a payload.
pub(super) trait Payload {
    fn bytes(&self) -> usize;
}

impl Payload for Message {
    fn bytes(&self) -> usize {
        self.payload.len()
    }
}

impl Payload for Entry {
    fn bytes(&self) -> usize {
        self.message.payload.len()
    }
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { list: VecDeque::new(), bytes: 0 }
    }
}

impl<T: Payload> Waiting<T> {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.list.iter_mut()
    }

    pub(super) fn push(&mut self, item: T) {
        self.bytes = self.bytes.saturating_add(item.bytes());
        self.list.push_back(item);
    }

    /// Puts these items before all others.
    pub(super) fn push_front(&mut self, items: Vec<T>) {
        for item in items.into_iter().rev() {
            self.bytes = self.bytes.saturating_add(item.bytes());
            self.list.push_front(item);
        }
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.list.pop_front()?;
        self.bytes = self.bytes.saturating_sub(item.bytes());
        Some(item)
    }

    pub(super) fn pop_newest(&mut self) -> Option<T> {
        let item = self.list.pop_back()?;
        self.bytes = self.bytes.saturating_sub(item.bytes());
        Some(item)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let bytes = &mut self.bytes;
        self.list.retain(|item| {
            let keep = keep(item);
            if !keep {
                *bytes = bytes.saturating_sub(item.bytes());
            }
            keep
        });
    }

    /// Takes as many items from the front as the limits allow: at least one, if there is one.
    pub(super) fn take(&mut self, limits: BatchLimits) -> Vec<T> {
        let (mut taken, mut bytes) = (Vec::new(), 0_usize);
        while let Some(next) = self.list.front().map(Payload::bytes)
            && limits.allow(taken.len(), bytes, next)
            && let Some(item) = self.pop()
        {
            bytes = bytes.saturating_add(next);
            taken.push(item);
        }
        taken
    }

    pub(super) fn fills(&self, limits: BatchLimits) -> bool {
        self.list.len() >= limits.messages || self.bytes >= limits.bytes
    }
}

impl<T> IntoIterator for Waiting<T> {
    type Item = T;
    type IntoIter = std::collections::vec_deque::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}
