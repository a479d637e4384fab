// One's own process and runtime, for a Prometheus endpoint of one's own; nothing else to write.
use std::time::Duration;

use appmon::{OwnProcess, SnapshotStreamExt, SourceExt};
use futures::StreamExt;
use prometheus_client::registry::Registry;

#[tokio::main]
pub(crate) async fn main() -> appmon::Result<()> {
    let ticks =
        OwnProcess::new().runtime(tokio::runtime::Handle::current()).every(Duration::from_secs(5)).rates().observe();
    let latest = ticks.latest(); // cheap to clone; what is gone is absent from the next scrape
    let mut registry = Registry::default();
    registry.register_collector(Box::new(latest.clone()));
    tokio::spawn(ticks.for_each(|_| async {}));

    latest.ready().await; // the first tick
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).expect("text");
    assert!(page.contains("process_cpu"));
    println!("{page}");
    Ok(())
}
