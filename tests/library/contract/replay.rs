// Last night's recording through the same pipeline, as fast as it can be read, with the recording's own clock.
use appmon::stream::Recording;
use appmon::{ProcessSample, SnapshotStreamExt};
use futures::TryStreamExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> appmon::Result<()> {
    let mut ticks = Recording::<ProcessSample>::open("last-night.ndjson.zst")?
        .stream()
        .group_by(|process| process.info.name.clone())
        .rates();
    while let Some(tick) = ticks.try_next().await? {
        println!("{} {} groups", tick.time, tick.samples.len());
    }
    Ok(())
}
