//! The allocations of a tick in its steady state: a few pieces of memory, however many processes there are.

use appmon::{Cancel, FileSystems, Processes, Snapshot, Source};

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

#[test]
fn a_sample_of_a_file_system_is_one_allocation() {
    let mut file_systems = FileSystems::mounted();
    let mut tick = || {
        let mut samples = 0;
        let counted = allocation_counter::measure(|| {
            let mut snapshot = Snapshot::default();
            file_systems.collect(&mut snapshot, &Cancel::new()).unwrap();
            samples = snapshot.samples.len();
        });
        (counted.count_total, samples as u64)
    };
    // The first reads the mount table, and so does one after a change of it.
    let ticks: Vec<_> = (0..20).map(|_| tick()).collect();
    let (least, samples) = ticks.iter().copied().min().unwrap();
    assert!(samples > 0 && least <= samples + MOST, "allocations and samples by tick: {ticks:?}");
}
