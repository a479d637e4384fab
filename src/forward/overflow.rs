//! What happens when there is no more room.

/// What happens to messages that come faster than the broker takes them, when there is no more room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// No more snapshots are taken until there is room: ticks are missed, visibly (`seq`), and counters lose nothing, since the
    /// next snapshot has their totals. The default.
    #[default]
    Block,
    /// What comes is left out.
    DropNewest,
    /// What has waited longest is left out.
    DropOldest,
    /// A message replaces what waits and says less: the last snapshot of its kind, or the last sample of the same process or
    /// file system where there is a message per sample. Does this always, also when there is room; what still does not
    /// fit then goes as with `DropOldest`. Not together with a spool.
    LatestPerKey,
}
