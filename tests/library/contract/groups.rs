// Processes grouped; sums monotonic and true in sum with members that live shorter than a tick (`inferred` is what may be a
// neighbour's); the busiest five, and the rest.
use std::time::Duration;

use appmon::{Processes, SnapshotStreamExt, SourceExt};
use futures::TryStreamExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> appmon::Result<()> {
    let mut ticks = Processes::new()
        .lives(true) // what lived between two ticks counts
        .every(Duration::from_secs(1))
        .group_by(|process| process.info.name.clone())
        .rates()
        .top(5, |group| group.rates.as_ref().map_or(0.0, |rates| rates.cpu.cores));
    while let Some(tick) = ticks.try_next().await? {
        for group in &tick {
            println!(
                "{} {} alive, {} seen, {} exited, {} ns of CPU",
                group.key, group.alive, group.seen, group.exited, group.cpu.total_ns
            );
        }
    }
    Ok(())
}
