//! What a tick allocates, once it has settled: a few pieces of memory, however many processes there are.

use appmon::{Cancel, Processes, Snapshot, Source};

/// The bound that is promised for a tick in which little happened.
const MOST: u64 = 20;

#[test]
fn a_settled_tick_allocates_little() {
    // On a thread of its own, since allocations are counted by thread; one reader, so that all are on it.
    let mut processes = Processes::new().threads(1);
    let mut counts: Vec<u64> = (0..60)
        .map(|_| {
            let counted = allocation_counter::measure(|| {
                let mut snapshot = Snapshot::default();
                processes.collect(&mut snapshot, &Cancel::new()).unwrap();
                assert!(!snapshot.samples.is_empty());
            });
            counted.count_total
        })
        .collect();
    // The first ticks learn. Others find what was born meanwhile, which takes memory; that is not every tick.
    let settled = &mut counts[20..];
    settled.sort_unstable();
    assert!(settled[settled.len() / 2] <= MOST, "allocations by tick, sorted: {settled:?}");
}
