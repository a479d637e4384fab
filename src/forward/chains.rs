//! The chains of deltas of an encoder: one for each stream of each host.

use std::collections::HashMap;
use std::time::Duration;

use crate::Sample;
use crate::forward::origin::Origin;
use crate::wire::{Band, DeltaEncoder};

/// The state of what was sent, for each stream of each host.
#[derive(Debug)]
pub(super) struct Chains {
    keyframe_every: Duration,
    /// The dead bands, each with the kind it is for.
    bands: Vec<(String, Band)>,
    chains: HashMap<(Origin, &'static str), Chain>,
    /// The number of snapshots so far.
    clock: u64,
    /// The clock when chains were last forgotten.
    swept: u64,
}

#[derive(Debug)]
struct Chain {
    encoder: DeltaEncoder,
    /// The clock at its last snapshot.
    used: u64,
}

/// A chain is forgotten when the others had, on average, this many snapshots since its last one.
const REMEMBERED: u64 = 600;

impl Chains {
    pub(super) fn new(keyframe_every: Duration, bands: Vec<(String, Band)>) -> Self {
        Self { keyframe_every, bands, chains: HashMap::new(), clock: 0, swept: 0 }
    }

    /// Returns the chain of a stream.
    pub(super) fn of<T: Sample>(&mut self, origin: &Origin) -> &mut DeltaEncoder {
        self.clock = self.clock.saturating_add(1);
        self.forget();
        let (clock, keyframe_every, bands) = (self.clock, self.keyframe_every, &self.bands);
        let chain = self.chains.entry((origin.clone(), T::KIND)).or_insert_with(|| {
            let bands = bands.iter().filter(|(kind, _)| kind == T::KIND).map(|(_, band)| band.clone());
            Chain { encoder: DeltaEncoder::new(keyframe_every, bands.collect()), used: clock }
        });
        chain.used = clock;
        &mut chain.encoder
    }

    /// Makes the next snapshot of each stream a keyframe.
    pub(super) fn restart(&mut self) {
        self.chains.values_mut().for_each(|chain| chain.encoder.restart());
    }

    /// Forgets the streams of hosts that are silent.
    fn forget(&mut self) {
        let round = REMEMBERED.saturating_mul(self.chains.len() as u64);
        if self.clock.saturating_sub(self.swept) >= round.max(REMEMBERED) {
            let clock = self.clock;
            self.swept = clock;
            self.chains.retain(|_, chain| clock.saturating_sub(chain.used) < round);
        }
    }
}
