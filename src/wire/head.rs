//! A snapshot without its samples.

use std::time::Duration;

use serde::Serialize;

use super::delta::{Delta, Link};
use super::version::SCHEMA;
use crate::time::nanos;
use crate::{BootId, Lives, Monotonic, Notice, Sample, Skipped, Snapshot, Timestamp};

/// A snapshot without its samples and lives, in the wire form. [`Whole`](super::decode) decodes it, with the samples.
#[derive(Serialize)]
pub(crate) struct Head<'a> {
    schema: u32,
    kind: &'static str,
    stream: &'a str,
    host: &'a str,
    boot_id: BootId,
    seq: u64,
    time: Timestamp,
    at: Monotonic,
    #[serde(with = "nanos")]
    took: Duration,
    #[serde(with = "nanos")]
    lag: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete_at: Option<Monotonic>,
    skipped: Skipped,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notices: &'a [Notice],
    #[serde(skip_serializing_if = "Option::is_none")]
    lives: Option<&'a Lives>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'a Delta>,
}

impl<'a> Head<'a> {
    pub(crate) fn new<T: Sample>(snapshot: &'a Snapshot<T>, host: &'a str, stream: &'a str) -> Self {
        Self {
            schema: SCHEMA,
            kind: T::KIND,
            stream,
            host,
            boot_id: snapshot.boot_id,
            seq: snapshot.seq,
            time: snapshot.time,
            at: snapshot.at,
            took: snapshot.took,
            lag: snapshot.lag,
            complete_at: snapshot.complete_at,
            skipped: snapshot.skipped,
            notices: &snapshot.notices,
            lives: None,
            chain: None,
            delta: None,
        }
    }

    /// The same as a snapshot in a chain: a keyframe, or what changed.
    pub(crate) fn in_chain(self, link: Link, delta: Option<&'a Delta>) -> Self {
        Self { chain: Some(link), delta, ..self }
    }

    /// The same with what lived since the tick before, or a part of that.
    pub(crate) fn with_lives(self, lives: &'a Lives) -> Self {
        Self { lives: Some(lives), ..self }
    }
}
